"""The chat protocol and the parser of expansions."""

import dataclasses
import itertools

from hypothesis import given
from hypothesis import strategies as st

from symphony.chat import reasoning
from symphony.chat.prompts import ChatPrompts, Shot, parse_proposal, split_action
from symphony.types import Message, Problem, Turn

PROBLEM = Problem(id="p", prompt="Find it.", target=None)
PATH = [Turn(thought="Look.", action="search[x]", observation="Seen.")]
VERBS = ("search", "lookup", "finish")


def test_roles_alternate_in_every_phase():
    prompts = ChatPrompts()
    for messages in (
        prompts.expansion(PROBLEM, PATH, ["a"]),
        prompts.evaluation(PROBLEM, PATH, []),
        prompts.reflection(PROBLEM, PATH),
    ):
        assert [message.role for message in messages] == ["user", "assistant", "user"]


def test_lessons_appear_in_expansion_and_evaluation():
    prompts = ChatPrompts()
    for build in (prompts.expansion, prompts.evaluation):
        assert "- tried a b." in build(PROBLEM, PATH, ["tried a b."])[0].content


def test_the_phases_share_their_prefix():
    prompts = ChatPrompts()
    assert prompts.evaluation(PROBLEM, PATH, [])[:2] == prompts.expansion(PROBLEM, PATH, [])[:2]


def test_another_wording_has_another_digest():
    assert ChatPrompts().digest != ChatPrompts(reflect="Why did it fail?").digest


SHOWN = ChatPrompts(
    instructions="Do.",
    next="Next.",
    expand_shots=(Shot(problem="One?", answer="1"), Shot(problem="Two?", path=tuple(PATH), answer="2")),
    refine_shots=(Shot(problem="Three?", answer="3"),),
    evaluate_shots=(Shot(problem="Four?", answer="4"),),
)


def words(messages: tuple[Message, ...]) -> list[str]:
    return [message.content for message in messages]


def test_worked_examples_come_before_the_problem_with_the_question_of_their_phase():
    assert words(SHOWN.expansion(PROBLEM, [], [])) == [
        "Do.\nOne?",
        "1",
        "Next.\nTwo?",
        "Thought: Look.\nAction: search[x]",
        "Observation: Seen.",
        "2",
        "Next.\nFind it.",
    ]
    assert words(SHOWN.evaluation(PROBLEM, [], [])) == [
        "Do.\nFour?\nEvaluate the trajectory.",
        "4",
        "Next.\nFind it.\nEvaluate the trajectory.",
    ]


def test_below_the_root_examples_are_those_of_refinement_where_there_are_such():
    assert words(SHOWN.expansion(PROBLEM, PATH, []))[:2] == ["Do.\nThree?", "3"]
    plain = dataclasses.replace(SHOWN, refine_shots=None)
    assert words(plain.expansion(PROBLEM, PATH, []))[:2] == ["Do.\nOne?", "1"]


def test_the_oldest_lesson_is_dropped_first_then_the_last_example_then_there_is_nothing():
    cut = [SHOWN.expansion(PROBLEM, [], ["old", "new"], dropped) for dropped in range(6)]
    assert [words(messages)[-1].removeprefix("Next.\n") for messages in cut[:4]] == [
        "Find it.\nLessons:\n- old\n- new",
        "Find it.\nLessons:\n- new",
        "Find it.",
        "Find it.",
    ]
    assert [sum(word in ("1", "2") for word in words(messages)) for messages in cut] == [2, 2, 2, 1, 0, 0]
    assert cut[3][:2] == cut[0][:2]
    assert words(cut[4]) == ["Do.\nFind it."]
    assert cut[5] == ()


def test_an_evaluation_keeps_its_question_and_its_path_whatever_is_dropped():
    whole, *cut = [SHOWN.evaluation(PROBLEM, PATH, ["a"], dropped) for dropped in range(3)]
    assert len(cut[-1]) == 3
    assert [messages[-2:] for messages in cut] == [whole[-2:]] * 2


def test_a_program_is_shown_without_labels():
    prompts = ChatPrompts(turn="{thought}\n{action}")
    turns = [Turn(thought=thought, action="```\n{x}\n```", observation="o") for thought in ("So.", "")]
    said = words(prompts.expansion(PROBLEM, turns, []))[1::2]
    assert said == ["So.\n```\n{x}\n```", "```\n{x}\n```"]


def test_examples_change_the_digest_and_the_bare_protocol_has_its_own_for_good():
    assert ChatPrompts().digest == "f9dd98b9ce8e0df1"
    shown = dataclasses.replace(SHOWN, expand_shots=SHOWN.expand_shots[:1])
    assert len({ChatPrompts().digest, SHOWN.digest, shown.digest, dataclasses.replace(SHOWN, next="").digest}) == 4


def test_the_thought_is_all_text_before_the_first_action():
    proposal = parse_proposal(
        "Thought 2: it: is so\nmore\nAction 2: Search[House: Season 3]\nAction: finish[no]", VERBS
    )
    assert proposal is not None
    assert (proposal.thought, proposal.action) == ("it: is so more", "search[House: Season 3]")


def test_nested_brackets_survive():
    proposal = parse_proposal("Action: finish[a [b] c]", VERBS)
    assert proposal is not None
    assert split_action(proposal.action) == ("finish", "a [b] c")


def test_text_without_an_action_is_none():
    assert parse_proposal("Thought: I would rather dance[tango].", VERBS) is None


def test_labels_in_bold_are_labels():
    proposal = parse_proposal("**Thought:** so\n\n**Action:** search[x]", VERBS)
    assert proposal is not None
    assert (proposal.thought, proposal.action) == ("so", "search[x]")


def action(text: str, bare: bool = False) -> str | None:
    found = parse_proposal(text, VERBS, bare=bare)
    return None if found is None else found.action


def test_an_action_without_its_label_counts_where_it_may_and_none_has_one():
    text = "I would finish[no], but\nAction: search[x]"
    assert parse_proposal("Well: search[x]", VERBS) is None
    assert action("Well:\nsearch[x]", bare=True) == "search[x]"
    assert action(text, bare=True) == "search[x]"
    assert parse_proposal("dosearch[x]", VERBS, bare=True) is None
    assert action("Thought: I may search[y] first.\n> `search[x]`", bare=True) == "search[x]"


def test_letters_that_equal_others_only_if_case_is_ignored_are_read():
    assert action("Action: \u017fearch[x]") == "search[x]"


def balanced(text: str) -> bool:
    depths = list(itertools.accumulate({"[": 1, "]": -1}.get(letter, 0) for letter in text))
    return not depths or (min(depths) >= 0 and depths[-1] == 0)


LETTERS = st.characters(blacklist_categories=["Cc", "Cs", "Zl", "Zp"], blacklist_characters="<")


def unmarked(text: str) -> bool:
    """Whether a text in an action's brackets holds no mark of reasoning or of a turn, as assistantfinal or [INST]."""
    return reasoning.plain(f"[{text}]") == f"[{text}]"


@given(st.sampled_from(VERBS), st.text(LETTERS, max_size=30).filter(balanced).filter(unmarked))
def test_what_is_written_is_read_back(verb, argument):
    proposal = parse_proposal(f"Thought: so.\nAction: {verb}[{argument}]", VERBS)
    assert proposal is not None
    assert split_action(proposal.action) == (verb, " ".join(argument.split()))


def test_a_verification_is_the_episode_with_the_question_behind_it_and_no_worked_example() -> None:
    shot = Shot(problem="p", answer="a")
    prompts = ChatPrompts(verify="Right?", expand_shots=(shot,), evaluate_shots=(shot,))
    plain = ChatPrompts(evaluate="Right?").evaluation(PROBLEM, PATH, ["l"])
    assert prompts.verification(PROBLEM, PATH, ["l"]) == plain
    assert prompts.verification(PROBLEM, PATH, [], dropped=5) == ()


def test_words_of_verification_name_a_run_only_where_they_are_not_the_usual_ones() -> None:
    assert ChatPrompts().digest == ChatPrompts(verify=ChatPrompts().verify).digest
    assert ChatPrompts().digest != ChatPrompts(verify="Right?").digest
