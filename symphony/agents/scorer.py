"""Scorers turn evaluators' answers into a node's value: EMCS (paper Eq. 4-6), the plain value, other confidences."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

from annotated_types import Ge

from symphony.agents.scores import parse_score
from symphony.chat.reasoning import spoken
from symphony.fields import Positive, Share, check_fields
from symphony.types import Completion, Score, derive_rng

FORMAT_REMINDER = "Answer with exactly one line of the form: Value: <0 to 1> Confidence: <0 to 1>"
"""Appended to the evaluation prompt when the first answer could not be understood."""

FALLBACK = (0.5, 0.5)
"""Z and C of an evaluation that could not be understood."""


def entropy(c: float) -> float:
    """Returns the entropy of a yes/no belief with probability c, in nats: 0 at c in {0, 1}, ln 2 at 0.5.

    Source: paper Eq. 4-5, E(C) = -C ln C - (1 - C) ln(1 - C).
    """
    if c <= 0.0 or c >= 1.0:
        return 0.0
    return -c * math.log(c) - (1.0 - c) * math.log(1.0 - c)


def emcs(z: float, c: float) -> float:
    """Modulates a value z in [0, 1] by the entropy of the confidence c in [0, 1]; the result is in [0, 1].

    Source: paper Eq. 6, R = Z (1 - E(C)). E is symmetric, so a confidence near 0 is not penalised.
    """
    return z * (1.0 - entropy(c))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How a node is evaluated.

    Attributes:
        draws: Number of evaluations, each by the next scheduled agent, >= 1.
        temperature: Sampling temperature of evaluations, >= 0; 0 is greedy.
        verify: Whether to ask `Prompts.verification`, answered by yes or no, instead of `evaluation`.
        tokens: Completion token limit of one evaluation; None means the search's limit.
        reminder: Appended to the question when it is asked again because an answer could not be understood.
        alone: Whether each node needs an answer of its own, because more is read of it than a value and a confidence.
        seeded: Whether the answers must carry the seed of their draws (`Completion.seed`).
    """

    draws: int = 1
    temperature: float = 0.0
    verify: bool = False
    tokens: int | None = None
    reminder: str = FORMAT_REMINDER
    alone: bool = False
    seeded: bool = False


ONCE = Asking()
"""One greedy evaluation (paper App. D)."""
ONCE_ALONE = Asking(alone=True)
ONCE_SEEDED = Asking(seeded=True)


class Scorer(Protocol):
    """Turns evaluators' answers into a score."""

    @property
    def asking(self) -> Asking: ...

    def score(self, answers: Sequence[Completion]) -> Score | None:
        """Scores a node from the answers about it: at least one, and none with an error.

        There are as many answers as were asked for, or fewer if calls failed or were refused.

        Returns:
            The score; None if the answers cannot be understood.
        """
        ...

    def fallback(self) -> Score:
        """Returns the score of a node for which no answer could be understood."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EMCS:
    """Entropy-modulated confidence scoring.

    Source: paper Eq. 4-6.

    Attributes:
        floor: Lowest modulated value, in [0, 1] (published code: 0.2; paper: none).
        one_sided: Whether a confidence below 0.5 counts as 0.5, so that doubt is never rewarded (paper: no).
    """

    floor: Share = 0.0
    one_sided: bool = False

    def __post_init__(self) -> None:
        check_fields("scorer", self)

    @property
    def asking(self) -> Asking:
        return ONCE

    def score(self, answers: Sequence[Completion]) -> Score | None:
        parsed = parse_score(answers[0].text)
        return None if parsed is None else self._score(*parsed, fallback=False)

    def fallback(self) -> Score:
        return self._score(*FALLBACK, fallback=True)

    def _score(self, value: float, confidence: float, *, fallback: bool) -> Score:
        modulated = max(self.floor, emcs(value, max(0.5, confidence) if self.one_sided else confidence))
        return Score(value=value, confidence=confidence, modulated=modulated, fallback=fallback)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """Uses the verbalised value as it is (ablation: without EMCS). It reads what EMCS reads, so only R differs."""

    @property
    def asking(self) -> Asking:
        return ONCE

    def score(self, answers: Sequence[Completion]) -> Score | None:
        parsed = parse_score(answers[0].text)
        return None if parsed is None else Score(value=parsed[0], confidence=parsed[1], modulated=parsed[0])

    def fallback(self) -> Score:
        value, confidence = FALLBACK
        return Score(value=value, confidence=confidence, modulated=value, fallback=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfConsistency:
    """Averages several evaluations and trusts the mean as far as they agree; verbalised confidences are unused.

    Z is the mean of the values and C = 1 - s, where s is their standard deviation. Values in [0, 1] have s <= 1/2, so C
    falls from 1, if all agree, to 1/2, if half say 0 and half say 1, and E(C) of Eq. 5 rises with disagreement.
    R = Z (1 - E(C)), Eq. 6. Fewer than two understood answers show no agreement, so they give no score.
    Source: self-consistency is from Wang et al. 2023, there a vote on answers; confidence from the agreement of samples
    is from Xiong et al. 2024. This form of C is ours.

    Attributes:
        draws: Evaluations per node, >= 2; each costs a call.
        temperature: Sampling temperature of evaluations, > 0.
    """

    draws: Annotated[int, Ge(2)] = 5
    temperature: Positive = 0.7

    def __post_init__(self) -> None:
        check_fields("scorer", self)

    @property
    def asking(self) -> Asking:
        return Asking(draws=self.draws, temperature=self.temperature)

    def score(self, answers: Sequence[Completion]) -> Score | None:
        values = [parsed[0] for answer in answers if (parsed := parse_score(answer.text)) is not None]
        if len(values) < 2:
            return None
        value, confidence = statistics.fmean(values), 1.0 - statistics.pstdev(values)
        return Score(value=value, confidence=confidence, modulated=emcs(value, confidence))

    def fallback(self) -> Score:
        value, confidence = FALLBACK
        return Score(value=value, confidence=confidence, modulated=emcs(value, confidence), fallback=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenProbability:
    """EMCS with the model's own confidence: the probability it gave the tokens of its evaluation.

    C = exp(L / T), where L is the answer's log-probability (nats) and T its number of tokens: the geometric mean of the
    token probabilities, in (0, 1]. R = Z (1 - E(max(C, 1/2))), because an improbable answer is not a certain one. Z is
    verbalised; the verbalised confidence is unused.
    Source: length-normalised sequence probability as a confidence, Malinin and Gales 2021; R is Eq. 6, one-sided.

    An answer without log-probabilities gets its plain value, R = Z, and is marked as a fallback.
    """

    @property
    def asking(self) -> Asking:
        return ONCE_ALONE

    def score(self, answers: Sequence[Completion]) -> Score | None:
        answer = answers[0]
        parsed = parse_score(answer.text)
        if parsed is None:
            return None
        value, verbalised = parsed
        if answer.logprob is None:
            return Score(value=value, confidence=verbalised, modulated=value, fallback=True)
        confidence = min(1.0, math.exp(answer.logprob / max(1, answer.completion_tokens)))
        return Score(value=value, confidence=confidence, modulated=emcs(value, max(0.5, confidence)))

    def fallback(self) -> Score:
        value, confidence = FALLBACK
        return Score(value=value, confidence=confidence, modulated=value, fallback=True)


_YES, _NO = ("yes", "true", "right", "correct"), ("no", "false", "wrong", "incorrect")


@dataclass(frozen=True, slots=True, kw_only=True)
class PTrue:
    """Scores by the probability that the model gives to "yes" when asked whether the last step is right.

    Z = P(yes): the probability p of the single token drawn greedily, or 1 - p if that token says no.
    C = max(Z, 1 - Z). R = Z, or with `modulated` Z (1 - E(C)) (Eq. 6).
    Source: P(True), Kadavath et al. 2022 (arXiv 2207.05221), which also shows several samples; here only the trajectory
    is shown. Deviation: the probability of tokens that are neither yes nor no counts for the answer not drawn.

    An answer without log-probabilities counts as certain, and is marked as a fallback.

    Attributes:
        modulated: Whether the entropy of C modulates Z (the paper's EMCS over this value).
    """

    modulated: bool = False

    @property
    def asking(self) -> Asking:
        return Asking(verify=True, tokens=1, reminder="Reply with the one word yes or the one word no.", alone=True)

    def score(self, answers: Sequence[Completion]) -> Score | None:
        answer = answers[0]
        word = spoken(answer.text).strip(" \n*_`\"'.,:;!?").lower()
        if word not in (*_YES, *_NO):
            return None
        sure = 1.0 if answer.logprob is None else min(1.0, math.exp(answer.logprob))
        value = sure if word in _YES else 1.0 - sure
        return self._score(value, max(value, 1.0 - value), fallback=answer.logprob is None)

    def fallback(self) -> Score:
        return self._score(*FALLBACK, fallback=True)

    def _score(self, value: float, confidence: float, *, fallback: bool) -> Score:
        modulated = emcs(value, confidence) if self.modulated else value
        return Score(value=value, confidence=confidence, modulated=modulated, fallback=fallback)


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomScore:
    """Replaces the evaluator's value by a uniform random number: the baseline an evaluator must beat.

    It makes the same calls as EMCS and reads the answers, so both pay the same tokens under the same limit and differ
    only in the information; an answer that cannot be read is asked for again, as under EMCS. Then Z = R is uniform on
    [0, 1), drawn from the seed of the call, so a repeated run repeats it; C is 1.
    """

    @property
    def asking(self) -> Asking:
        return ONCE_SEEDED

    def score(self, answers: Sequence[Completion]) -> Score | None:
        if parse_score(answers[0].text) is None:
            return None
        value = derive_rng(answers[0].seed, "random score").random()
        return Score(value=value, confidence=1.0, modulated=value)

    def fallback(self) -> Score:
        value, confidence = FALLBACK
        return Score(value=value, confidence=confidence, modulated=value, fallback=True)


_ANY_NUMBER = re.compile(r"\d+\.?\d*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Official:
    """EMCS of the numbers that the published parser finds anywhere in an answer.

    Z is the largest whole number from 1 to 10, in tenths. C is the first number with a dot in [0, 1]; if that is
    missing or equals the default, C is the first 0 or 1. So "7/10" gives Z = 1, "9." is lost, and an answer on [0, 1]
    keeps the default Z: use it with prompts that ask for a whole-number score. Nothing is asked twice.

    Source: ZHUWEI-hub/SYMPHONY, commit 3fbe298, hotpot/hotpotqa.py:247-288, webshop/webshop.py:227-269; the floor is
    from hotpot/symphony.py:86-87.

    Attributes:
        value, confidence: Defaults of Z and C, each in [0, 1] (HotpotQA: 0.7 and 0.7; WebShop: 0.8 and 1).
        floor: Lowest modulated value, in [0, 1].
    """

    value: Share = 0.7
    confidence: Share = 0.7
    floor: Share = 0.2

    def __post_init__(self) -> None:
        check_fields("scorer", self)

    @property
    def asking(self) -> Asking:
        return ONCE_ALONE

    def score(self, answers: Sequence[Completion]) -> Score | None:
        numbers = _ANY_NUMBER.findall(spoken(answers[0].text))
        whole = [int(number) for number in numbers if "." not in number]
        dotted = [float(number) for number in numbers if "." in number]
        tenths = max((number for number in whole if 1 <= number <= 10), default=None)
        confidence = next((number for number in dotted if number <= 1), self.confidence)
        if confidence == self.confidence:
            confidence = next((float(number) for number in whole if number <= 1), confidence)
        is_readable = tenths is not None or confidence != self.confidence
        return self._score(self.value if tenths is None else tenths / 10, confidence, fallback=not is_readable)

    def fallback(self) -> Score:
        return self._score(self.value, self.confidence, fallback=True)

    def _score(self, value: float, confidence: float, *, fallback: bool) -> Score:
        modulated = max(self.floor, emcs(value, confidence))
        return Score(value=value, confidence=confidence, modulated=modulated, fallback=fallback)
