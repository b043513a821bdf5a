"""Compares short answers as the official HotpotQA script does (hotpot_evaluate_v1.py)."""

from __future__ import annotations

import re
import string
from collections import Counter

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CLOSED = ("yes", "no", "noanswer")
"""Answers that are right or wrong as a whole: shared tokens earn nothing."""


def normalise(answer: str) -> str:
    """Normalises an answer: lower case, no punctuation, no articles, single spaces."""
    kept = answer.lower().translate(_PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def exact_match(answer: str, gold: str) -> bool:
    """Whether both answers are the same when normalised."""
    return normalise(answer) == normalise(gold)


def f1(answer: str, gold: str) -> float:
    """Returns the harmonic mean of precision and recall over the tokens of the normalised answers, in [0, 1]."""
    predicted, right = normalise(answer), normalise(gold)
    if predicted != right and (predicted in _CLOSED or right in _CLOSED):
        return 0.0
    tokens, wanted = predicted.split(), right.split()
    shared = sum((Counter(tokens) & Counter(wanted)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(tokens), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)
