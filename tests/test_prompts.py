"""The chat protocol and the parser of expansions."""

from hypothesis import given
from hypothesis import strategies as st

from symphony.prompts import ChatPrompts, parse_proposal, split_action
from symphony.types import Problem, Turn

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


@given(st.text())
def test_no_text_crashes_the_parser(text):
    proposal = parse_proposal(text, VERBS)
    assert proposal is None or split_action(proposal.action)[0] in VERBS


@given(st.sampled_from(VERBS), st.text(st.characters(blacklist_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=30))
def test_what_is_written_is_read_back(verb, argument):
    proposal = parse_proposal(f"Thought: so.\nAction: {verb}[{argument}]", VERBS)
    assert proposal is not None
    assert split_action(proposal.action) == (verb, " ".join(argument.split()))
