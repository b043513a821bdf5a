"""Pages of every search tree of a study, which open from `file://`: `outputs/<study>/trees/index.html`.

`data.py` reads a problem from the database, `packs.py` writes it into files that a page can load without a server,
`pages.py` writes the folder. `assets/` holds the pages themselves: plain HTML, CSS and JavaScript, the same for every
study. Texts of models are data there: they enter a page as text nodes only.
"""
