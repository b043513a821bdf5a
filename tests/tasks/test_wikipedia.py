"""Live Wikipedia against a local server that speaks as the MediaWiki API does: recorded once, replayed without it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from symphony.tasks.hotpotqa.corpus import Page
from symphony.tasks.hotpotqa.wikipedia import Wikipedia, sentences
from symphony.types import SymphonyError

EXTRACT = "Oak Hill is a village. It has a mill.\n\n\n== History ==\nAnn Rook built the mill. See also"


class StubMediaWiki(BaseHTTPRequestHandler):
    """Knows the page "Oak Hill", the disambiguation page "Oak", and three titles for any search."""

    asked: ClassVar[list[dict[str, str]]] = []
    agents: ClassVar[list[str]] = []
    failures: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        asked = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        type(self).asked.append(asked)
        type(self).agents.append(self.headers["User-Agent"])
        if type(self).failures:
            self.send_error(type(self).failures.pop(0))
            return
        titles = asked.get("titles", "")
        if "list" in asked:
            query: dict[str, object] = {"search": [{"title": name} for name in ("Oak Hill", "Oak tree", "Acorn")]}
        elif titles.lower() == "oak hill":
            query = {"pages": [{"title": "Oak Hill", "extract": EXTRACT}]}
        elif titles == "Oak":
            page = {"title": "Oak", "extract": "Oak may refer to:", "pageprops": {"disambiguation": ""}}
            query = {"pages": [page]}
        else:
            query = {"pages": [{"title": titles, "missing": True}]}
        body = json.dumps({"query": query}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return None


@pytest.fixture
def address() -> Iterator[str]:
    StubMediaWiki.asked, StubMediaWiki.agents, StubMediaWiki.failures = [], [], []
    with ThreadingHTTPServer(("127.0.0.1", 0), StubMediaWiki) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/w/api.php"
        server.shutdown()


def test_a_page_is_its_sentences_without_headings_and_stumps(address, tmp_path):
    page = Wikipedia(folder=tmp_path, address=address).find("Oak Hill")
    assert page == Page(
        title="Oak Hill", sentences=("Oak Hill is a village.", "It has a mill.", "Ann Rook built the mill.", "See also")
    )


def test_a_missing_title_and_an_ambiguous_one_give_similar_titles(address, tmp_path):
    corpus = Wikipedia(folder=tmp_path, address=address)
    assert corpus.find("Oack Hil") == corpus.find("Oak") == ("Oak Hill", "Oak tree", "Acorn")


def test_a_title_is_asked_for_once_whatever_its_spelling_and_replayed_without_network(address, tmp_path):
    first = Wikipedia(folder=tmp_path, address=address).find("Oak Hill")
    asked = len(StubMediaWiki.asked)
    assert Wikipedia(folder=tmp_path, address=address).find("oak  hill") == first
    assert len(StubMediaWiki.asked) == asked
    assert Wikipedia(folder=tmp_path, mode="replay", address="http://127.0.0.1:9/").find("Oak Hill") == first


def test_replay_refuses_what_was_never_recorded(tmp_path):
    with pytest.raises(SymphonyError, match=r"found no recorded answer for 'Acorn'"):
        Wikipedia(folder=tmp_path, mode="replay").find("Acorn")


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"title": null}', '{"sentences": "x"}', '{"similar": [1]}', "[" * 100_000]
)
def test_a_recorded_answer_that_is_none_is_told_by_its_file(content, address, tmp_path):
    Wikipedia(folder=tmp_path, address=address).find("Oak Hill")
    (path,) = tmp_path.iterdir()
    path.write_text(content)
    with pytest.raises(SymphonyError, match=rf"{path.name}.*: found .*, allowed: "):
        Wikipedia(folder=tmp_path, mode="replay").find("Oak Hill")


def test_a_title_is_asked_for_with_the_letters_that_its_entities_stand_for(address, tmp_path):
    Wikipedia(folder=tmp_path, address=address).find("Oak &amp; Elm")
    assert StubMediaWiki.asked[-2]["titles"] == StubMediaWiki.asked[-1]["srsearch"] == "Oak & Elm"


def test_a_busy_server_is_asked_again_after_growing_waits(address, tmp_path):
    waits: list[float] = []
    StubMediaWiki.failures = [503, 429]
    corpus = Wikipedia(folder=tmp_path, address=address, sleep=waits.append)
    assert isinstance(corpus.find("Oak Hill"), Page)
    assert len(waits) == 2
    assert waits[1] > waits[0]


def test_a_server_that_stays_busy_is_an_error_and_nothing_is_recorded(address, tmp_path):
    StubMediaWiki.failures = [503] * 9
    with pytest.raises(SymphonyError, match=r"found HTTP 503 5 times"):
        Wikipedia(folder=tmp_path, address=address, sleep=lambda _: None).find("Oak Hill")
    assert not list(tmp_path.iterdir())


def test_a_refusal_is_not_repeated(address, tmp_path):
    StubMediaWiki.failures = [403]
    with pytest.raises(SymphonyError, match="found HTTP 403"):
        Wikipedia(folder=tmp_path, address=address).find("Oak Hill")
    assert len(StubMediaWiki.asked) == 1


def test_the_client_says_who_it_is(address, tmp_path):
    Wikipedia(folder=tmp_path, address=address, user_agent="lab/1 (mail@lab)").find("Oak Hill")
    assert set(StubMediaWiki.agents) == {"lab/1 (mail@lab)"}


def test_an_empty_title_is_not_asked_for(tmp_path):
    assert Wikipedia(folder=tmp_path, address="http://127.0.0.1:9/").find(" ") == ()


def test_sentences_end_at_full_stops_and_lines():
    assert sentences("One two three. Four!\nA b\nFive six seven") == ["One two three.", "Four!", "Five six seven"]


@pytest.mark.parametrize(
    "change",
    [
        {"query": None},
        {"query": "Acorn"},
        {"title": " "},
        {"title": None},
        {"sentences": None},
        {"sentences": "text"},
        {"similar": ["Acorn"]},
        {"title": None, "sentences": None},
        {"title": None, "sentences": None, "similar": [7]},
    ],
)
def test_a_recorded_answer_that_is_none_is_told(change, address, tmp_path):
    Wikipedia(folder=tmp_path, address=address).find("Oak Hill")
    (file,) = tmp_path.iterdir()
    kept = {**json.loads(file.read_text()), **change}
    file.write_text(json.dumps({key: value for key, value in kept.items() if value is not None}))
    with pytest.raises(SymphonyError, match=rf"{file.name}: .*found .*, allowed: "):
        Wikipedia(folder=tmp_path, mode="replay").find("Oak Hill")
