"""A backend that answers from a script instead of a model; for tests and benches only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from symphony.types import Completion, Request, SymphonyError

Answer = str | Completion


class ScriptedBackend:
    """Answers from a function of the request, or from a list in order (`ModelBackend`).

    A string becomes a completion that stopped by itself; its words (at least one) count as its tokens.

    Args:
        answers: The function or the list. A list that is used up raises SymphonyError.
        revision: Name of the script in call stores.

    Attributes:
        calls: Every request seen, in order.
    """

    def __init__(self, answers: Callable[[Request], Answer] | Sequence[Answer], *, revision: str = "scripted") -> None:
        self.revision = revision
        self.calls: list[Request] = []
        self._answers = answers

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Returns one answer per request, in the same order."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Completion:
        number = len(self.calls)
        self.calls.append(request)
        if callable(self._answers):
            answer = self._answers(request)
        elif number < len(self._answers):
            answer = self._answers[number]
        else:
            raise SymphonyError(f"script: found request number {number + 1}, allowed: {len(self._answers)}")
        if isinstance(answer, Completion):
            return answer
        return Completion(
            text=answer,
            finish_reason="stop",
            prompt_tokens=sum(message.content.count(" ") + 1 for message in request.messages),
            completion_tokens=answer.count(" ") + 1,
        )
