"""Messages of the three phases and the parsing of expansions, in one protocol for every task.

An episode is a chat. The problem and the lessons of memory form the first user turn; each step is an assistant turn
`Thought: ... Action: verb[argument]`, answered by a user turn `Observation: ...`. Evaluation and reflection end the
same chat with an instruction in its last user turn, so the three phases share a prefix (and its KV cache), and roles
always alternate, as strict chat templates demand. There is no system turn, because some templates refuse one. Worked
examples are episodes of the same form before the problem's own; each ends with the answer wanted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache, lru_cache

from symphony.chat.reasoning import plain
from symphony.types import Alone, Message, Problem, Proposal, Shorten, SymphonyError, Turn, canonical_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """A worked example: an episode and the completion that the agent should write next.

    Attributes:
        problem: The problem's text, as in `Problem.prompt`.
        path: The steps before the answer.
        answer: The whole completion wanted.
    """

    problem: str
    path: tuple[Turn, ...] = ()
    answer: str


APART = ("direct", "cot", "tests", "compare")
"""Wording with a digest of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatPrompts:
    """The templates of one task; the fields are the only wording (`digest` hashes them).

    Attributes:
        instructions: Placed before the first problem; "" for models trained on the bare protocol.
        lessons: Heading above the lessons of memory.
        evaluate: Asks for value and confidence on labelled lines, both in [0, 1].
        reflect: Asks for "Lesson: ...".
        turn: An assistant turn, with the placeholders {thought} and {action}.
        problem: How a problem is written, with the placeholder {problem}.
        next: Placed before a problem that follows a worked example.
        verify: Asks whether the last step is right, to be answered by yes or no.
        again: Appended to the prompt when an expansion is asked again because it had no action; "" for nothing.
        expand_shots, refine_shots, evaluate_shots, reflect_shots: Worked examples of each phase, most useful first: if
            a prompt is too long, the last is dropped first, so the rest is still the same prefix. `refine_shots` are
            for expansions below the root; None means the same as at the root.
        direct, cot: Replace `instructions` when the whole answer is asked for in one completion, at once or after
            reasoning; "" if there is no such wording. They have their own digest, `answer_digest`.
        tests: Replaces `instructions` when the tests of a program are asked for instead of the program.
        compare: Asks for value and confidence of several next steps at once; a line with the placeholder {number} is
            written once for each. Its own digest is `comparison_digest`.
    """

    instructions: str = ""
    lessons: str = "Lessons:"
    evaluate: str = "Evaluate the trajectory."
    reflect: str = "Reflect on the failure."
    turn: str = "Thought: {thought}\nAction: {action}"
    problem: str = "{problem}"
    next: str = ""
    verify: str = "Is the last step right? Reply with one word, yes or no."
    again: str = ""
    expand_shots: tuple[Shot, ...] = ()
    refine_shots: tuple[Shot, ...] | None = None
    evaluate_shots: tuple[Shot, ...] = ()
    reflect_shots: tuple[Shot, ...] = ()
    direct: str = ""
    cot: str = ""
    tests: str = ""
    compare: str = "Judge each candidate.\n{number}: Value: <0 to 1> Confidence: <0 to 1>"

    def expansion(
        self, problem: Problem, path: Sequence[Turn], lessons: Sequence[str], dropped: int = 0
    ) -> tuple[Message, ...]:
        shots = self.refine_shots if path and self.refine_shots is not None else self.expand_shots
        return self._chat(shots, problem, path, lessons, "", dropped)

    def evaluation(
        self, problem: Problem, path: Sequence[Turn], lessons: Sequence[str], dropped: int = 0
    ) -> tuple[Message, ...]:
        return self._chat(self.evaluate_shots, problem, path, lessons, self.evaluate, dropped)

    def verification(
        self, problem: Problem, path: Sequence[Turn], lessons: Sequence[str], dropped: int = 0
    ) -> tuple[Message, ...]:
        """Builds the prompt without worked examples, because small models repeat what those say."""
        return self._chat((), problem, path, lessons, self.verify, dropped)

    def comparison(
        self, problem: Problem, path: Sequence[Turn], steps: Sequence[Turn], lessons: Sequence[str], dropped: int = 0
    ) -> tuple[Message, ...]:
        """Builds the prompt without worked examples, which judge one trajectory each."""
        lines = [f"Candidate {n}:\n{self._said(step)}\n{_seen(step)}" for n, step in enumerate(steps, 1)]
        for line in self.compare.splitlines():
            numbers = range(1, len(steps) + 1) if "{number}" in line else (0,)
            lines += [line.replace("{number}", str(number)) for number in numbers]
        return self._chat((), problem, path, lessons, "\n".join(lines), dropped)

    def reflection(self, problem: Problem, path: Sequence[Turn], dropped: int = 0) -> tuple[Message, ...]:
        return self._chat(self.reflect_shots, problem, path, (), self.reflect, dropped)

    def answer(self, style: Alone, problem: Problem, lessons: Sequence[str], dropped: int = 0) -> tuple[Message, ...]:
        words = {"direct": self.direct, "cot": self.cot, "tests": self.tests}[style]
        if not words:
            return self.expansion(problem, (), lessons, dropped)
        return replace(self, instructions=words)._chat((), problem, (), lessons, "", dropped)

    @property
    def digest(self) -> str:
        words: list[object] = [self.instructions, self.lessons, self.evaluate, self.reflect]
        plain = {field.name: field.default for field in fields(self)[4:] if field.name not in APART}
        more = {name: value for name, value in asdict(self).items() if name in plain and value != plain[name]}
        return hashlib.sha256(canonical_json([*words, more] if more else words).encode()).hexdigest()[:16]

    @property
    def answer_digest(self) -> str:
        """Hash of the wording of `answer`; `digest`, of the three phases, does not depend on it."""
        return hashlib.sha256(canonical_json([self.direct, self.cot, self.tests]).encode()).hexdigest()[:16]

    @property
    def comparison_digest(self) -> str:
        return hashlib.sha256(self.compare.encode()).hexdigest()[:16]

    @property
    def shots(self) -> tuple[Shot, ...]:
        """Every worked example."""
        return (*self.expand_shots, *(self.refine_shots or ()), *self.evaluate_shots, *self.reflect_shots)

    def apart(self, problems: Sequence[Problem]) -> Sequence[Problem]:
        """Returns the problems after checking that none is a worked example (the same text or function to write).

        Raises:
            SymphonyError: A problem is a worked example.
        """
        shown = {key: shot for shot in self.shots for key in _keys(shot.problem)}
        for problem in problems if shown else ():
            for key in _keys(problem.prompt):
                if key in shown:
                    text = shown[key].problem.strip().splitlines()[0]
                    raise SymphonyError(
                        f"task.wording: found problem {problem.id} as a worked example ({text}), allowed: examples of "
                        "no problem that is searched"
                    )
        return problems

    def _chat(
        self,
        shots: Sequence[Shot],
        problem: Problem,
        path: Sequence[Turn],
        lessons: Sequence[str],
        ending: str,
        dropped: int,
    ) -> tuple[Message, ...]:
        kept = len(shots) - max(0, dropped - len(lessons))
        if kept < 0:
            return ()
        messages: list[Message] = []
        heading = self.instructions
        for shot in shots[:kept]:
            messages += self._episode(heading, shot.problem, shot.path, (), ending)
            messages.append(Message(role="assistant", content=shot.answer))
            heading = self.next
        messages += self._episode(heading, problem.prompt, path, lessons[dropped:], ending)
        return tuple(messages)

    def _episode(
        self, heading: str, problem: str, path: Sequence[Turn], lessons: Sequence[str], ending: str
    ) -> list[Message]:
        first = [heading, self.problem.replace("{problem}", problem)]
        if lessons:
            first += [self.lessons, *[f"- {lesson}" for lesson in lessons]]
        content = "\n".join([text for text in first if text])
        messages: list[Message] = []
        for turn in path:
            messages.append(Message(role="user", content=content))
            messages.append(Message(role="assistant", content=self._said(turn)))
            content = _seen(turn)
        messages.append(Message(role="user", content=f"{content}\n{ending}" if ending else content))
        return messages

    def _said(self, turn: Turn) -> str:
        return self.turn.format(thought=turn.thought, action=turn.action).lstrip("\n")


def _seen(turn: Turn) -> str:
    return f"Observation: {turn.observation}"


def remind(asking: Shorten, reminder: str, dropped: int) -> tuple[Message, ...]:
    """Appends the reminder to the last message, because strict chat templates refuse two user turns in a row."""
    messages = asking(dropped)
    if not messages or not reminder:
        return messages
    *before, last = messages
    return (*before, replace(last, content=f"{last.content}\n{reminder}"))


def _keys(problem: str) -> set[str]:
    """Returns keys that two texts of the same problem share: their words, or the functions they name."""
    functions = re.findall(r"(?m)^\s*(?:Its signature is: )?(?:pub\s+)?(?:def|fn)\s+(\w+)", problem)
    return {" ".join(re.findall(r"\w+", problem.lower())), *(f"function {name}" for name in functions)}


@lru_cache(maxsize=256)  # siblings are often equal
def parse_proposal(text: str, verbs: tuple[str, ...], *, bare: bool = False) -> Proposal | None:
    """Reads the first action of a completion, ignoring reasoning, with all the text before it as the thought.

    docs/tasks.md, "What is read", describes the grammar. Verbs are matched in any case and spelt as in `verbs`.

    Args:
        bare: If no action is labelled, accept the first one that starts a line without a label.

    Returns:
        The proposal; None if no line holds an action with one of `verbs`.
    """
    text = plain(text)
    names = "|".join(verbs)
    action = _first(_labelled(names), text) or _first(_within(names), text, alone=True)
    if action is None and bare:
        action = _plain(_unlabelled(names), text)
    if action is None:
        return None
    match, argument = action
    verb = match["verb"]
    if verb not in verbs:
        # By the same rule as above: `lower` does not always agree with IGNORECASE.
        verb = next(known for known in verbs if re.fullmatch(known, verb, re.IGNORECASE))
    thought = _THOUGHT.sub("", text[: match.start()]).rstrip("*_ \t\r\n")
    return Proposal(thought=" ".join(thought.split()), action=f"{verb}[{' '.join(argument.split())}]")


def read_action(text: str, parse: Callable[[str], Proposal | None]) -> str:
    """Reads an action given by a person or a file like a completion, labelled or not; else returns the text itself."""
    proposal = parse(text) or parse(f"Action: {_MARKS.sub('', text)}")
    return proposal.action if proposal else text.strip()


def read_actions(text: str, parse: Callable[[str], Proposal | None]) -> tuple[str, ...]:
    """Reads the actions of a text, one per line; a line without a bracket counts as prose, as in a completion."""
    parts = [part for line in plain(text).split("\n") for part in _apart(_STEP.sub("", line))]
    return tuple([read_action(part, parse) for part in parts if _ATTEMPT.match(part)])


def _apart(line: str) -> Iterator[str]:
    """Splits a line of several actions at separators: `search[a], click[b]`, `['search[a]', 'click[b]']`."""
    begin, depth = 0, 0
    for at in range(_MARKS.match(line).end(), len(line)):  # type: ignore[union-attr]
        depth += {"[": 1, "]": -1}.get(line[at], 0)
        if line[at] == "]" and depth == 0 and (separator := _JOIN.match(line, at + 1)):
            yield line[begin : at + 1]
            begin = separator.end()
    yield line[begin:]


def read_answer(text: str, parse: Callable[[str], Proposal | None]) -> str:
    """Returns the action that finishes with an answer, which may be bare, labelled, or a finish action in the text."""
    actions = (read_action(text, parse), *read_actions(text, parse))
    speech = plain(text).strip()
    match = _ENDS.search(speech) or _BOXED.search(speech) or _labelled_answer(speech) or _EXPLAINED.match(speech)
    groups = match.groupdict() if match else {"answer": speech}
    answer = f"finish[{' '.join((groups['answer'] or groups.get('marked') or '').split())}]"
    return next((action for action in actions if split_action(action)[0] == "finish"), answer)


def _labelled_answer(text: str) -> re.Match[str] | None:
    """Finds the last line that is labelled as the answer."""
    return next(iter(reversed(list(_ANSWER.finditer(text)))), None)


# An action may be in a list, a table, a quotation, a heading, a fence or a JSON object; it and its label may be in
# emphasis, backticks, quotes or brackets. Text in <angles> is mostly a form to be filled in.
_BEGIN = r"^(?:[^\w\n<]|_|\(?[0-9]{1,3}[.)](?=[ \t*_`]))*+"
_MARKS = re.compile(_BEGIN)
_NUMBER = r"(?:[^\S\n]|[*_`\"'])*+(?:[#(\[]?[0-9]{1,3}[)\]]?)?(?:[^\S\n]|[*_`\"'])*+"
_WORDS = r"(?:[^\W\d_]+(?:[ \t]+[0-9]{1,3})?(?:[ \t]+[-\u2013\u2014])?[ \t]+){0,2}?"
_NOTE = r"(?:\([^()\[\]\n]{1,40}\)[ \t]*)?"
_SEPARATOR = r"(?:[:\uff1a=|\].\u2013\u2014\u2192]|-+>?|(?=[ \t]*\r?\n)|(?<=[*_`]))"
_LABEL = (
    rf"(?:Act(?:ion)?{_NUMBER}{_NOTE}(?:[)\]][*_ \t]*[:\uff1a]|[:\uff1a]?[ \t]*\u2192|{_SEPARATOR})"
    r"|<[ \t]*action[ \t]*>)"
)
_LONG_LABEL = rf"{_WORDS}Actions?(?:[ \t]+[^\W\d_]+){{0,2}}?{_NUMBER}[:\uff1a]"
_GAP = r"(?:```\w*[ \t]*\r?\n|[\s*_`>\"'\u201c\u2018(\[{-]|[0-9]{1,3}[.)](?=\s))*+"
_THOUGHT = re.compile(r"^[\s>*_`#~+\u2022-]*Thoughts?[ \t*_]*[0-9]*[ \t*_]*[:\uff1a][*_]*", re.IGNORECASE)
_STEP = re.compile(r"^\W*Step[ \t]*[0-9]{1,3}[*_ \t]*[:.)\uff1a-][*_ \t]*(?=\w+[*_`]*[ \t]*\[)", re.IGNORECASE)
_ATTEMPT = re.compile(rf"{_BEGIN}(?:{_LABEL}{_GAP})?\w+[*_`]*[ \t]*\[", re.IGNORECASE)
_JOIN = re.compile(
    r"[\s\"'`]*(?:(?:,|;|->|=>|\u2192|\|)?\s*(?:and[ \t]+)?(?:then[ \t]+)?(?:\(?[0-9]{1,3}[.)][ \t]+)?)[\s\"'`]*"
    r"(?=[A-Za-z]+[ \t]?\[)"
)
_ENDS = re.compile(r"\bfinish[ \t]?\[(?P<answer>[^\n]*)\][\s.*_`\"')]*\Z", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\{(?:\\text\{)?(?P<answer>[^{}\n]+)\}+[\s.$*]*\Z")
_ANSWER = re.compile(
    r"^[\s>*_#-]*(?:(?:so|thus|hence|therefore),?[ \t]+|(?:based on|according to)[^\n,]{1,80},[ \t]+)?"
    r"(?:(?:the|my)[ \t]+)?(?:(?:final|short|correct)[ \t]+)?answer"
    r"(?:(?:[ \t]+is)?[ \t*_]*[:\uff1a][ \t*_]*\s*|[ \t]+is[ \t*_]+)"
    r"(?P<answer>\S[^\n]*)|^[ \t]*####[ \t]+(?P<marked>\S[^\n]*)\Z",
    re.IGNORECASE | re.MULTILINE,
)
_EXPLAINED = re.compile(
    r"(?P<answer>\S[^\n]*)\n\s*[*_#]*(?:explanation|reason(?:ing)?|note|rationale|justification)[*_]*[ \t]*[:\uff1a]",
    re.IGNORECASE,
)
"""An answer with an explanation below it."""
_SUBJECT = re.compile(
    r"[*_`\"']*[ \t]+(?:is|was|would|will|seems|looks|might|may|could|should|can|does|ends|when|if|isn't|won't)\b",
    re.IGNORECASE,
)
"""What follows an action if a sentence is only talking about it."""
_REST = re.compile(r"[\s*_`.)\]}\"'\u201d\u2019,|]*(?:\n|\Z)")
_QUOTED = re.compile(r"(\"|'|`|\*\*|\u201c|\u2018)(?P<inside>(?:(?!\1)[^\"`\u201d\u2019])+)(?:\1|\u201d|\u2019)")


# Patterns that match up to an action's bracket; `names` are the verbs, joined by "|". Each is compiled when it is first
# needed, because a compilation takes as long as reading many answers.
_FLAGS = re.IGNORECASE | re.MULTILINE
_BRACKET = r"(?P<escaped>\\?)\["


@cache
def _labelled(names: str) -> re.Pattern[str]:
    """Matches a label at the start of a line."""
    return re.compile(rf"{_BEGIN}{_LABEL}{_GAP}{_verb(names)}(?::[ \t]*)?{_BRACKET}", _FLAGS)


@cache
def _within(names: str) -> re.Pattern[str]:
    """Matches a label at the start of a sentence within a line, or a long label."""
    sentence = (
        rf"(?:(?<=[.!?;:,)\]\"\u201d|>\u2192\u2013\u2014])(?:[ \t]+[*_\"']*|[\"'])|(?<=[.!?])(?-i:(?=Act))|\t[*_]*)"
        rf"{_LABEL}"
    )
    return re.compile(rf"(?:{sentence}|{_BEGIN}{_LONG_LABEL}){_GAP}{_verb(names)}(?::[ \t]*)?{_BRACKET}", _FLAGS)


@cache
def _unlabelled(names: str) -> re.Pattern[str]:
    """Matches an action that starts a line without a label."""
    return re.compile(rf"{_BEGIN}{_verb(names)}{_BRACKET}", _FLAGS)


def _verb(names: str) -> str:
    return rf"(?P<verb>{names})[*_`]*\s*"


def _first(
    pattern: re.Pattern[str], text: str, *, alone: bool = False, spoken_of: bool = True
) -> tuple[re.Match[str], str] | None:
    """Finds the first action that has a closing bracket, and its argument.

    Args:
        alone: Accept only an action with nothing after it on its line.
        spoken_of: Also accept an action that a sentence is only talking about.
    """
    for match in pattern.finditer(text):
        end = text.find("\n", match.end())
        line = text[match.end() : end if end >= 0 else None]
        if match["escaped"]:  # as in Markdown
            line = line.replace("\\[", "[").replace("\\]", "]")
        length = _closed(line)
        is_mentioned = length is not None and not spoken_of and _SUBJECT.match(line, length + 1)
        if length is not None and not is_mentioned and not (alone and not _REST.match(line, length + 1)):
            return match, line[:length]
    return None


def _plain(pattern: re.Pattern[str], text: str) -> tuple[re.Match[str], str] | None:
    """Finds the first unlabelled action; those a sentence only talks about (`click[Buy Now] is tempting`) come last."""
    return _first(pattern, text, spoken_of=False) or _first(pattern, text)


def _closed(line: str) -> int | None:
    """Returns the length of the argument up to its closing bracket, or up to the last one if brackets don't match."""
    depth = 1
    for at, letter in enumerate(line):
        depth += {"[": 1, "]": -1}.get(letter, 0)
        if depth == 0:
            return at
    last = line.rfind("]")
    return last if last >= 0 else None


def split_action(action: str) -> tuple[str, str]:
    """Splits `verb[argument]` into (verb, argument), without quotes around it; "" if there are no brackets."""
    verb, bracket, rest = action.partition("[")
    argument = rest.rpartition("]")[0].strip() if bracket else ""
    quoted = _QUOTED.fullmatch(argument)
    return verb, quoted["inside"].strip() if quoted else argument
