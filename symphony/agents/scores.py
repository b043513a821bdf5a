"""Reads value and confidence from an evaluator's answer. docs/tasks.md, "What is read", describes the grammar.

    score := label word* [scale] separator number [scale]

A number whose scale is unclear is never a score.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from symphony.chat.reasoning import plain

CONFIDENCE_MARGIN = 1e-6
"""A verbalised confidence is kept this far from 0 and 1: nobody is certain."""

_TOKEN = re.compile(  # a number with letters attached is not a number: 3rd, 0x1F
    r"(?P<number>(?:(?<![\w.)\]])[-+\u2212])?\.?[0-9]"
    r"(?:[eE][-+]?[0-9]|[.,](?=[0-9])|(?!(?i:value|score|correctness|confidence)\b)\w)*)"
    r"|(?P<command>\\[A-Za-z]+)|(?P<word>[^\W\d_]+(?:['\u2019][^\W\d_]+)*)"
    r"|(?P<line>\n)|(?P<open>[(\[])|(?P<close>[)\]])|(?P<colon>[:=\uff1a])|(?P<range>\.\.+|\u2026)|(?P<stop>[.,;!?])|(?P<percent>[%\uff05])"
    r"|(?P<slash>/)|(?P<arrow>[-=]+>|[\u2192\u21d2]|~~)|(?P<dash>[-\u2013\u2014\u2212+])|(?P<mark>\S)"
)
_DECIMAL = re.compile(r"(?P<whole>[-+]?[0-9]{0,9})(?:[.,](?P<part>[0-9]{1,17}))?(?:[eE][-+]?[0-9]{1,3})?")
_WORDS = 6
"""Maximum words between a label and its separator, as in "Value of this attempt: 0.7"."""
_ASIDE = 24
"""Maximum tokens in a bracket, and between a label and its number."""
_BEFORE = 2
"""Maximum words before the first score of a line of scores, as in "My final value: 0.7"."""
_JOINS = frozenset({"is", "of", "equals", "about", "around", "approximately", "roughly", "at"})
_SPANS = frozenset({"to", "or", "and", "~"})
_SPREADS = frozenset({"interval", "intervals", "range", "bound", "bounds", "band", "ci"})
"""Words that turn a label into the name of two numbers."""
_BECAUSE = frozenset((
    "because", "since", "as", "for", "and", "but", "if", "with", "which", "so", "due", "given", "after",
    "when", "while", "considering", "where", "although", "though",
))  # fmt: skip
"""Words that may follow a whole-number score, or come between a score and another number."""
_BOUNDS = frozenset((
    "max", "maximum", "min", "minimum", "tops", "plus", "minus", "times", "chance", "chances", "least", "most",
    "than", "not", "no", "under", "over", "above", "below", "sqrt", "log", "ln", "exp",
))  # fmt: skip
"""Words that change the meaning of the number next to them."""
_MORE = frozenset(["up", "above", "more", "higher", "over", "better", "below", "less", "lower", "under", "down"])
_REVISED = frozenset((
    "revised", "revise", "revision", "updated", "update", "corrected", "correction", "changed", "adjusted", "amended",
    "edit", "edited", "reconsidered", "lowered", "raised", "reduced", "increased", "actually", "rather", "instead",
    "now",
))  # fmt: skip
"""Words that retract a number if another number is near them."""
_NEAR = 3  # maximum distance in tokens from such a word to the number
_SAME = "|~\u2248\u223c\u2243\u2245"
"""Mathematical signs that do not change the number after them."""
_DRESS = frozenset((
    "boxed", "fbox", "mathbf", "mathrm", "mathit", "textbf", "text", "approx", "sim", "bf", "bm", "boldsymbol",
    "large", "left", "right",
))  # fmt: skip
"""LaTeX commands that do not change the number after them either."""
_TAG = re.compile(
    r"</?(?:b|i|u|em|strong|code|span|p|div|font|big|small|mark|li|ul|ol|td|th|tr|table)(?: [^<>\n]*)?>", re.I
)
_VERDICT = 2
"""Maximum words before a number in brackets, as in "Confidence: very high (0.9)"."""
_BETWEEN = frozenset({"-", "\u2013", "\u2014", "~", "..", "...", ",", "to", "and"})
_VALUES = frozenset({"value", "score", "correctness"})
_SUFFIXES = _VALUES | {"level", "rating"}

_Scale = tuple[float, float]
"""The lowest and highest number of a scale."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class _Labelled:
    """A labelled number.

    Attributes:
        label: The label in lower case.
        unit: The number mapped to [0, 1]; None if its scale is unclear.
        declared: Whether a colon, "=" or dash precedes it.
        begin, end: Range of its tokens; `end` is exclusive.
    """

    label: str
    unit: float | None
    declared: bool
    begin: int
    end: int


def parse_score(text: str, *, once: bool = False) -> tuple[float, float] | None:
    """Reads value and confidence from an evaluator's answer, ignoring its reasoning.

    `Value:`, `Score:` or `Correctness:` gives Z and `Confidence:` gives C, on one line or several, in any order. Lines
    that consist of scores take precedence over other numbers after a colon, and these over numbers in prose; among
    equals the last counts, or, with `once`, none. `x/10` at the start of a line is a value without a label.

    Returns:
        (Z, C) with Z in [0, 1] and C in [1e-6, 1 - 1e-6]; None if either is missing or makes no sense.
    """
    spoken = _TAG.sub(" ", plain(text))
    tokens = [_Token(str(match.lastgroup), match[0].lower()) for match in _TOKEN.finditer(spoken)]
    scores = _read_labelled(tokens)
    lines = _on_score_lines(tokens, scores)
    ranked = [(2 * line + score.declared, score) for line, score in zip(lines, scores, strict=True)]
    confidence = _best([(rank, score) for rank, score in ranked if score.label == "confidence"], once)
    values = [(rank, score) for rank, score in ranked if score.label != "confidence"]
    value = _best(values, once) if values else _tenths(tokens)
    if value is None or confidence is None:
        return None
    return value, min(1.0 - CONFIDENCE_MARGIN, max(CONFIDENCE_MARGIN, confidence))


def _best(ranked: Sequence[tuple[int, _Labelled]], once: bool) -> float | None:
    """Returns the last value of the best rank; with `once`, None if there are several."""
    best = max((rank for rank, _ in ranked), default=0)
    units = [score.unit for rank, score in ranked if rank == best]
    return units[-1] if units and not (once and len(units) > 1) else None


def _read_labelled(tokens: Sequence[_Token]) -> list[_Labelled]:
    scores: list[_Labelled] = []
    at = 0
    while at < len(tokens):
        score = _read(tokens, at) if tokens[at].text in _VALUES or tokens[at].text == "confidence" else None
        if score is not None:
            scores.append(score)
        at = score.end if score is not None else at + 1
    return scores


def _read(tokens: Sequence[_Token], begin: int) -> _Labelled | None:
    """Reads the score whose label is at `begin`; None if no score follows the label."""
    label = tokens[begin].text
    words, declared, joined, scale = 0, False, "", None
    at = begin + 1
    last = min(len(tokens), begin + _ASIDE)
    while at < last and tokens[at].kind != "number":
        token = tokens[at]
        stated = _scale(tokens, at) if token.text in ("(", "[", "on") else None
        if stated is not None:
            scale, at = stated
            continue
        if token.kind == "open" and (aside := _aside(tokens, at)) is not None:
            at = aside
            continue
        if token.kind == "colon":
            declared = True
        elif token.kind == "word" and token.text in _JOINS:
            joined = token.text
        elif token.kind == "word":
            if declared and (inside := _verdict(tokens, at)) is not None:
                at = inside
                break
            crosses = token.text in _VALUES and words and label != "confidence"
            words += token.text not in _SUFFIXES or words > 0
            if declared or words > _WORDS or crosses or token.text in ("confidence", *_SPANS, *_SPREADS):
                return None
        elif token.kind == "dash":
            if declared or joined or words:
                return None
            declared = True
        elif token.kind in ("stop", "slash", "percent", "close") or (token.kind == "line" and words and not declared):
            return None
        at += 1
    if at >= last or (words and not declared and not joined):
        return None
    if not declared and joined == "of" and tokens[at].text.isdigit():  # "the value of 3 pages"
        return None
    after, is_span = _after(tokens, at + 1)
    end = at + 1 if after is None else after[1]
    whole = tokens[at].text.isdigit() and after is None
    other = (
        is_span
        or _is_barred(tokens, begin, at, end)
        or _goes_on(tokens, end, whole=whole)
        or _taken_back(tokens, end)
        or _depends(tokens, end)
    )
    unit = None if other else _unit(tokens[at].text, label, scale if after is None else after[0])
    return _Labelled(label, unit, declared, begin, end)


def _is_barred(tokens: Sequence[_Token], begin: int, at: int, end: int) -> bool:
    """Whether a sign before a number changes its meaning: "< 0.1", "\u2265 0.5", "$0.7", "#1", "\\sqrt{0.5}"."""
    line = next((place for place in range(end, len(tokens)) if tokens[place].kind == "line"), len(tokens))
    behind = [token.text for token in tokens[end:line]]
    for place in range(begin + 1, at):
        kind, text = tokens[place].kind, tokens[place].text
        if text == ">":
            tag = place == begin + 1 and begin > 0 and tokens[begin - 1].text == "<"  # <value>0.7</value>
            if not tag and tokens[place - 1].kind != "line":
                return True
        elif text == "<":
            if behind[:1] != [">"]:
                return True
        elif kind == "mark" and unicodedata.category(text) == "Sc":
            if text not in behind:
                return True
        elif (
            (kind == "mark" and unicodedata.category(text) == "Sm" and text not in _SAME)
            or (kind == "command" and text[1:] not in _DRESS)
            or (text == "#" and place == at - 1)
            or kind == "arrow"
            or (text in _BOUNDS and kind == "word")
        ):
            return True
    return False


def _goes_on(tokens: Sequence[_Token], at: int, *, whole: bool) -> bool:
    """Whether what follows a number on its line changes its meaning, or is a second number.

    Args:
        whole: Whether the number is a whole number without a scale: words after it may say what it counts.
    """
    gap = []
    while at < len(tokens) and tokens[at].kind in ("mark", "stop", "colon", "slash", "dash", "arrow", "range"):
        gap.append(tokens[at].text)
        at += 1
    if any(text == "+" or text in "\u2030\u2031^" for text in gap):
        return True
    kind, word = (tokens[at].kind, tokens[at].text) if at < len(tokens) else ("line", "")
    later = [(token.kind, token.text) for token in tokens[at + 1 : at + 4]]
    later += [("line", "")] * (3 - len(later))
    if kind == "number":
        apart = [text for text in gap if text not in "*_`\"'\u201d\u2019}"]
        if apart in (["="], ["\u00b1"], ["\u2248"]):
            return False
        begins = later[0] if later[0][0] != "stop" else later[1]  # "0.7, 2 tests", "0.7, 2. Confidence"
        return apart not in ([","], [";"], ["."], ["|"], ["!"]) or begins[0] != "word" or whole
    if kind != "word":
        return False
    if word in _VALUES or word == "confidence":
        return later[0][1] in _SPREADS  # "95% confidence interval"
    if word in ("or", "and") and later[0][1] in {"so", "confidence", *_VALUES}:
        return False
    if word == "or" or word in _BOUNDS or word in _SPREADS or later[0][1] in _SPREADS:
        return True
    if (word == "at" and later[0][1] in _BOUNDS) or (word == "and" and later[0][1] in _MORE):
        return True
    if later[0][0] == "number" or (later[0][1] == "." and later[1][0] == "number"):  # "0.7 vs. 0.8"
        return word not in _BECAUSE and not gap
    return whole and not gap and word not in _BECAUSE and later[0][0] != "colon"


def _taken_back(tokens: Sequence[_Token], at: int) -> bool:
    """Whether the line replaces the number before `at` by another that is not whole: "0.6 (revised: 0.7)"."""
    line = next((place for place in range(at, len(tokens)) if tokens[place].kind == "line"), len(tokens))
    own = next((place for place in range(at, line) if tokens[place].text in (*_VALUES, "confidence")), line)
    numbers = [place for place in range(at, own) if tokens[place].kind == "number" and not tokens[place].text.isdigit()]
    words = [place for place in range(at, own) if tokens[place].text in _REVISED]
    return any(abs(word - number) <= _NEAR for word in words for number in numbers)


def _depends(tokens: Sequence[_Token], at: int) -> bool:
    """Whether the line gives another number for another case, like the question: "0 if it fails and 1 if it passes"."""
    line = next((place for place in range(at, len(tokens)) if tokens[place].kind == "line"), len(tokens))
    cases = [place for place in range(at, line) if tokens[place].text in ("if", "when")]
    return cases[:1] == [at] and any(tokens[place - 1].kind == "number" for place in cases[1:])


def _after(tokens: Sequence[_Token], at: int) -> tuple[tuple[_Scale, int] | None, bool]:
    """Returns the scale that follows a number, and whether a second number follows instead, as in "0.6 to 0.8"."""
    if at < len(tokens) and (tokens[at].kind in ("dash", "arrow", "range") or tokens[at].text in _SPANS):
        return None, at + 1 < len(tokens) and tokens[at + 1].kind == "number"
    if at < len(tokens) and tokens[at].kind == "number":
        return None, True
    return _scale(tokens, at), False


def _scale(tokens: Sequence[_Token], at: int) -> tuple[_Scale, int] | None:
    """Reads a scale at `at` as ((least, most), end): "/ 10", "out of 10", "%", "(0-1)", "on a scale of ..."."""
    texts = [token.text for token in tokens[at : at + _ASIDE]]
    if texts[:1] in (["%"], ["\uff05"], ["percent"]) or texts[:2] == ["per", "cent"]:
        return (0.0, 100.0), at + (2 if texts[0] == "per" else 1)
    for words in (["/"], ["out", "of"]):
        after = texts[len(words) : len(words) + 1]
        if texts[: len(words)] == words and after and (most := _number(after[0])) is not None:
            return (0.0, most if most.is_integer() else 0.0), at + len(words) + 1
    if texts[:1] == ["on"] and texts[1:2] in (["a"], ["the"]) and texts[5:6] == ["scale"]:  # on a 1-10 scale
        span = _span(texts[2:5])
        return None if span is None else (span, at + 6)
    if texts[:3] == ["on", "a", "scale"]:
        begin = 4 if texts[3:4] in (["of"], ["from"]) else 3
        span = _span(texts[begin:])
        return None if span is None else (span, at + begin + 3)
    return _read_bracketed(tokens, at, texts) if texts[:1] in (["("], ["["]) else None


def _close(tokens: Sequence[_Token], at: int) -> int | None:
    """Returns where the bracket at `at` is closed on its line; None if it is not."""
    for place in range(at + 1, min(len(tokens), at + _ASIDE)):
        if tokens[place].kind in ("close", "line"):
            return place if tokens[place].kind == "close" else None
    return None


def _aside(tokens: Sequence[_Token], at: int) -> int | None:
    """Returns the end of an aside in brackets, as in "(a guess):"; None if the bracket holds the number, as "(0.7)"."""
    close = _close(tokens, at)
    goes_on = close is not None and close + 1 < len(tokens) and tokens[close + 1].kind in ("colon", "number")
    return close + 1 if close is not None and goes_on else None


def _verdict(tokens: Sequence[_Token], at: int) -> int | None:
    """Finds the number in brackets after a word or two, if it has a fraction or a scale: "high (0.9)"."""
    opens = next((place for place in range(at, len(tokens)) if tokens[place].kind != "word"), len(tokens))
    if opens - at > _VERDICT or opens + 2 >= len(tokens) or tokens[opens].kind != "open":
        return None
    scale, _ = _after(tokens, opens + 2)
    close = opens + 2 if scale is None else scale[1]
    is_score = scale is not None or "." in tokens[opens + 1].text
    closed = close < len(tokens) and tokens[close].kind == "close"
    return opens + 1 if tokens[opens + 1].kind == "number" and is_score and closed else None


def _read_bracketed(tokens: Sequence[_Token], at: int, texts: Sequence[str]) -> tuple[_Scale, int] | None:
    """Reads a scale in brackets, with any words around it. "(7/10)" and "(70%)" are no scales: they repeat a number."""
    close = _close(tokens, at)
    if close is None:
        return None
    for inner in range(at + 1, close):
        span = _span(texts[inner - at :])
        repeats = tokens[inner].kind == "open" or tokens[inner - 1].kind == "number"
        stated = None if span is not None or repeats else _scale(tokens, inner)
        if span is not None or stated is not None:
            return span or stated[0], close + 1  # type: ignore[index]
    return None


def _span(texts: Sequence[str]) -> _Scale | None:
    """Reads a scale such as `0-1` or `1 to 10` at the start of the texts."""
    if texts and (both := re.fullmatch(r"([01]),([0-9]{1,3})", texts[0])):  # [0,1]
        return float(both[1]), float(both[2])
    if len(texts) < 3 or texts[1] not in _BETWEEN:
        return None
    low, high = _number(texts[0]), _number(texts[2])
    fine = low in (0, 1) and high is not None and high >= 1 and high.is_integer()
    below = low is not None and high is not None and low < 0 < high  # a scale, but not one we can use
    return (low, high) if low is not None and high is not None and (fine or below) else None


def _number(text: str) -> float | None:
    match = _DECIMAL.fullmatch(text)
    if match is None or not (match["whole"].strip("-+") or match["part"]):
        return None
    if "," in text and len(match["part"]) == 3 and match["whole"].strip("-+0"):  # 1,000: a thousand or one?
        return None
    return float(text.replace(",", "."))


def _unit(text: str, label: str, scale: _Scale | None) -> float | None:
    """Maps the number to [0, 1]; None if its scale is unclear or the number is not on it."""
    number = _number(text)
    if number is None:
        return None
    if scale is not None:
        least, most = scale
        return number / most if 0 <= least < most and 0 <= number <= most else None
    if label in ("score", "correctness") and 1 <= number <= 10 and text not in ("1.0", "1,0"):
        return number / 10  # a bare score is on the 1-10 scale, a bare value on [0, 1]
    return number if 0 <= number < 1 or (number == 1 and label in ("value", "confidence")) else None


def _on_score_lines(tokens: Sequence[_Token], scores: Sequence[_Labelled]) -> list[bool]:
    """Whether each score's line consists of scores, apart from two words before the first, marks, and brackets."""
    scored = {at for score in scores for at in range(score.begin, score.end)}
    lines, words, depth, begun = [0] * len(tokens), [0], 0, False
    for at, token in enumerate(tokens):
        if token.kind == "line":
            words.append(0)
            depth, begun = 0, False
        depth = max(0, depth + (token.kind == "open") - (token.kind == "close"))
        lines[at] = len(words) - 1
        begun = begun or at in scored
        if token.kind == "word" and depth == 0 and at not in scored and token.text not in _SPANS:
            words[-1] += _BEFORE + 1 if begun else 1
    return [words[lines[score.begin]] <= _BEFORE for score in scores]


def _tenths(tokens: Sequence[_Token]) -> float | None:
    """Returns the value of the last `x/10` at the start of a line."""
    value = None
    begins = True
    for at, token in enumerate(tokens):
        if begins and token.kind == "number" and [later.text for later in tokens[at + 1 : at + 3]] == ["/", "10"]:
            value = _unit(token.text, "value", (0.0, 10.0))
        begins = token.kind == "line" or (begins and token.kind in ("mark", "dash"))
    return value
