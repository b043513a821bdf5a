"""Messages of the three phases and the parsing of expansions, one protocol for every task.

An episode is a chat: the problem and the lessons of memory are the first user turn, each step is an assistant
turn `Thought: ... Action: verb[argument]` answered by a user turn `Observation: ...`. Evaluation and reflection
end the same chat with an instruction in its last user turn, so that the three phases share their prefix (and its
KV cache), and roles always alternate, as strict chat templates demand.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from symphony.types import Message, Problem, Proposal, Turn, canonical_json


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatPrompts:
    """Templates of one task; the fields are the only wording (`digest` hashes them).

    Attributes:
        instructions: Put before the problem; "" for models trained on the bare protocol.
        lessons: Heading over the lessons of memory.
        evaluate: Asks for "Value: x Confidence: y", both in [0, 1].
        reflect: Asks for "Lesson: ...".
    """

    instructions: str = ""
    lessons: str = "Lessons:"
    evaluate: str = "Evaluate the trajectory."
    reflect: str = "Reflect on the failure."

    def expansion(self, problem: Problem, path: Sequence[Turn], lessons: Sequence[str]) -> tuple[Message, ...]:
        return self._chat(problem, path, lessons, "")

    def evaluation(self, problem: Problem, path: Sequence[Turn], lessons: Sequence[str]) -> tuple[Message, ...]:
        return self._chat(problem, path, lessons, self.evaluate)

    def reflection(self, problem: Problem, path: Sequence[Turn]) -> tuple[Message, ...]:
        return self._chat(problem, path, (), self.reflect)

    @property
    def digest(self) -> str:
        fields = [self.instructions, self.lessons, self.evaluate, self.reflect]
        return hashlib.sha256(canonical_json(fields).encode()).hexdigest()[:16]

    def _chat(self, problem: Problem, path: Sequence[Turn], lessons: Sequence[str], ending: str) -> tuple[Message, ...]:
        first = [self.instructions, problem.prompt]
        if lessons:
            first += [self.lessons, *(f"- {lesson}" for lesson in lessons)]
        users = ["\n".join(filter(None, first)), *(f"Observation: {turn.observation}" for turn in path)]
        if ending:
            users[-1] += "\n" + ending
        messages = [Message(role="user", content=users[0])]
        for turn, user in zip(path, users[1:], strict=True):
            messages.append(Message(role="assistant", content=f"Thought: {turn.thought}\nAction: {turn.action}"))
            messages.append(Message(role="user", content=user))
        return tuple(messages)


def parse_proposal(text: str, verbs: Sequence[str]) -> Proposal | None:
    """The first action line of a completion and all the text before it as the thought.

    An action is `verb[argument]`, its label `Action:` or `Action 3:`; the argument reaches to the last `]` of the
    line, so that brackets inside it survive. Verbs are matched whatever their case and spelt as in `verbs`.

    Returns:
        None when no line holds an action with one of `verbs`.
    """
    pattern = rf"^(?P<thought>.*?)Action\s*\d*\s*:\s*(?P<verb>{'|'.join(verbs)})\s*\[(?P<argument>[^\n]*)\]"
    match = re.search(pattern, text, re.IGNORECASE | re.DOTALL)
    if match is None:
        return None
    thought = re.sub(r"^\s*Thought\s*\d*\s*:", "", match["thought"], flags=re.IGNORECASE)
    verb = next(verb for verb in verbs if verb.lower() == match["verb"].lower())
    return Proposal(thought=" ".join(thought.split()), action=f"{verb}[{' '.join(match['argument'].split())}]")


def split_action(action: str) -> tuple[str, str]:
    """`verb[argument]` as (verb, argument); an action without brackets has an empty argument."""
    verb, bracket, rest = action.partition("[")
    return verb, rest.rpartition("]")[0].strip() if bracket else ""
