"""How values and confidences are learnt, and how they are measured."""

import itertools
import random

import pytest

from symphony.embedded import dialect, episodes, pool, rollouts, train, values
from symphony.types import SymphonyError


def some_prefixes(count, domain="mini_shop"):
    rng, task = random.Random(0), episodes.tasks()[domain]
    problems = [episodes.draw_problem(rng, task, dialect.shuffled(rng, "llama")) for _ in range(count)]
    starts = [rollouts.fresh(task, problem) for problem in problems]
    return [
        values._cut(rng, start, episodes.play(rng, task, start.problem, wrong=0.3, slip=0.1).turns) for start in starts
    ]


def test_odds_show_a_mean_as_often_as_it_says():
    tokens = train.build_tokenizer()
    (prefix,) = some_prefixes(1)
    replay = iter(lambda: train.Encoded([], []), None)
    shown = values.rows(tokens, "llama", [values.Odds(prefix=prefix, number="value", mean=0.3)], replay, seed=0)
    drawn = [tokens.decode(row.ids[-4]) for row in itertools.islice(shown, 0, 1000, 2)]
    assert set(drawn) == {"0.0", "1.0"}
    assert 0.22 < drawn.count("1.0") / len(drawn) < 0.38


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lesson", "learnt"),
    [
        (lambda p: values.Odds(prefix=p, number="value", mean=1.0), ["1.0"]),
        (lambda p: values.Odds(prefix=p, number="confidence", mean=0.0), ["0.0"]),
        (
            lambda p: values.Stated(prefix=p, value=0.4, confidence=0.8),
            ["Value:", "0.4", "Confidence:", "0.8", "<|end|>"],
        ),
    ],
)
def test_only_the_judgement_asked_for_is_learnt(lesson, learnt):
    tokens = train.build_tokenizer()
    (prefix,) = some_prefixes(1)
    row = next(values.rows(tokens, "llama", [lesson(prefix)], iter(()), seed=0))
    kept = [token for token, weight in zip(row.ids, row.weights, strict=True) if weight]
    assert tokens.convert_ids_to_tokens(kept) == learnt


def test_what_is_replayed_teaches_no_number():
    tokens = train.build_tokenizer()
    (prefix,) = some_prefixes(1)
    row = next(
        values.rows(tokens, "llama", [values.Stated(prefix=prefix, value=0.9, confidence=0.9)], iter(()), seed=0)
    )
    row.weights[-6] = 1.0  # what was checked
    assert [weight > 0 for weight in values._without_numbers(tokens, row).weights[-6:]] == [True, *[False] * 5]


def test_confidence_is_spoken_in_the_half_that_emcs_reads_as_certainty():
    assert [values.confidence_of(mean) for mean in (0.0, 0.3, 0.55, 0.84, 1.0)] == [0.5, 0.5, 0.6, 0.8, 1.0]


def test_prefixes_have_a_step_behind_them_and_one_before_them():
    for prefix in some_prefixes(40):
        assert prefix.turns
        assert not prefix.over


def test_calibration_tells_a_confidence_of_its_own_from_one_that_only_repeats_the_value():
    rng = random.Random(1)
    share = [rng.random() for _ in range(2000)]
    noise = [rng.choice((0.05, 0.4)) for _ in share]
    value = [min(1.0, max(0.0, s + rng.uniform(-n, n))) for s, n in zip(share, noise, strict=True)]
    informed = pool.calibration(value, [1 - n for n in noise], share)
    repeated = pool.calibration(value, [max(v, 1 - v) for v in value], share)
    assert informed["confidence_partial"] < -0.3
    assert abs(repeated["confidence_partial"]) < 0.05


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan")])
def test_a_scale_that_is_not_positive_is_refused(factor):
    with pytest.raises(SymphonyError, match="scale"):
        pool.Budget().scaled(factor)


@pytest.mark.slow
def test_odds_are_learnt_as_means():
    tokens = train.build_tokenizer()
    likely, unlikely = some_prefixes(2)
    model = train.build_model("llama", len(tokens), tokens.eos_token_id, tokens.pad_token_id)
    lessons = [
        values.Odds(prefix=likely, number="value", mean=0.8),
        values.Odds(prefix=unlikely, number="value", mean=0.2),
    ]
    replay = train.episode_rows("llama", 0, tokens, {"mini_shop": 1.0})
    train.fit(model, values.rows(tokens, "llama", lessons, replay, 0), tokens.pad_token_id, 30)
    found = values.means(model, tokens, "llama", [likely, unlikely], "value")
    assert found == pytest.approx([0.8, 0.2], abs=0.12)
