"""Finds the code in a model's answer; docs/tasks.md describes the grammar.

Fences are what CommonMark takes for fences. If a fence's content is not a program, the fence is extended to a later
closing fence if that makes it one (a fence inside a docstring had closed it). Everything else, including all text
outside fences, is searched for programs line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from markdown_it import MarkdownIt
from markdown_it.token import Token

from symphony.chat.reasoning import CONTROL, NEXT_TURN, spoken

_MARKDOWN = MarkdownIt("commonmark").disable("html_block")  # so that a tag on the line before a fence does not hide it
_MARK = re.compile(r"[ \t]*(?:`{3,}|~{3,})")
_BEHIND = re.compile(
    r"(?P<before>(?![ \t]*//)(?:(?!```|~~~).)*[^\s`~])[ \t]*(?P<fence>(?:```+|~~~+)[\w+-]*(?: \w+=\S+)?)[ \t]*"
)
_ENDS = re.compile(r"(?P<before>(?![ \t]*//)(?:(?!```|~~~).)*[^\s`~])[ \t]*(?:```+|~~~+)(?P<after>.*)")
_CONTAINER = re.compile(r"[ \t]*(?:(?:[>*+#-]|//[/!]?|\d+[.)])[ \t]*)+")
_LEFTOVER = (
    rf"(?i:{CONTROL}|<start_of_turn>|\[INST\]|<(?:pad|unk|fim_\w{{3,6}}|file_sep|repo_?name|filename|extra_id_\d+)>|\[/?(?:PYTHON|RUST|ANSWER|CODE|SOLUTION|DONE)\]"
    r"|</?(?:solution|python|rust|pre|code)(?: [^<>\n]{0,60})?>)"
)
_ANYWHERE = re.compile(rf"(\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')|[ \t]*(?:{_LEFTOVER}|`{{3,}}\w*)[ \t]*")
_AT_END = re.compile(rf"(?:\s*{_LEFTOVER})+\s*\Z")
_LINE_END = re.compile(rf"(?m)(?:[ \t]*{_LEFTOVER})+[ \t]*$")
_TURN = re.compile(rf"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|\S\s*(?P<cut>{NEXT_TURN})", re.IGNORECASE)
_SAID = re.compile(
    r"(?!Assistant)[^\w\n\"'#/]*(?:[^\W\d_]+ ){0,3}[^\W\d_]+(?: ?[0-9]{1,3})?[*_ ]*[:\uff1a][*_`\s]*"
    r"(?=(?:async +)?def \w+ *\(|from [\w.]+ import |import \w|class \w|@\w|(?:pub )?fn \w|use \w+::)"
)
"""A label before code on its line: "Action: def f(x):"."""
_TICK = re.compile(r"^\s*(`{1,2})(?=(?:async +def|def|from|import|class|pub|fn|use)\b)|(?<!`)`{1,2}[.,;]?\s*$")
"""Backticks around code that is not in a fence."""
_INVISIBLE = {ord("\u00a0"): " ", **dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff"))}
_TYPED = re.compile(r"(?m)^[ \t]*(?:>>>|\.\.\.)(?: (.*))?$")
"""Lines after an interpreter's prompt."""
_MARKS = 8
"""How many closing fences after its own are tried when a fence is extended."""


class Tongue(Protocol):
    """What this module needs to know about a programming language."""

    def is_program(self, source: str) -> bool:
        """Whether a text is code and nothing else."""
        ...

    def programs(self, lines: list[str], stop: int) -> Iterator[tuple[str, int]]:
        """Finds the programs among other lines, without parts that were cut off or can't be read.

        Args:
            stop: Programs must begin before this line.

        Yields:
            A program, and the line after it.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A piece of an answer that is code, or was meant to be.

    Attributes:
        source: The code without its fence.
        tag: The language named by its fence, in lower case; "" if none is named.
        fenced: Whether it was in a fence.
        sound: Whether it can be read as code; only fenced pieces can be unsound.
    """

    source: str
    tag: str = ""
    fenced: bool = False
    sound: bool = True


def read_blocks(text: str, tongue: Tongue) -> list[Block]:
    """Returns the code of an answer, in order, ignoring tagged reasoning and another speaker's turn."""
    lines = _lines(text)
    blocks: list[Block] = []
    at: int | None = 0
    while at is not None:
        at = _read(lines, at, tongue, blocks)
    return blocks


def pieces(text: str) -> list[list[str]]:
    """Returns the lines of an answer, split at its fence marks, without leftovers."""
    parts: list[list[str]] = [[]]
    for line in _lines(text):
        if _MARK.match(line):
            parts.append([])
        else:
            parts[-1].append(_LINE_END.sub("", line).translate(_INVISIBLE))
    return parts


def _lines(text: str) -> list[str]:
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").removeprefix("\ufeff")
    speech = spoken(text)
    turn = next((match for match in _TURN.finditer(speech) if match["cut"]), None)
    return speech[: turn.start("cut") if turn else None].split("\n")


def _read(lines: list[str], at: int, tongue: Tongue, blocks: list[Block]) -> int | None:
    """Reads blocks from a line on.

    Returns:
        The line to restart from, if a fence began or ended elsewhere than in Markdown; None at the end.
    """
    done = at
    for token in [*_MARKDOWN.parse("\n".join(lines[at:])), None]:
        if token is not None and (token.type != "fence" or token.map is None):
            continue
        start, end = (at + line for line in token.map) if token and token.map else (len(lines), len(lines))
        over = next(
            (program for program in tongue.programs(lines[done:], start - done) if program[1] > start - done), None
        )
        if over is not None:  # the fence is in a string of a program that began before it
            blocks.append(Block(source=over[0]))
            return done + over[1]
        behind = next((number for number in range(done, start) if _split(lines, number)), None)
        blocks += _scan(lines[done : start if behind is None else behind + 1], tongue, typed=True)
        if behind is not None:
            return behind + 1
        if token is not None:
            more, later = _fence(lines, start, end, token, tongue)
            blocks += more
            if later != end:
                return later
        done = end
    return None


def _split(lines: list[str], number: int) -> bool:
    """Moves a fence that follows other words onto its own line; returns whether there was one."""
    match = _BEHIND.fullmatch(lines[number])
    if match is None or _CONTAINER.fullmatch(match["before"]):
        return False
    lines[number : number + 1] = [match["before"], match["fence"]]
    return True


def _fence(lines: list[str], start: int, end: int, token: Token, tongue: Tongue) -> tuple[list[Block], int]:
    """Returns the programs in a fence, and the line after the fence."""
    tag, _, code = token.info.strip().partition(" ")
    texts = [token.content, f"{code}\n{token.content}"] if code else [token.content]
    if code or not tag.isalnum():  # the program's first line is on the line of the fence
        texts.append(f"{token.info}\n{token.content}")
    for text in texts:
        if (source := _clean(text, tongue)) is not None:
            return [Block(source=source, tag=tag.lower(), fenced=True)], end
    indent = len(lines[start]) - len(lines[start].lstrip())
    for number in range(start + 1, end):  # the closing mark is on a line of code
        if (match := _ENDS.fullmatch(lines[number])) is None:
            continue
        text = "\n".join(_outdent([*lines[start + 1 : number], match["before"]], indent))
        if tongue.is_program(text):
            lines[number] = match["after"]
            return [Block(source=text, tag=tag.lower(), fenced=True)], number
    marks = [number for number in range(end, len(lines)) if _MARK.match(lines[number])]
    for mark in marks[:_MARKS]:  # the closing mark was inside a string
        text = "\n".join(_outdent(lines[start + 1 : mark], indent))
        if tongue.is_program(text):
            return [Block(source=text, tag=tag.lower(), fenced=True)], mark + 1
    behind = next((number for number in range(start + 1, end) if _split(lines, number)), None)
    if behind is None:
        return _scan(token.content.split("\n"), tongue) or [_broken(token)], end
    blocks = _scan(_outdent(lines[start + 1 : behind + 1], indent), tongue)
    return blocks, behind + (2 if lines[behind + 1].strip("`~") == "" else 1)


def _broken(token: Token) -> Block:
    return Block(source=token.content, tag=token.info.strip().partition(" ")[0].lower(), fenced=True, sound=False)


def _scan(lines: list[str], tongue: Tongue, *, typed: bool = False) -> list[Block]:
    """Finds the programs between lines of prose; lines without a program are searched again without leftovers.

    Args:
        typed: Whether code may stand behind an interpreter's prompts.
    """
    blocks, at = [], 0
    for source, end in [*tongue.programs(lines, len(lines)), ("", len(lines))]:
        gap = lines[at : end - source.count("\n") - 1 if source else end]
        prompts = typed and any(line.lstrip().startswith(">>>") for line in gap)
        plain = [part for line in gap for part in _plain(_strip_prompt(line) if prompts else line).split("\n")]
        if plain != gap:
            blocks += [Block(source=text) for text, _ in tongue.programs(plain, len(plain))]
        blocks += [Block(source=source)] if source else []
        at = end
    return blocks


def _strip_prompt(line: str) -> str:
    """Returns a line without an interpreter's prompt."""
    return _TYPED.sub(lambda match: match[1] or "", line)


def _plain(line: str) -> str:
    """Returns a line with leftovers and marks replaced by line breaks."""
    line = _SAID.sub("", _LINE_END.sub("", line).translate(_INVISIBLE), count=1)
    line = _TICK.sub("", line)
    comment = line.lstrip().startswith(("//", "#"))
    return line if comment else _ANYWHERE.sub(lambda match: match[1] or "\n", line)


def _clean(text: str, tongue: Tongue) -> str | None:
    """Removes only as many leftovers as needed to make a text a program; None if that fails."""
    bare = _LINE_END.sub("", text)
    typed = "\n".join(match[1] or "" for match in _TYPED.finditer(text) if ">>>" in text)
    sources = [text, _AT_END.sub("\n", text), bare, bare.translate(_INVISIBLE), *([typed] if typed else [])]
    for source in dict.fromkeys(sources):
        if tongue.is_program(source):
            return source
    return None


def _outdent(lines: list[str], indent: int) -> list[str]:
    return [line[indent:] if not line[:indent].strip() else line for line in lines]
