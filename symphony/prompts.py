"""Messages of the three phases and the parsing of expansions, one protocol for every task.

An episode is a chat: the problem and the lessons of memory are the first user turn, each step is an assistant
turn `Thought: ... Action: verb[argument]` answered by a user turn `Observation: ...`. Evaluation and reflection
end the same chat with an instruction in its last user turn, so that the three phases share their prefix (and its
KV cache), and roles always alternate, as strict chat templates demand. There is no system turn: some templates
refuse one. Worked examples are episodes of the same form before the problem's own, each ended by the answer wanted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache

from symphony.types import Alone, Message, Problem, Proposal, SymphonyError, Turn, canonical_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """A worked example: an episode and what the agent should then have written.

    Attributes:
        problem: As `Problem.prompt`.
        path: The steps before the answer.
        answer: The completion wanted, whole.
    """

    problem: str
    path: tuple[Turn, ...] = ()
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatPrompts:
    """Templates of one task; the fields are the only wording (`digest` hashes them).

    Attributes:
        instructions: Put before the first problem; "" for models trained on the bare protocol.
        lessons: Heading over the lessons of memory.
        evaluate: Asks for value and confidence on labelled lines, both in [0, 1].
        reflect: Asks for "Lesson: ...".
        turn: An assistant turn, with the places {thought} and {action}.
        next: Put before a problem that follows a worked example.
        expand_shots, refine_shots, evaluate_shots, reflect_shots: Worked examples of each phase, the most useful first:
            where a prompt is too long, the last is dropped first, so that what stays is still the same prefix.
            `refine_shots` are those of expansions below the root; None: as at the root.
        direct, cot: Instead of `instructions` where the whole answer is asked for in one completion, at once or after
            reasoning; "" where there is no such wording. They have a digest of their own, `answer_digest`.
        tests: The same, where the tests of a program are asked for and not the program.
    """

    instructions: str = ""
    lessons: str = "Lessons:"
    evaluate: str = "Evaluate the trajectory."
    reflect: str = "Reflect on the failure."
    turn: str = "Thought: {thought}\nAction: {action}"
    next: str = ""
    expand_shots: tuple[Shot, ...] = ()
    refine_shots: tuple[Shot, ...] | None = None
    evaluate_shots: tuple[Shot, ...] = ()
    reflect_shots: tuple[Shot, ...] = ()
    direct: str = ""
    cot: str = ""
    tests: str = ""

    def expansion(
        self, problem: Problem, path: Sequence[Turn], lessons: Sequence[str], dropped: int = 0
    ) -> tuple[Message, ...]:
        shots = self.refine_shots if path and self.refine_shots is not None else self.expand_shots
        return self._chat(shots, problem, path, lessons, "", dropped)

    def evaluation(
        self, problem: Problem, path: Sequence[Turn], lessons: Sequence[str], dropped: int = 0
    ) -> tuple[Message, ...]:
        return self._chat(self.evaluate_shots, problem, path, lessons, self.evaluate, dropped)

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
        plain = {field.name: field.default for field in fields(self)[4:-3]}
        more = {name: value for name, value in asdict(self).items() if name in plain and value != plain[name]}
        return hashlib.sha256(canonical_json([*words, more] if more else words).encode()).hexdigest()[:16]

    @property
    def answer_digest(self) -> str:
        """Hash of the wording of `answer`: that of the three phases keeps its digest with it and without."""
        return hashlib.sha256(canonical_json([self.direct, self.cot, self.tests]).encode()).hexdigest()[:16]

    @property
    def shots(self) -> tuple[Shot, ...]:
        """Every worked example."""
        return (*self.expand_shots, *(self.refine_shots or ()), *self.evaluate_shots, *self.reflect_shots)

    def apart(self, problems: Sequence[Problem]) -> Sequence[Problem]:
        """The problems, of which no worked example may be one: not the same text, not the same function to write.

        Raises:
            SymphonyError: One is.
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
        first = [heading, problem]
        if lessons:
            first += [self.lessons, *[f"- {lesson}" for lesson in lessons]]
        told = "\n".join([text for text in first if text])
        messages: list[Message] = []
        for turn in path:
            messages.append(Message(role="user", content=told))
            said = self.turn.format(thought=turn.thought, action=turn.action).lstrip("\n")
            messages.append(Message(role="assistant", content=said))
            told = f"Observation: {turn.observation}"
        messages.append(Message(role="user", content=f"{told}\n{ending}" if ending else told))
        return messages


def _keys(problem: str) -> set[str]:
    """What two texts of the same problem have in common: their words, or the functions that they name."""
    functions = re.findall(r"(?m)^\s*(?:Its signature is: )?(?:pub\s+)?(?:def|fn)\s+(\w+)", problem)
    return {" ".join(re.findall(r"\w+", problem.lower())), *(f"function {name}" for name in functions)}


def parse_proposal(text: str, verbs: Sequence[str], *, bare: bool = False) -> Proposal | None:
    """The first action line of a completion and all the text before it as the thought.

    An action is `verb[argument]`, its label `Action:` or `Action 3:`, set in bold or not; the argument reaches to the
    last `]` of the line, so that brackets inside it survive. Verbs are matched whatever their case and spelt as in
    `verbs`.

    Args:
        bare: Where no action has its label, the first one without it counts.

    Returns:
        None when no line holds an action with one of `verbs`.
    """
    labelled, unlabelled = _actions(tuple(verbs))
    match = labelled.match(text) or (unlabelled.match(text) if bare else None)
    if match is None:
        return None
    said, verb, argument = match.groups()
    thought = _THOUGHT.sub("", said).rstrip("*_ \t\r\n")
    if verb not in verbs:
        # By the same rule as above: what `lower` makes of a letter is not always what ignoring case takes it for.
        verb = next(one for one in verbs if re.fullmatch(one, verb, re.IGNORECASE))
    return Proposal(thought=" ".join(thought.split()), action=f"{verb}[{' '.join(argument.split())}]")


_THOUGHT = re.compile(r"^[\s*_]*Thought\s*\d*\s*:[*_]*", re.IGNORECASE)


@cache
def _actions(verbs: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """The text up to the first action, its verb and its argument: of an action with its label, and of any."""
    action = rf"({'|'.join(verbs)})\s*\[([^\n]*)\]"
    labelled = rf"(.*?)Action\s*\d*\s*:[\s*_`]*{action}"
    return re.compile(labelled, re.IGNORECASE | re.DOTALL), re.compile(rf"(.*?)\b{action}", re.IGNORECASE | re.DOTALL)


def split_action(action: str) -> tuple[str, str]:
    """`verb[argument]` as (verb, argument); an action without brackets has an empty argument."""
    verb, bracket, rest = action.partition("[")
    return verb, rest.rpartition("]")[0].strip() if bracket else ""
