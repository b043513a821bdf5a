"""What leaves this machine: a study in one file, its reproduction elsewhere, and exports to the formats of other tools.

`bundle.py` makes the file, `archive.py` writes and unpacks it, `reproduce.py` derives its tables again and compares
them, and `replay.py` repeats its runs from the recorded answers. `exports/` writes Parquet, Inspect logs and TreeQuest
trees.
"""
