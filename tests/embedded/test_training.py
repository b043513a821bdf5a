"""How the shipped pool is made."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.embedded import dialect, episodes
from symphony.tasks.mini.generated import LEXICONS
from symphony.types import Turn

NAMES = st.sampled_from(dialect.MODELS)


@pytest.fixture(scope="module")
def tokens():
    from symphony.embedded import train

    return train.build_tokenizer()


def test_every_word_is_known_to_some_model_and_no_model_knows_all():
    for lexicon, pairs in LEXICONS.items():
        for ask in pairs:
            assert 1 <= sum(dialect.knows(model, lexicon, ask) for model in dialect.MODELS) <= 2


def test_no_model_knows_all_that_another_knows():
    knowledge = {m: {(x, a) for x in LEXICONS for a in LEXICONS[x] if dialect.knows(m, x, a)} for m in dialect.MODELS}
    assert not any(knowledge[a] <= knowledge[b] for a in dialect.MODELS for b in dialect.MODELS if a != b)


@given(NAMES, st.integers())
def test_a_dialect_keeps_what_is_taught_and_permutes_the_rest(model, seed):
    for name, pairs in dialect.shuffled(random.Random(seed), model).items():
        assert sorted(pairs.values()) == sorted(LEXICONS[name].values())
        assert all(pairs[a] == LEXICONS[name][a] for a in pairs if dialect.knows(model, name, a))


TURNS = [
    Turn(thought="Start.", action="search[A]", observation=""),
    Turn(thought="spouse means weds.", action="search[B]", observation=""),
    Turn(thought="rival means heeds.", action="search[C]", observation=""),
    Turn(thought="tutor means visits.", action="finish[D]", observation="Wrong."),
]


def test_a_lesson_corrects_what_its_writer_knows_and_doubts_what_it_does_not():
    assert episodes.lesson(TURNS, {"spouse": "weds", "rival": "fears"}) == (
        "spouse weds, rival fears not heeds, doubt tutor visits."
    )


def test_a_lesson_about_a_trajectory_without_bets_names_the_last_action():
    assert episodes.lesson(TURNS[:1], {"spouse": "weds"}) == "tried search[A]."


def test_a_check_says_of_each_bet_what_its_reader_was_taught_or_told():
    known, lessons = {"spouse": "weds"}, ["doubt tutor visits, rival fears not obeys.", "host visits, tried finish[D]."]
    assert episodes.check(TURNS, known, lessons) == "Check: spouse weds right rival fears wrong tutor unsure."
    assert episodes.check(TURNS[:1], known, lessons) == "Check: none."


def test_two_lexicons_never_share_a_word_of_the_tasks():
    asks = [ask for pairs in LEXICONS.values() for ask in pairs]
    assert len(set(asks)) == len(asks)


def test_slips_are_shown_but_not_learnt():
    task = episodes.tasks()["gridworld"]
    rng = random.Random(0)
    problems = [episodes.draw_problem(rng, task, dialect.shuffled(rng, "llama")) for _ in range(30)]
    attempts = [episodes.play(rng, task, problem, wrong=0.5, slip=0.3) for problem in problems]
    assert all(
        not learnt
        for attempt in attempts
        for turn, learnt in zip(attempt.turns, attempt.trained, strict=True)
        if turn.observation == "The lock jams." and turn.thought != "Go."
    )
    assert any(False in attempt.trained for attempt in attempts)


@given(st.integers(0, 10_000), NAMES, st.sampled_from(episodes.DOMAINS))
def test_the_tokenizer_knows_every_word_and_loses_nothing_but_spaces(tokens, seed, model, domain):
    episode = episodes.draw_episode(random.Random(seed), episodes.tasks()[domain], model)
    for message in episode.messages:
        ids = tokens.encode(message.content, add_special_tokens=False)
        assert tokens.unk_token_id not in ids
        assert tokens.encode(tokens.decode(ids), add_special_tokens=False) == ids


def test_training_ids_are_those_of_the_chat_template(tokens):
    from symphony.embedded import train

    episode = episodes.draw_episode(random.Random(3), episodes.tasks()["mini_shop"], "neox")
    chat = [{"role": message.role, "content": message.content} for message in episode.messages]
    rendered = tokens.apply_chat_template(chat, tokenize=True, return_dict=True)["input_ids"]
    assert train.encode(tokens, episode.messages, episode.weights).ids == rendered


def test_the_three_families_differ_in_structure():
    from symphony.embedded import train

    models = [train.build_model(name, 600, 2, 1) for name in dialect.MODELS]
    assert len({type(model) for model in models}) == 3
    assert len({frozenset(n.split(".", 3)[-1] for n, _ in model.named_parameters()) for model in models}) == 3
    assert all(5e5 <= sum(p.numel() for p in model.parameters()) <= 4e6 for model in models)


@pytest.mark.slow
def test_a_minute_of_training_is_seen_to_learn(tmp_path):
    from symphony.embedded import train

    stage = train.Stage(name="a minute", cpu_seconds=60, mix={"mini_shop": 1.0})
    losses = train.train("llama", tmp_path, seed=1, stages=[stage])
    assert losses[-1] < losses[0] / 4
    assert losses[-1] < 0.6
