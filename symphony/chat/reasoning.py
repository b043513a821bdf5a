"""Separates a model's reasoning from what it says.

Reasoning is between tags (`<think>...</think>`), in a channel (`<|channel|>analysis...`), or in a separate field of an
endpoint's reply, which `joined` writes as a tag. Records keep the whole text of a completion; readers use
`spoken(text)`, and stop strings count only there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_NAMES = (
    r"(?:ant|(?!end_)[a-z]{1,16}[:_-])?(?:think(?:ing)?|thoughts?|reason(?:ing)?|rationale|analysis|scratch_?pad|monologue"
    r"|chain[_-]of[_-]thoughts?|cot)(?:[_-]process)?"
)
_OPEN = (
    rf"<\|?[ \t]*{_NAMES}(?:[ \t][^<>\n]*[^<>\n/])?\|?>"
    r"|<\|(?:begin_of_thought|start_thinking|think_start|thought_start)\|>|\u25c1think\u25b7"
    r"|(?-i:\[THINK\])|<unused94>thought|\A(?-i:analysis)(?=(?-i:[A-Z])(?s:.*?)(?-i:assistantfinal))"
)
_CLOSE = (
    rf"<\|?[ \t]*/[ \t]*{_NAMES}[ \t]*\|?>"
    r"|<\|(?:end_of_thought|end_thinking|think_end|thought_end)\|>|\u25c1/think\u25b7"
    r"|(?-i:\[/THINK\])|<unused95>|<channel\|>|(?-i:assistantfinal)"
)
# A message in a channel: <|start|>assistant<|channel|>analysis<|message|>...<|end|>; only channel "final" is spoken.
_CHANNEL = r"(?:<\|start\|>\s*assistant\s*)?<\|channel\|?>\s*{}\b[^<>\n]*(?:<\|message\|>)?"
_MARKS = re.compile(
    rf"(?P<empty><[ \t]*{_NAMES}[ \t]*/>)|(?P<open>{_OPEN})|(?P<close>{_CLOSE}|{_CHANNEL.format('final')})"
    rf"|(?P<channel>{_CHANNEL.format('(?!final)')}[a-z]*(?:<\|message\|>)?)|(?P<end><\|end\|>)",
    re.IGNORECASE,
)
_OPENED = re.compile(rf"(?:{_OPEN}|{_CHANNEL.format('(?!final)[a-z]+')})\s*\Z", re.IGNORECASE)
_QUOTES = "`\"'\u201c\u2018"
_NOUN = r"[ \t]*(?:tags?|blocks?|tokens?|sections?|elements?|markers?|mode)\b"
_NAMED = re.compile(rf"{_NOUN}|[ \t]*(?:[,;:)?!]|\.(?!\.)|(?:and|or)[ \t]+<)", re.IGNORECASE)
"""What follows a tag that is only mentioned: "the <think> tag"."""
_NAMED_CLOSE = re.compile(_NOUN, re.IGNORECASE)
CONTROL = (
    r"(?:<\|im_start\|>|<start_of_turn>)\s*(?:assistant|model)\b|<\|start_header_id\|>\s*assistant\s*<\|end_header_id\|>"
    r"|<\|[\w/-]{1,32}\|>|<\uff5c[^<>|\n]{1,32}\uff5c>|</?s>|<(?:bos|eos|end_of_turn)>|\[/INST\]"
    r"|</?(?:answer|final_answer|response|output)>"
)
"""Case-insensitive pattern of what chat templates and prompts leave in completions."""
_TOKENS = re.compile(CONTROL, re.IGNORECASE)
NEXT_TURN = (
    r"<\|im_start\|>\s*(?!\s|assistant)|<\|(?:user|system)\|>|\[INST\]|<start_of_turn>\s*user"
    r"|<\|start_header_id\|>\s*(?:user|system)"
)
"""Case-insensitive pattern of how another speaker's turn begins."""
_NEXT = re.compile(rf"\S\s*(?P<cut><\|endoftext\|>|<\|end_of_text\|>|{NEXT_TURN})", re.IGNORECASE)
_BEGINNING = r"(?:\s|</?s>|<bos>|<\|(?:begin_of_text|endoftext|startoftext)\|>)*+"
_ECHO = re.compile(
    rf"\A{_BEGINNING}(?:<\|im_start\|>\s*(?:user|system)\b|<\|(?:user|system)\|>|\[INST\]|<start_of_turn>\s*user\b"
    r"|<\|start_header_id\|>\s*(?:user|system)\b).*?"
    r"(?:<\|im_start\|>\s*assistant\b|<\|assistant\|>|\[/INST\]|<start_of_turn>\s*model\b"
    r"|<\|start_header_id\|>\s*assistant\s*<\|end_header_id\|>)",
    re.IGNORECASE | re.DOTALL,
)
"""A prompt that the completion repeats, up to the assistant's turn."""
_EMPHASIS = re.compile(r"</?(?:b|i|u|em|strong|code)>", re.IGNORECASE)


# Every mark, control token and tag above holds one of these, in any case.
_HINTS = ("<", "\u25c1", "[inst]", "[/inst]", "[think]", "[/think]", "assistantfinal")


def _is_bare(text: str) -> bool:
    """Whether a text holds nothing that this module removes; most answers do not, and the patterns are slow."""
    folded = text.casefold()
    return not any([hint in folded for hint in _HINTS])


def spoken(text: str) -> str:
    """Returns what a completion says, without its reasoning and without any prompt that it repeats.

    A block that was cut off extends to the end. A closing tag without an opening tag ends a block that started with
    the completion, since many templates put the opening tag into the prompt.
    """
    if _is_bare(text):
        return text
    if "[" in text or "<" in text:
        text = _ECHO.sub("", text, count=1)
    return "\n".join([text[begin:end] for begin, end in _spans(text)])


def plain(text: str) -> str:
    """Returns what a completion says, without control tokens left by some endpoints and without HTML emphasis.

    The text ends where a model that was not stopped continues with another speaker's turn or another text. Not for
    programs, whose strings may hold anything.
    """
    if _is_bare(text):
        return text
    speech = spoken(text)
    turn = _NEXT.search(speech)
    return _EMPHASIS.sub("", _TOKENS.sub("", speech[: turn.start("cut")] if turn else speech))


def stop_at(text: str, stops: Sequence[str]) -> int | None:
    """Returns where the first stop string outside the reasoning begins; None if there is none."""
    positions = [text.find(stop, begin, end) for begin, end in _spans(text) for stop in stops]
    return min((at for at in positions if at >= 0), default=None)


def joined(reasoning: str, content: str | None) -> str:
    """Joins reasoning that came separately with the content; None as content means it was cut off while reasoning."""
    return f"<think>\n{reasoning}" if content is None else f"<think>\n{reasoning}\n</think>\n{content}"


def opened(prompt: str) -> str:
    """Returns the opening tag that a prompt ends with (the completion then starts inside the block), or ""."""
    match = _OPENED.search(prompt)
    return match[0] if match else ""


def ends_inside(text: str) -> bool:
    """Whether a completion was cut off during its reasoning."""
    return not any(end == len(text) for _, end in _spans(text))


def is_mark(token: str) -> bool:
    """Whether a model's special token separates reasoning from speech."""
    match = _MARKS.fullmatch(token)
    return token in ("<|message|>", "<|channel|>") or (match is not None and match.lastgroup != "end")


def _spans(text: str) -> list[tuple[int, int]]:
    """Returns the spans outside the reasoning, as (begin, end)."""
    if _is_bare(text):
        return [(0, len(text))]
    spans: list[tuple[int, int]] = []
    at, inside, closed = 0, "", False
    marks = list(_MARKS.finditer(text))
    last = next((mark.start() for mark in reversed(marks) if mark.lastgroup == "close"), 0)
    named = -1
    for mark in marks:
        kind = str(mark.lastgroup)
        if kind == "open" and not inside and _is_named(text, at, mark, _NAMED):
            named = mark.end()
            continue
        if kind == "close":
            paired = not inside and named >= 0 and "\n" not in text[named : mark.start()]
            named = -1
            is_mentioned = _is_quoted(text, mark) or _is_named(text, at, mark, _NAMED_CLOSE)
            if paired or ((not inside or mark.start() < last) and is_mentioned):
                continue
        if inside and (kind == "close" or (kind == "end" and inside == "channel")):
            inside, closed = "", True
        elif inside or kind == "end":
            continue
        elif kind == "empty":
            spans.append((at, mark.start()))
        elif kind == "close":
            if closed and not text[mark.end() :].strip():  # an extra tag, not the end of a block
                spans.append((at, mark.start()))
            else:
                spans.clear()
            closed = True
        else:
            spans.append((at, mark.start()))
            inside = kind
        at = mark.end()
    if not inside:
        spans.append((at, len(text)))
    return spans


def _is_quoted(text: str, mark: re.Match[str]) -> bool:
    """Whether a tag is enclosed in quotes."""
    before, after = text[: mark.start()][-1:], text[mark.end() :][:1]
    return before != "" and after != "" and before in _QUOTES and after in (*_QUOTES, "\u201d", "\u2019")


def _is_named(text: str, at: int, mark: re.Match[str], behind: re.Pattern[str]) -> bool:
    """Whether a tag is only mentioned: quoted, or called a tag in the middle of a line."""
    before = text[max(at, text.rfind("\n", 0, mark.start()) + 1) : mark.start()]
    quoted = before != "" and before[-1] in _QUOTES
    return quoted or (re.search(r"\w", before) is not None and behind.match(text, mark.end()) is not None)
