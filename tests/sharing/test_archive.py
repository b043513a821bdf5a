"""A bundle is unpacked as if a stranger had made it: one clear error, and nothing outside its folder."""

from __future__ import annotations

import json
import random
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from symphony.sharing import archive
from symphony.sharing.archive import FORMAT, INDEX, Index, unpack, write
from symphony.types import SymphonyError
from tests.sharing.conftest import contents, describe, forged, written

FILES = {"plan.json": b"{}", "runs/r1/runs.jsonl": b"{}\n", "tables/success.csv": b"a,b\n" * 50}
INDEX_OF_R1 = Index(study="s", commit="c0ffee", prompts=False, runs=("r1",), files={})


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "small.zip"
    write(path, INDEX_OF_R1, FILES)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "out" / "unpacked"
    folder.mkdir(parents=True)
    return folder


def below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}


def test_what_was_written_is_unpacked_whole(made: Path, folder: Path) -> None:
    index = unpack(made, folder)
    assert (index.study, index.runs, index.commit) == ("s", ("r1",), "c0ffee")
    assert {name: (folder / name).read_bytes() for name in below(folder) - {INDEX}} == FILES


def test_equal_contents_make_equal_bytes(made: Path, tmp_path: Path) -> None:
    write(tmp_path / "again.zip", INDEX_OF_R1, dict(reversed(FILES.items())))
    assert (tmp_path / "again.zip").read_bytes() == made.read_bytes()


def test_a_bundle_replaces_bundles_only(made: Path, tmp_path: Path) -> None:
    write(made, INDEX_OF_R1, {**FILES, "plan.json": b"{}\n"})
    assert contents(made)["plan.json"] == b"{}\n"
    thesis = written(tmp_path / "thesis.zip", {"chapter.txt": b"years of work"})
    with pytest.raises(SymphonyError, match=r"thesis\.zip: found a file that this command did not make"):
        write(thesis, INDEX_OF_R1, FILES)
    assert contents(thesis) == {"chapter.txt": b"years of work"}


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "runs/../../evil",
        "/tmp/evil",
        "runs//evil",
        "C:\\evil",
        "runs\\..\\evil",
        "runs/r1/deeper/evil",
        "runs/.hidden/evil",
        "runs/r1/",
        "evil",
        "symphony/evil",
        "runs/r1/" + "e" * 300,
        "runs/r1/e\x07vil",
    ],
)
def test_a_file_out_of_place_is_refused(name: str, made: Path, folder: Path, tmp_path: Path) -> None:
    hostile = forged(made, tmp_path / "in" / "hostile.zip", lambda files: files.update({name: b"evil"}))
    with pytest.raises(SymphonyError, match=r"hostile\.zip: found .*, allowed: a file made by `symphony bundle`"):
        unpack(hostile, folder)
    assert below(tmp_path) == {"in/small.zip", "in/hostile.zip"}


@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFDIR | 0o755, stat.S_IFIFO | 0o644])
def test_a_link_a_folder_or_a_device_is_refused(mode: int, made: Path, folder: Path, tmp_path: Path) -> None:
    files = contents(made)
    entry = zipfile.ZipInfo("runs/r1/link")
    entry.external_attr = mode << 16
    index = json.loads(files.pop(INDEX))
    index["files"]["runs/r1/link"] = describe(b"/etc/passwd")
    written(tmp_path / "hostile.zip", {INDEX: json.dumps(index).encode(), **files})
    with zipfile.ZipFile(tmp_path / "hostile.zip", "a") as out:
        out.writestr(entry, b"/etc/passwd")
    with pytest.raises(SymphonyError, match="a folder, a link or a device, 'runs/r1/link'"):
        unpack(tmp_path / "hostile.zip", folder)
    assert below(folder) == set()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["plan.json", "runs/R1/RUNS.jsonl"])
def test_a_name_that_occurs_twice_is_refused(name: str, made: Path, folder: Path) -> None:
    with zipfile.ZipFile(made, "a") as out:
        out.writestr(name, b"{}")
    with pytest.raises(SymphonyError, match="found a name twice"):
        unpack(made, folder)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(
    made: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "FLOOR", 1 << 16)
    bomb = forged(made, tmp_path / "bomb.zip", lambda files: files.update({"runs/r1/calls.jsonl": bytes(1 << 20)}))
    with pytest.raises(SymphonyError, match=r"found 1,04\d,\d{3} bytes in [\d,]+, allowed: .*zip bomb"):
        unpack(bomb, folder)
    assert below(folder) == set()


def test_a_file_that_is_larger_than_it_says_is_refused(made: Path, folder: Path) -> None:
    said, real = (len(FILES["tables/success.csv"]).to_bytes(4, "little") for _ in range(2))
    data = made.read_bytes()
    assert data.count(said) >= 2  # in the local header and in the central directory
    made.write_bytes(data.replace(real, (10).to_bytes(4, "little")))
    with pytest.raises(SymphonyError, match=r"found .*, allowed: a file made by"):
        unpack(made, folder)


def test_a_file_that_the_index_does_not_list_is_refused(made: Path, folder: Path) -> None:
    with zipfile.ZipFile(made, "a") as out:
        out.writestr("runs/r1/more.jsonl", b"{}")
    with pytest.raises(SymphonyError, match=r"a file that it does not list, 'runs/r1/more\.jsonl'"):
        unpack(made, folder)


def test_a_file_that_is_missing_is_named(made: Path, folder: Path, tmp_path: Path) -> None:
    files = contents(made)
    del files["plan.json"]
    with pytest.raises(SymphonyError, match=r"nothing for a file that it lists, 'plan\.json'"):
        unpack(written(tmp_path / "less.zip", files), folder)


def test_other_contents_than_the_digests_say_are_refused(made: Path, folder: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "other.zip", {**contents(made), "runs/r1/runs.jsonl": b"[]\n"})
    with pytest.raises(SymphonyError, match=r"another content of runs/r1/runs\.jsonl"):
        unpack(other, folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: index.update(format=FORMAT + 1), rf"found format {FORMAT + 1}, allowed: {FORMAT}; the version"),
        (lambda index: index.update({"made by": "me"}), "something else made"),
        (lambda index: index.update(study="../evil"), "a study or runs that cannot be"),
        (lambda index: index.update(study="runs"), "a study or runs that cannot be"),
        (lambda index: index.update(runs=["../r1"]), "a study or runs that cannot be"),
        (lambda index: index.update(runs=["r1", "r1"]), "a study or runs that cannot be"),
        (lambda index: index.update(runs=[]), "a study or runs that cannot be"),
        (lambda index: index.update(runs=3), "without"),
        (lambda index: index.pop("study"), "without 'study'"),
        (lambda index: index.update(files=[]), "without"),
        (lambda index: index["files"].update({"plan.json": {"bytes": True, "sha256": "0" * 64}}), "bytes and sha256"),
        (lambda index: index["files"].update({"plan.json": {"bytes": 2, "sha256": "x"}}), "bytes and sha256"),
        (lambda index: index["files"].update({"plan.json": None}), "without"),
    ],
)
def test_an_index_that_cannot_be_is_refused(
    change: Callable[[dict[str, object]], None], message: str, made: Path, folder: Path, tmp_path: Path
) -> None:
    index = json.loads(contents(made)[INDEX])
    change(index)
    other = written(tmp_path / "other.zip", {**contents(made), INDEX: json.dumps(index).encode()})
    with pytest.raises(SymphonyError, match=message):
        unpack(other, folder)
    assert below(folder) == set()


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"format": 1'])
def test_an_index_that_is_no_json_object_is_refused(text: bytes, made: Path, folder: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "other.zip", {**contents(made), INDEX: text})
    with pytest.raises(SymphonyError, match=r"other\.zip: bundle\.json: found a"):
        unpack(other, folder)


def test_an_encrypted_file_is_refused(made: Path, folder: Path) -> None:
    data = bytearray(made.read_bytes())
    at = data.rindex(b"PK\x01\x02")  # the last entry of the central directory; its flags are 8 bytes on
    data[at + 8] |= 1
    made.write_bytes(data)
    with pytest.raises(SymphonyError, match="an encrypted file"):
        unpack(made, folder)


@pytest.mark.parametrize("kind", ["nothing", "a folder", "empty", "text"])
def test_what_is_no_zip_is_refused_by_name(kind: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    if kind == "a folder":
        path.mkdir()
    elif kind != "nothing":
        path.write_bytes(b"" if kind == "empty" else b"years of work")
    with pytest.raises(SymphonyError, match=r"bundle\.zip: found .*, allowed: a file made by `symphony bundle`"):
        unpack(path, folder)


def test_a_bundle_that_was_cut_is_refused_wherever_it_was_cut(made: Path, folder: Path) -> None:
    whole = made.read_bytes()
    for length in range(1, len(whole), 31):
        made.write_bytes(whole[:length])
        with pytest.raises(SymphonyError, match=r"small\.zip: found .*, allowed"):
            unpack(made, folder)
    assert below(folder) == set()


def test_whatever_bytes_change_it_is_the_same_bundle_or_one_error(made: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    whole, outcomes = made.read_bytes(), set()
    for number in range(100):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        made.write_bytes(data)
        (folder := tmp_path / str(number)).mkdir()
        try:
            unpack(made, folder)
            assert {name: (folder / name).read_bytes() for name in below(folder) - {INDEX}} == FILES
            outcomes.add("same")
        except SymphonyError:
            outcomes.add("error")
    assert outcomes == {"same", "error"}


def test_too_many_files_are_refused(made: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_FILES", 3)
    with pytest.raises(SymphonyError, match="found 4 files, allowed: 3"):
        unpack(made, folder)
