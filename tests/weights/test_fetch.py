"""Pinned downloads over real HTTP: resumed after a cut, checked, whole or without a manifest."""

from __future__ import annotations

import hashlib
import json
import resource
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from symphony.types import SymphonyError
from symphony.weights import fetch as module
from symphony.weights.fetch import Source, data_folder, fetch, parse_source

CONTENT = bytes(range(256)) * 4096  # 1 MiB


class Server(BaseHTTPRequestHandler):
    """Serves `files`; cuts the connection after `cut` bytes while there are `cuts` left."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[tuple[str, str | None]]] = []
    cuts: ClassVar[int] = 0
    cut: ClassVar[int] = 300_000
    ranges: ClassVar[bool] = True
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        type(self).asked.append((self.path, wanted))
        content = self.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.ranges else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if type(self).cuts:
            type(self).cuts -= 1
            self.wfile.write(content[start : start + self.cut])
            self.close_connection = True
        else:
            self.wfile.write(content[start:])

    def log_message(self, format: str, *args: object) -> None:
        return None


@pytest.fixture
def address() -> Iterator[str]:
    Server.files, Server.asked, Server.cuts, Server.ranges = {"/v1/weights.bin": CONTENT}, [], 0, True
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/{{revision}}/"
    server.shutdown()
    server.server_close()
    thread.join()


def source(address: str, sha: str | None = None, name: str = "weights.bin") -> Source:
    files = {name: sha or hashlib.sha256(CONTENT).hexdigest()}
    return Source(address=address, revision="v1", licence="Apache-2.0, https://example.org", files=files)


def test_a_download_is_whole_and_its_manifest_says_where_it_came_from(address: str, tmp_path: Path) -> None:
    said: list[str] = []
    folder = fetch("model/tiny", source(address), tmp_path, said.append)
    assert (folder / "weights.bin").read_bytes() == CONTENT
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["revision"] == "v1"
    assert manifest["sha256"] == {"weights.bin": hashlib.sha256(CONTENT).hexdigest()}
    assert any("Apache-2.0" in line for line in said)


def test_what_is_complete_is_not_asked_for_again(address: str, tmp_path: Path) -> None:
    fetch("model/tiny", source(address), tmp_path)
    Server.asked.clear()
    fetch("model/tiny", source(address), tmp_path)
    assert Server.asked == []


def test_a_cut_download_goes_on_where_it_stopped(address: str, tmp_path: Path) -> None:
    Server.cuts = 2
    folder = fetch("model/tiny", source(address), tmp_path)
    assert (folder / "weights.bin").read_bytes() == CONTENT
    assert [wanted for _, wanted in Server.asked] == [None, "bytes=300000-", "bytes=600000-"]


def test_a_download_cut_too_often_goes_on_in_the_next_attempt(address: str, tmp_path: Path) -> None:
    Server.cuts = module.ATTEMPTS
    with pytest.raises(SymphonyError, match="run again to continue"):
        fetch("model/tiny", source(address), tmp_path)
    assert not (tmp_path / "model/tiny/manifest.json").exists()
    Server.asked.clear()
    fetch("model/tiny", source(address), tmp_path)
    assert Server.asked == [("/v1/weights.bin", "bytes=900000-")]


def test_a_server_without_ranges_is_asked_from_the_beginning(address: str, tmp_path: Path) -> None:
    Server.cuts, Server.ranges = 1, False
    folder = fetch("model/tiny", source(address), tmp_path)
    assert (folder / "weights.bin").read_bytes() == CONTENT


def test_a_wrong_checksum_keeps_nothing(address: str, tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match=f"found sha256 .*, allowed: {'0' * 64}"):
        fetch("model/tiny", source(address, "0" * 64), tmp_path)
    assert list((tmp_path / "model/tiny").iterdir()) == []


def test_a_missing_file_is_told_with_its_address(address: str, tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match=r"/v1/nothing\.bin: found HTTP 404"):
        fetch("model/tiny", source(address, name="nothing.bin"), tmp_path)


def test_a_dead_server_is_told(tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match="refused"):
        fetch("model/tiny", source("http://127.0.0.1:9/{revision}"), tmp_path)


def test_a_full_disk_leaves_no_manifest_and_the_download_goes_on_later(address: str, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(SymphonyError, match="allowed: a folder with space"):
            fetch("model/tiny", source(address), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert not (tmp_path / "model/tiny/manifest.json").exists()
    assert (fetch("model/tiny", source(address), tmp_path) / "weights.bin").read_bytes() == CONTENT


def test_another_revision_is_downloaded_anew(address: str, tmp_path: Path) -> None:
    fetch("model/tiny", source(address), tmp_path)
    new = CONTENT[::-1]
    Server.files["/v2/weights.bin"] = new
    files = {"weights.bin": hashlib.sha256(new).hexdigest()}
    pinned = Source(address=address, revision="v2", licence="MIT", files=files)
    assert (fetch("model/tiny", pinned, tmp_path) / "weights.bin").read_bytes() == new


def test_a_cut_change_of_revision_goes_on_in_the_next_attempt(address: str, tmp_path: Path) -> None:
    files = {name: hashlib.sha256(CONTENT).hexdigest() for name in ("weights.bin", "more.bin")}
    Server.files["/v1/more.bin"] = CONTENT
    fetch("model/tiny", Source(address=address, revision="v1", licence="MIT", files=files), tmp_path)
    new = CONTENT[::-1]
    Server.files["/v2/weights.bin"] = new
    pinned = Source(
        address=address, revision="v2", licence="MIT", files=dict.fromkeys(files, hashlib.sha256(new).hexdigest())
    )
    with pytest.raises(SymphonyError, match=r"/v2/more\.bin: found HTTP 404"):
        fetch("model/tiny", pinned, tmp_path)
    assert not (tmp_path / "model/tiny/manifest.json").exists()
    Server.files["/v2/more.bin"] = new
    folder = fetch("model/tiny", pinned, tmp_path)
    assert {path.name for path in folder.iterdir()} == {"weights.bin", "more.bin", "manifest.json", "LICENCE.txt"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("weights.bin", "years of work"),
        ("LICENCE.txt", "mine"),
        ("manifest.json", '{"source_digest": "0"}'),
        ("manifest.json", '{"option": "model/other", "sha256": {}}'),
        ("manifest.json", "no JSON"),
    ],
)
def test_a_file_that_no_download_left_stays_and_is_named(address: str, tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / "model/tiny").mkdir(parents=True)
    file = tmp_path / "model/tiny" / name
    file.write_text(content)
    with pytest.raises(SymphonyError, match=f"{file}: found "):
        fetch("model/tiny", source(address), tmp_path)
    assert [path.read_text() for path in (tmp_path / "model/tiny").iterdir()] == [content]
    assert Server.asked == []


def test_a_file_that_was_changed_since_its_download_stays(address: str, tmp_path: Path) -> None:
    folder = fetch("model/tiny", source(address), tmp_path)
    (folder / "weights.bin").write_text("years of work")
    (folder / "manifest.json").unlink()
    with pytest.raises(SymphonyError, match=r"weights\.bin: found a file that is not the download"):
        fetch("model/tiny", source(address), tmp_path)
    assert (folder / "weights.bin").read_text() == "years of work"


def test_a_local_folder_takes_the_place_of_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMPHONY_DATA", str(tmp_path))
    (tmp_path / "model/tiny").mkdir(parents=True)
    (tmp_path / "model/tiny/weights.bin").write_bytes(CONTENT)
    fetch("model/tiny", source("http://127.0.0.1:9/"), data_folder())
    assert (tmp_path / "model/tiny/manifest.json").is_file()


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"adress": "x"}, "source.adress: found an unknown key"),
        ({"address": "x", "revision": "1", "licence": "MIT"}, "source.files: found nothing"),
        ({"address": "x", "revision": "1", "licence": "MIT", "files": {"a": "12"}}, "allowed: null or a sha256"),
        ({"address": "x", "revision": "1", "licence": "MIT", "files": {"../a": "0" * 64}}, "inside the folder"),
    ],
)
def test_a_source_that_pins_nothing_is_refused(block: dict[str, object], message: str) -> None:
    with pytest.raises(SymphonyError, match=message):
        parse_source("model/tiny", block)


# --------------------------------------------------------------------------- checksums that were not known


def unknown(address: str) -> Source:
    return Source(address=address, revision="v1", licence="CC0", files={"a.bin": ""})


def test_an_unknown_checksum_is_recorded_at_the_first_download_and_checked_from_then_on(
    address: str, tmp_path: Path
) -> None:
    Server.files = {"/v1/a.bin": CONTENT}
    book = tmp_path / "conf" / "checksums.json"
    fetch("task/x", unknown(address), tmp_path / "one", checksums=book, say=lambda _: None)
    assert json.loads(book.read_text()) == {unknown(address).url("a.bin"): hashlib.sha256(CONTENT).hexdigest()}
    Server.files = {"/v1/a.bin": CONTENT + b"changed"}
    with pytest.raises(SymphonyError, match="found sha256"):
        fetch("task/x", unknown(address), tmp_path / "two", checksums=book, say=lambda _: None)


def test_a_second_fetch_of_an_unknown_checksum_downloads_nothing(address: str, tmp_path: Path) -> None:
    Server.files = {"/v1/a.bin": CONTENT}
    book = tmp_path / "checksums.json"
    for _ in range(2):
        fetch("task/x", unknown(address), tmp_path / "one", checksums=book, say=lambda _: None)
    assert len(Server.asked) == 1


@pytest.mark.parametrize(
    ("content", "found"), [("{", "a file that is not JSON"), ("[]", "a list"), ("3", "a number"), ("null", "null")]
)
def test_a_damaged_file_of_checksums_is_named_before_anything_is_downloaded(
    content: str, found: str, address: str, tmp_path: Path
) -> None:
    book = tmp_path / "checksums.json"
    book.write_text(content)
    with pytest.raises(SymphonyError, match=rf"checksums\.json: found {found}"):
        fetch("task/x", unknown(address), tmp_path / "one", checksums=book, say=lambda _: None)
    assert Server.asked == []


def test_the_licence_lies_beside_the_data(address: str, tmp_path: Path) -> None:
    Server.files = {"/v1/a.bin": CONTENT}
    folder = fetch("task/x", unknown(address), tmp_path, say=lambda _: None)
    assert (folder / "LICENCE.txt").read_text().startswith("CC0\n")


def test_a_file_may_have_an_address_of_its_own(address: str, tmp_path: Path) -> None:
    Server.files = {"/v1/elsewhere": CONTENT}
    block = {
        "address": f"{address}/nowhere",
        "revision": "v1",
        "licence": "CC0",
        "files": {"a.bin": {"address": f"{address}elsewhere", "sha256": None}},
    }
    folder = fetch("task/x", parse_source("task/x", block), tmp_path, say=lambda _: None)
    assert (folder / "a.bin").read_bytes() == CONTENT
