"""`symphony diff`: tells where two runs first differ, in the terminal and as a page with both searches side by side."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symphony.files import check_own, write_atomic
from symphony.report.viewer.compare import (
    Divergence,
    Event,
    Side,
    differing_settings,
    find_run,
    first_divergence,
    list_events,
    open_side,
    pair_problems,
)
from symphony.report.viewer.frames import asset, frame
from symphony.report.viewer.packs import as_base64, pack_text

_MARK = '<meta name="generator" content="symphony diff">'
_SHOWN = 100  # letters of a text that the terminal shows around the first difference
_BEFORE, _AFTER = 400, 30  # events that the page has before and after the divergence
_SCRIPTS = ("common.js", "layout.js", "map.js", "diff.js")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The first problem that differs, with the events of both searches."""

    problems: tuple[str, str]
    events: tuple[list[Event], list[Event]]
    divergence: Divergence


def diff(one: str, other: str, outputs: Path, page: Path | None, say: Callable[[str], None]) -> bool:
    """Compares two runs, or two problems, and tells the first divergence.

    Args:
        one, other: RUN or RUN/PROBLEM (`find_run`); a problem that only one names is taken for both.
        page: Gets the page, and beside it `<page>.json` with the same content; None for none.
        say: Prints a line.

    Returns:
        Whether the searches are equal.

    Raises:
        SymphonyError: A run or a problem is not there, records are damaged, or the page cannot be written.
    """
    if page is not None:
        check_own(page, lambda head: _MARK.encode() in head)
    places = [find_run(text, outputs) for text in (one, other)]
    named = [problem for _, problem in places if problem is not None]
    sides = [open_side(folder, problem or (named[0] if named else None)) for folder, problem in places]
    pairs = pair_problems(*sides)
    found: list[_Found] = []
    for pair in pairs:
        events = tuple(list_events(side.problems[name]) for side, name in zip(sides, pair, strict=True))
        divergence = first_divergence(*events)
        if divergence is not None:
            found.append(_Found(problems=pair, events=(events[0], events[1]), divergence=divergence))
    for line in _lines(sides, pairs, found):
        say(line)
    if page is not None:
        _write_page(page, sides, len(pairs), found)
        say(f"page: {page}")
    return not found and len(pairs) == max(len(side.problems) for side in sides)


def _lines(sides: list[Side], pairs: list[tuple[str, str]], found: list[_Found]) -> Iterator[str]:
    for letter, side in zip("AB", sides, strict=True):
        run = side.run
        yield (
            f"{letter}  {run['run']}  {run['study']} · {run['experiment']} · {run['task']} · seed {run['seed']} · "
            f"commit {run['commit'][:10]}"
        )
    for key, before, after in differing_settings(*sides):
        yield f"   {key}: {before} | {after}"
    for letter, side, others in zip("AB", sides, reversed(sides), strict=True):
        alone = [name for name in side.problems if len(pairs) > 1 and name not in others.problems]
        if alone:
            yield f"only {letter} has {len(alone)} problems: {', '.join(alone[:3])}{', ...' if alone[3:] else ''}"
    if not found:
        yield f"equal: {len(pairs)} {'problem' if len(pairs) == 1 else 'problems'}, event by event"
        return
    yield f"{len(found)} of {len(pairs)} problems differ; the first is {' | '.join(dict.fromkeys(found[0].problems))}"
    yield from _describe(sides, found[0])


def _describe(sides: list[Side], found: _Found) -> Iterator[str]:
    divergence, event = found.divergence, found.divergence.event
    calls = min(side.call for side in divergence.sides if side is not None)
    yield f"equal for {divergence.position} events ({calls} calls); then {divergence.what} {_where(event)}"
    if not divergence.fields:
        for letter, side in zip("AB", divergence.sides, strict=True):
            yield f"  {letter}  {'has ended' if side is None else f'{side.kind} {_where(side)}'}"
    for name in divergence.fields[:3]:
        values = [_value(side, problem, event, name) for side, problem, event in _each(sides, found)]
        yield f"  {name}:"
        for letter, text in zip("AB", _around(*values), strict=True):
            yield f"    {letter}  {text}"


def _where(event: Event) -> str:
    values = event.values
    if event.kind in ("pick", "call"):
        number = f"call {event.call + 1}" if event.kind == "call" else f"pick {event.index + 1}"
        return f"at {number} (iteration {values['iteration']}, node {values['node']}, {values['phase']})"
    return "at the end" if event.kind == "end" else f"at {event.kind} {event.index}"


def _each(sides: list[Side], found: _Found) -> Iterator[tuple[Side, str, Event]]:
    for side, problem, event in zip(sides, found.problems, found.divergence.sides, strict=True):
        if event is not None:
            yield side, problem, event


def _value(side: Side, problem: str, event: Event, name: str) -> str:
    """Returns a field as text; a prompt's messages rather than its digest, if they were kept."""
    value = event.values[name]
    if name == "prompt":
        messages = side.prompts(problem).get(value)
        if messages is None:
            return f"digest {value} (prompts were not kept)"
        return repr("\n".join(f"{message['role']}: {message['content']}" for message in messages))
    return repr(value) if isinstance(value, str) else json.dumps(value)  # repr: no control characters of a model


def _around(one: str, other: str) -> tuple[str, str]:
    """Cuts two texts to what stands around their first difference."""
    same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    begin = max(0, same - _SHOWN // 2)

    def cut(text: str) -> str:
        part = text[begin : begin + _SHOWN]
        return f"{'…' if begin else ''}{part}{'…' if len(text) > begin + _SHOWN else ''}"

    return cut(one), cut(other)


# --------------------------------------------------------------------------- the page


def _write_page(page: Path, sides: list[Side], compared: int, found: list[_Found]) -> None:
    content = json.dumps(_content(sides, compared, found), ensure_ascii=False)
    write_atomic(page.with_name(f"{page.name.removesuffix('.html')}.json"), content + "\n")
    code = "\n".join(asset(name) for name in _SCRIPTS)
    code += f"\nshowDiff({json.dumps(as_base64(pack_text(content)))});\n"
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    write_atomic(page, frame("diff", mark=_MARK, style=asset("viewer.css"), code=code, digest=digest))


def _content(sides: list[Side], compared: int, found: list[_Found]) -> dict[str, Any]:
    """Returns all that the page shows; of the events those around the divergence."""
    content: dict[str, Any] = {
        "runs": [side.run for side in sides],
        "settings": list(differing_settings(*sides)),
        "compared": compared,
        "differing": [{"problems": list(dict.fromkeys(one.problems)), "what": one.divergence.what} for one in found],
    }
    if found:
        first = found[0]
        position = first.divergence.position
        begin = max(0, position - _BEFORE)
        shown = [events[begin : position + _AFTER] for events in first.events]
        content |= {
            "position": position,
            "begin": begin,
            "what": first.divergence.what,
            "where": _where(first.divergence.event),
            "fields": list(first.divergence.fields),
            "problems": [side.problems[name] for side, name in zip(sides, first.problems, strict=True)],
            "events": [[[event.kind, event.index] for event in events] for events in shown],
            "more": [len(events) - begin - len(part) for events, part in zip(first.events, shown, strict=True)],
            "prompts": [
                _prompts(side, name, events) for side, name, events in zip(sides, first.problems, shown, strict=True)
            ],
        }
    return content


def _prompts(side: Side, problem: str, events: list[Event]) -> dict[str, list[dict[str, str]]]:
    """Returns the prompts of the calls that are shown."""
    wanted = {event.values["prompt"] for event in events if event.kind == "call"}
    return {name: messages for name, messages in side.prompts(problem).items() if name in wanted}
