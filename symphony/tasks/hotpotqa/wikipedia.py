"""English Wikipedia through the MediaWiki API; answers are kept on disk, so a recorded run needs no network."""

from __future__ import annotations

import hashlib
import json
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from pydantic import model_validator

from symphony.files import write_atomic
from symphony.tasks import datafiles, jsonrows
from symphony.tasks.hotpotqa.corpus import SIMILAR, Page, spelling, unescaped
from symphony.types import SymphonyError

ADDRESS = "https://en.wikipedia.org/w/api.php"
USER_AGENT = "symphony/0.1 (research pipeline; MediaWiki API; see CITATION.cff)"
ATTEMPTS = 5
TIMEOUT_S = 15.0

Mode = Literal["record", "replay"]


class _Answer(datafiles.Row):
    """What is stored for a title: its page, or similar titles."""

    query: str
    title: datafiles.Text | None = None
    sentences: list[str] | None = None
    similar: list[str] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.title is None) != (self.sentences is None) or (self.title is None) == (self.similar is None):
            raise ValueError("a title and its sentences, or similar titles")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Wikipedia:
    """A corpus that asks Wikipedia once per title and then always answers from its folder.

    Unlike the published environment, it answers a disambiguation page with similar titles instead of a second search.

    Attributes:
        folder: Where answers are kept, one JSON file per title.
        mode: "record" asks for titles not yet recorded; "replay" refuses to.
        address: Address of the API.
        user_agent: Name and contact, as the API's etiquette asks.
        wait_s: Seconds before the second attempt; doubled for each further one.
        sleep: Waits; replaced in tests.
    """

    folder: Path
    mode: Mode = "record"
    address: str = ADDRESS
    user_agent: str = USER_AGENT
    wait_s: float = 1.0
    sleep: Callable[[float], None] = time.sleep

    def find(self, entity: str) -> Page | tuple[str, ...]:
        """See `Corpus.find`.

        Raises:
            SymphonyError: The network gave no answer, or none is recorded in mode "replay".
        """
        key = hashlib.sha256(spelling(entity).encode()).hexdigest()[:32]
        path = self.folder / f"{key}.json"
        if path.is_file():
            answer = datafiles.check(_Answer, jsonrows.parse_json(jsonrows.read_text(path), path), f"{path}")
            if spelling(answer.query) != spelling(entity):
                raise SymphonyError(f"{path}: found the answer to {answer.query!r}, allowed: the one to {entity!r}")
        elif self.mode == "replay":
            raise SymphonyError(f"{self.folder}: found no recorded answer for {entity!r}, allowed: recorded titles")
        else:
            asked = {"query": entity, **self._ask(entity)}
            write_atomic(path, json.dumps(asked, ensure_ascii=False, indent=1) + "\n")
            answer = _Answer(**asked)
        if answer.title and answer.sentences:
            return Page(title=answer.title, sentences=tuple(answer.sentences))
        return tuple(answer.similar or ())

    def _ask(self, entity: str) -> dict[str, Any]:
        if not entity.strip():
            return {"similar": []}
        reply = self._get(
            action="query", prop="extracts|pageprops", ppprop="disambiguation", explaintext="1", redirects="1",
            titles=unescaped(entity),
        )  # fmt: skip
        pages = reply.get("query", {}).get("pages", [])
        page = pages[0] if pages else {}
        text = str(page.get("extract") or "")
        if text and "disambiguation" not in page.get("pageprops", {}):
            return {"title": str(page["title"]), "sentences": sentences(text)}
        hits = self._get(action="query", list="search", srsearch=unescaped(entity), srlimit=str(SIMILAR), srprop="")
        return {"similar": [str(hit["title"]) for hit in hits.get("query", {}).get("search", [])]}

    def _get(self, **parameters: str) -> Mapping[str, Any]:
        url = f"{self.address}?{urlencode({**parameters, 'format': 'json', 'formatversion': '2', 'maxlag': '5'})}"
        request = Request(url, headers={"User-Agent": self.user_agent, "Accept": "application/json"})
        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                self.sleep(self.wait_s * 2 ** (attempt - 1) * random.uniform(0.75, 1.25))
            try:
                with urlopen(request, timeout=TIMEOUT_S) as answer:
                    reply = json.loads(answer.read())
                if "error" not in reply:
                    return reply if isinstance(reply, dict) else {}
                problem = str(reply["error"].get("info", reply["error"]))  # too busy: maxlag
            except HTTPError as error:
                if error.code != 429 and error.code < 500:
                    raise SymphonyError(f"{self.address}: found HTTP {error.code}, allowed: an answer") from error
                problem = f"HTTP {error.code}"
            except (URLError, ConnectionError, TimeoutError, json.JSONDecodeError) as error:
                problem = str(error)
        raise SymphonyError(f"{self.address}: found {problem} {ATTEMPTS} times, allowed: an answer (run again)")


def sentences(text: str) -> list[str]:
    """Splits a plain-text extract into sentences, without headings and lines of one or two words."""
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if len(line.split()) > 2 and not line.startswith("==")]
    return [sentence for line in kept for sentence in re.split(r"(?<=[.!?])\s+", line)]
