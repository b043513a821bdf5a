"""Model repositories over real HTTP: pinned at the first download, gated, checked for room; no token leaks."""

from __future__ import annotations

import hashlib
import json
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from symphony.plan.compose import plan
from symphony.types import SymphonyError
from symphony.weights.fetch import Source, fetch, parse_source
from symphony.weights.hub import HUB

CONF = Path(__file__).parents[2] / "conf"
CANARY = "hf_canary0123456789abcdefghijklmnopqr"
COMMIT, LATER = "a" * 40, "b" * 40
WEIGHTS = bytes(range(256)) * 64
REPOSITORY = {
    "config.json": b"{}",
    "generation_config.json": b"{}",
    "tokenizer.json": b"[1]",
    "tokenizer_config.json": b"{}",
    "chat_template.jinja": b"x",
    "model-00001-of-00002.safetensors": WEIGHTS,
    "model-00002-of-00002.safetensors": WEIGHTS[::-1],
    "model.safetensors.index.json": b"{}",
    "consolidated.safetensors": WEIGHTS,
    "pytorch_model.bin": WEIGHTS,
    "original/model.safetensors": WEIGHTS,
    "README.md": b"hello",
}
KEPT = sorted(
    name
    for name in REPOSITORY
    if name.split(".")[0] not in ("consolidated", "pytorch_model", "original/model", "README")
)
BLOCK = {
    "address": f"{HUB}/some/model/resolve/{{revision}}",
    "revision": "main",
    "licence": "MIT",
    "files": None,
}


class Hub(BaseHTTPRequestHandler):
    """A hub of one repository; its large files lie at `storage`, another host."""

    commit: ClassVar[str] = COMMIT
    gated: ClassVar[int] = 0  # the status for those without the token
    size: ClassVar[int | None] = None  # claimed for each of the weights
    lfs: ClassVar[bytes | None] = None  # contents whose checksum is claimed for each of the weights
    storage: ClassVar[str] = ""
    reply: ClassVar[tuple[int, bytes] | None] = None  # sent in place of the repository's listing
    asked: ClassVar[list[tuple[str, str, str | None]]] = []

    def do_GET(self) -> None:
        token = self.headers.get("Authorization")
        type(self).asked.append((self.headers["Host"], self.path, token))
        path = self.path.partition("?")[0]
        if path.startswith("/api/") and self.reply:
            self.say(*self.reply)
        elif path.startswith("/api/"):
            told = {"id": "some/model", "sha": self.commit, "siblings": [self.told(name) for name in REPOSITORY]}
            self.say(200, json.dumps(told).encode())
        elif path.startswith("/storage/"):
            self.say(200, REPOSITORY[path.removeprefix("/storage/")])
        elif path.startswith("/cache/"):
            self.say(200 if token or not self.gated else self.gated, REPOSITORY[path.removeprefix("/cache/")])
        elif self.gated and token != f"Bearer {CANARY}":
            self.send_error(self.gated, f"no {token}")
        else:
            name = path.rpartition("/")[2]
            where = f"{self.storage}/storage/{name}" if name.endswith(".safetensors") else f"/cache/{name}"
            self.send_response(302)
            self.send_header("Location", where)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def told(self, name: str) -> dict[str, Any]:
        content = REPOSITORY[name]
        told: dict[str, Any] = {"rfilename": name, "size": len(content), "lfs": None}
        if name.endswith(".safetensors"):
            told["size"] = self.size or len(content)
            sha = hashlib.sha256(self.lfs or content).hexdigest()
            told["lfs"] = {"sha256": sha, "size": told["size"], "pointerSize": 134}
        return told

    def say(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        return None


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of the hub; its storage is the same server under another name, and so another host."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    Hub.commit, Hub.gated, Hub.size, Hub.lfs, Hub.asked, Hub.reply = COMMIT, 0, None, None, [], None
    Hub.storage = f"http://localhost:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def source(**changes: Any) -> Source:
    return parse_source("model/tiny", {**BLOCK, **changes})


def get(folder: Path, said: list[str] | None = None, **changes: Any) -> Path:
    book = folder.parent / "conf" / "checksums.json"
    return fetch("model/tiny", source(**changes), folder, (said if said is not None else []).append, checksums=book)


def book(folder: Path) -> dict[str, str]:
    return dict(json.loads((folder / "conf" / "checksums.json").read_text()))


# --------------------------------------------------------------------------- what is downloaded


def test_a_repository_comes_with_config_tokenizer_template_and_each_of_its_weights_once(tmp_path: Path) -> None:
    folder = get(tmp_path / "data")
    assert sorted(path.name for path in folder.iterdir()) == sorted([*KEPT, "LICENCE.txt", "manifest.json"])
    assert (folder / "model-00002-of-00002.safetensors").read_bytes() == WEIGHTS[::-1]


def test_the_first_download_records_the_commit_and_every_checksum_under_the_hubs_own_address(tmp_path: Path) -> None:
    get(tmp_path / "data")
    recorded = book(tmp_path)
    assert recorded.pop(f"{HUB}/api/models/some/model/revision/main") == COMMIT
    assert recorded == {
        f"{HUB}/some/model/resolve/{COMMIT}/{name}": hashlib.sha256(REPOSITORY[name]).hexdigest() for name in KEPT
    }


def test_a_recorded_repository_stays_at_its_commit_when_the_branch_moves_on(tmp_path: Path) -> None:
    get(tmp_path / "data")
    Hub.commit = LATER
    folder = get(tmp_path / "other")
    assert json.loads((folder / "manifest.json").read_text())["revision"] == COMMIT
    assert all(LATER not in path and "/main" not in path for _, path, _ in Hub.asked[len(Hub.asked) // 2 :])


def test_a_complete_download_asks_the_hub_for_nothing(tmp_path: Path) -> None:
    get(tmp_path / "data")
    Hub.asked.clear()
    get(tmp_path / "data")
    assert Hub.asked == []


def test_named_files_of_a_branch_are_pinned_too(tmp_path: Path) -> None:
    folder = get(tmp_path / "data", files={"config.json": None})
    assert sorted(path.name for path in folder.iterdir()) == ["LICENCE.txt", "config.json", "manifest.json"]
    assert COMMIT in book(tmp_path).values()


def test_weights_other_than_the_hub_says_are_refused(tmp_path: Path) -> None:
    Hub.lfs = b"other"
    with pytest.raises(SymphonyError, match="found sha256 "):
        get(tmp_path / "data")


def test_several_downloads_share_the_file_of_checksums(tmp_path: Path) -> None:
    addresses = [f"{HUB}/some/model{number}/resolve/{{revision}}" for number in range(6)]
    threads = [
        threading.Thread(target=get, args=(tmp_path / "data" / str(number),), kwargs={"address": address})
        for number, address in enumerate(addresses)
    ]
    folder = tmp_path / "data"
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorded = json.loads((folder / "conf" / "checksums.json").read_text())
    assert len(recorded) == len(addresses) * (len(KEPT) + 1)
    assert all(recorded.values())


def test_an_address_that_is_no_repository_needs_its_files_named() -> None:
    with pytest.raises(SymphonyError, match=r"source\.files: found nothing"):
        source(address="https://example.org/weights")


@pytest.mark.parametrize(
    ("status", "reply", "told"),
    [
        (200, b"<html>a login page</html>", "found no list of files"),
        (200, b"[]", "found no list of files"),
        (200, b"{}", "found no list of files"),
        (200, b'{"id": "some/model", "sha": "main", "siblings": []}', "found no commit"),
        (200, json.dumps({"id": "some/model", "sha": COMMIT}).encode(), "found no file, allowed: config"),
        (404, b"no such repository", "found HTTP 404"),
        (500, b"", "found HTTP 500"),
    ],
)
def test_a_hub_that_lists_no_files_is_told_in_one_line(status: int, reply: bytes, told: str, tmp_path: Path) -> None:
    Hub.reply = (status, reply)
    with pytest.raises(SymphonyError, match=told) as raised:
        get(tmp_path / "data")
    assert "\n" not in str(raised.value)


def test_a_hub_that_does_not_answer_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SymphonyError, match="allowed: the hub's answer") as raised:
        get(tmp_path / "data")
    assert "\n" not in str(raised.value)


# --------------------------------------------------------------------------- room


def test_a_repository_that_does_not_fit_the_disk_is_refused_before_its_first_byte(tmp_path: Path) -> None:
    Hub.size = 10**18
    with pytest.raises(SymphonyError, match=r"found \d+ bytes free at .*, allowed: 20000000000000000\d\d or more"):
        get(tmp_path / "data")
    assert not [path for _, path, _ in Hub.asked if "/resolve/" in path]


# --------------------------------------------------------------------------- gated models


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_model_says_where_its_licence_is_accepted(status: int, tmp_path: Path) -> None:
    Hub.gated = status
    with pytest.raises(SymphonyError, match=f"HTTP {status}") as raised:
        get(tmp_path / "data")
    assert f"accepted the licence at {HUB}/some/model" in str(raised.value)
    assert "no HF_TOKEN in the environment" in str(raised.value)


def test_a_token_opens_a_gated_model_and_goes_to_the_hub_alone(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    Hub.gated = 403
    get(tmp_path / "data")
    seen = {(host.partition(":")[0], token) for host, _, token in Hub.asked}
    assert seen == {("127.0.0.1", f"Bearer {CANARY}"), ("localhost", None)}


def test_a_token_goes_to_no_other_host_that_looks_like_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    get(tmp_path / "data", address=f"{Hub.storage}/some/model/resolve/{{revision}}")
    assert {token for _, _, token in Hub.asked} == {None}


def test_a_token_is_in_no_file_line_or_exception_even_where_the_hub_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    said: list[str] = []
    get(tmp_path / "data", said)
    monkeypatch.setenv("HF_TOKEN", f"{CANARY}x")
    Hub.gated = 403
    with pytest.raises(SymphonyError) as raised:
        get(tmp_path / "other", said)
    texts = [*said, *(path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file())]
    error: BaseException | None = raised.value
    texts += traceback.format_exception(raised.value)
    while error is not None:
        texts.append(repr(error))
        error = error.__cause__ or error.__context__
    assert "no Bearer ***" in str(raised.value)
    assert not [text for text in texts if CANARY in text]


def test_a_token_that_no_header_takes_is_refused_unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", f"{CANARY}\nX-Other: 1")
    with pytest.raises(SymphonyError, match="HF_TOKEN: found characters") as raised:
        get(tmp_path / "data")
    assert CANARY not in "".join(traceback.format_exception(raised.value))


# --------------------------------------------------------------------------- runs


def test_another_commit_of_a_model_is_another_run(tmp_path: Path) -> None:
    import shutil

    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    address = f"{HUB}/api/models/Qwen/Qwen2.5-0.5B-Instruct/revision/main"

    def named(commit: str) -> str:
        (conf / "checksums.json").write_text(json.dumps({address: commit}))
        overrides = ["pool=single_qwen2_5_0_5b", "tasks=[gridworld]", "seeds=[0]"]
        cache = tmp_path / "plans"
        return plan("quickstart", overrides, experiment="symphony", conf=conf, cache=cache)[0].digest

    assert named(COMMIT) == named(COMMIT)
    assert named(COMMIT) != named(LATER)
