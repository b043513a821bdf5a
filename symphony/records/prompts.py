"""The prompts of a run, so that its calls can be read: each distinct one of a problem once, compressed.

`prompts.jsonl.gz` in a run's folder holds one line per prompt; `CallRecord.prompt` names it. The database does not hold
them, because they are larger than all other records together: a query reads the files (docs/records.md). Completions
are not here, since `CallRecord.text` has them. A run that was recorded before prompts were kept has no such file.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring as _quoted
from pathlib import Path

from symphony.records.manifest import damaged

PROMPTS = "prompts.jsonl.gz"
_PART = 1 << 16  # bytes read at once
_LEVEL = 3  # half the time of level 9, and a fifth more bytes
_ALLOWED = "the prompts of a finished run"


def message_text(role: str, content: str) -> str:
    """Encodes a message for `prompt_line`."""
    return f'{{"role":{_quoted(role)},"content":{_quoted(content)}}}'


def prompt_line(run: str, problem: str, prompt: str, messages: Sequence[str]) -> str:
    """Returns the JSON line of one distinct prompt of a problem.

    Args:
        prompt: Digest of the messages, as in `CallRecord.prompt`.
        messages: The chat as it was sent, each message encoded.
    """
    names = f'"run":{_quoted(run)},"problem":{_quoted(problem)},"prompt":{_quoted(prompt)}'
    return f'{{{names},"messages":[{",".join(messages)}]}}\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """The prompts of one problem as they lie in the file.

    Attributes:
        compressed: A gzip file of its own: one JSON line per prompt.
    """

    problem: str
    compressed: bytes

    def read(self) -> dict[str, list[dict[str, str]]]:
        """Returns the messages of each prompt, by its digest."""
        rows = [json.loads(line) for line in gzip.decompress(self.compressed).splitlines()]
        return {row["prompt"]: row["messages"] for row in rows}


def compress(lines: str) -> bytes:
    """Compresses the lines of one problem; equal lines give equal bytes (with the same zlib)."""
    return gzip.compress(lines.encode(), _LEVEL, mtime=0)


def read_packs(folder: str | Path) -> Iterator[Pack]:
    """Yields the prompts of a run's problems one by one, in the order of the problems; nothing if none were kept.

    Raises:
        SymphonyError: The file is damaged.
    """
    path = Path(folder) / PROMPTS
    if not path.is_file():
        return
    try:
        with path.open("rb") as stream:
            part = stream.read(_PART)
            while part:  # a member of the file begins here
                reader, compressed, head = zlib.decompressobj(wbits=31), [], b""
                while part and not reader.eof:
                    head = (head + reader.decompress(part))[:_PART]
                    compressed.append(part[: len(part) - len(reader.unused_data)])
                    part = reader.unused_data or stream.read(_PART)
                if not reader.eof:
                    raise ValueError("an end within a problem")
                yield Pack(problem=_problem(head), compressed=b"".join(compressed))
    except (OSError, ValueError, zlib.error) as error:
        raise damaged(path, str(error), _ALLOWED) from error


def _problem(head: bytes) -> str:
    """Reads the problem's id from the first bytes of its first line, which may end anywhere."""
    text = head.decode(errors="replace")
    key = '"problem":'
    problem, _ = json.JSONDecoder().raw_decode(text, text.index(key) + len(key))
    return str(problem)
