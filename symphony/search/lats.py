"""LATS (Zhou et al. 2023): the same tree search, wider and hotter, without scheduling and with plain values."""

from __future__ import annotations

import math
from dataclasses import dataclass

from symphony.agents import Session
from symphony.memory import Memory
from symphony.scheduler import Scheduler
from symphony.scorer import Scorer
from symphony.search.result import AnswerPolicy, SearchResult
from symphony.search.symphony import Symphony
from symphony.search.tree import FirstVisit
from symphony.types import Problem, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class LATS:
    """SYMPHONY's loop with the hyper-parameters of LATS's published code.

    Needs an evaluator; works with and without feedback; reflects where the memory does. One model or a pool.

    What else sets LATS apart is handed to `solve`: scorer Plain, scheduler Fixed (one agent) or Uniform (a pool). Its
    reflections are those of the memory given; only the environment's verdict counts as a failure. Not reproduced:
    the published WebShop root, which gets 2n children.

    Attributes:
        n: Actions sampled an expansion and a simulation step, >= 1.
        iterations, depth, answer and the tokens: As in `Symphony`.
        c: Weight of exploration (published code: sqrt(2 ln N / n), so sqrt(2)).
        sim_depth: Depth from the root at which simulations are cut, >= 0.
        temperature: Of actions.
    """

    n: int = 5
    iterations: int = 30
    depth: int | None = 7
    c: float = math.sqrt(2)
    first_visit: FirstVisit = "prior"
    sim_depth: int = 4
    max_misses: int = 2
    answer: AnswerPolicy = "oracle_best"
    temperature: float = 1.0
    expand_tokens: int = 48
    evaluate_tokens: int = 16
    reflect_tokens: int = 48
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._loop()

    def _loop(self) -> Symphony:
        return Symphony(
            n=self.n,
            iterations=self.iterations,
            depth=self.depth,
            c=self.c,
            first_visit=self.first_visit,
            sim_depth=self.sim_depth,
            reflect_on="failure",
            max_misses=self.max_misses,
            answer=self.answer,
            temperature=self.temperature,
            expand_tokens=self.expand_tokens,
            evaluate_tokens=self.evaluate_tokens,
            reflect_tokens=self.reflect_tokens,
            stop=self.stop,
        )

    async def solve(
        self, problem: Problem, *, task: Task, session: Session, scheduler: Scheduler, scorer: Scorer, memory: Memory
    ) -> SearchResult:
        """See `Search.solve`."""
        return await self._loop().solve(
            problem, task=task, session=session, scheduler=scheduler, scorer=scorer, memory=memory
        )
