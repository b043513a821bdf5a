"""HotpotQA: pages, branches, feedback, grades; on made-up paragraphs, and on the real data where it is at hand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import duckdb
import pytest

from symphony.search.symphony import Symphony
from symphony.tasks import jsonrows
from symphony.tasks.hotpotqa.corpus import Page, Paragraphs
from symphony.tasks.hotpotqa.task import HotpotQA
from symphony.types import Problem, State, SymphonyError
from tests.search.test_symphony import in_turn, search
from tests.shared_data import DATA, needs

OAK = [
    "Oak Hill is a village in Vell.",
    " It has a mill.",
    " The mill was built by Ann Rook.",
    " A.",
    " B.",
    " C mill.",
]
ROWS = [
    {
        "_id": None,
        "dev_index": 7,
        "question": "Who built the mill of Oak Hill?",
        "answer": "Ann Rook",
        "type": "bridge",
        "context": [["Oak Hill", OAK], ["Ann Rook", ["Ann Rook (1801 to 1870) built mills."]]],
    },
    {
        "_id": "abc",
        "question": "Is Vell a river?",
        "answer": "no",
        "context": [["Vell (valley)", ["Vell is a valley."]], ["Oak Hill", ["Another text under a known title."]]],
    },
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "hotpotqa"
    folder.mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (folder / "hotpot_dev_distractor_sample.jsonl").write_text(lines)
    return tmp_path


def walk(task: HotpotQA, *actions: str, problem: int = 0) -> State:
    state = task.reset(task.problems()[problem])
    for action in actions:
        state = task.step(state, action)
    return state


def test_an_item_is_named_by_its_id_or_by_its_place_where_it_has_none(data):
    assert [problem.id for problem in HotpotQA(count=2, data=data).problems()] == ["7", "abc"]


def test_items_that_are_named_by_their_ids_come_in_that_order_whatever_their_place(data):
    named = HotpotQA(count=2, ids=("abc", "7"), data=data)
    assert [problem.id for problem in named.problems()] == ["abc", "7"]
    assert [problem.id for problem in dataclasses.replace(named, first=1, count=1).problems()] == ["7"]


def test_an_id_that_the_file_does_not_hold_is_refused_by_name(data):
    with pytest.raises(SymphonyError, match=r"task\.ids: found 'nobody', allowed: ids of the items of .*sample\.jsonl"):
        HotpotQA(count=1, ids=("abc", "nobody"), data=data).problems()


def test_the_prompt_holds_the_question_and_never_the_answer(data):
    problem = HotpotQA(count=1, data=data).problems()[0]
    assert problem.prompt == "Question: Who built the mill of Oak Hill?"
    assert "Ann Rook" not in repr(problem)


def test_search_opens_a_page_by_title_whatever_its_case_and_shows_five_sentences(data):
    seen = walk(HotpotQA(count=1, data=data), "search[oak  HILL]").observation
    assert seen == "Oak Hill is a village in Vell. It has a mill. The mill was built by Ann Rook. A. B."


def test_a_search_without_a_page_names_similar_titles_and_closes_the_open_page(data):
    task = HotpotQA(count=1, data=data)
    state = walk(task, "search[Oak Hill]", "search[Vell valley]")
    assert state.observation == "Could not find Vell valley. Similar: Vell (valley); Oak Hill."
    assert task.step(state, "lookup[mill]").observation == "No page is open."


def test_lookup_goes_from_hit_to_hit_and_another_word_starts_anew(data):
    task = HotpotQA(count=1, data=data)
    state = walk(task, "search[Oak Hill]")
    seen = []
    for word in ("mill", "MILL", "mill", "mill", "vell", "mill"):
        state = task.step(state, f"lookup[{word}]")
        seen.append(state.observation)
    assert seen == [
        "(Result 1 / 3) It has a mill.",
        "(Result 2 / 3) The mill was built by Ann Rook.",
        "(Result 3 / 3) C mill.",
        "No more results.",
        "(Result 1 / 1) Oak Hill is a village in Vell.",
        "(Result 1 / 3) It has a mill.",
    ]


def test_two_branches_look_things_up_on_their_own_pages(data):
    task = HotpotQA(count=1, data=data)
    start = walk(task)
    one, other = task.step(start, "search[Oak Hill]"), task.step(start, "search[Ann Rook]")
    assert task.step(one, "lookup[built]").observation == "(Result 1 / 1) The mill was built by Ann Rook."
    assert task.step(other, "lookup[built]").observation == "(Result 1 / 1) Ann Rook (1801 to 1870) built mills."
    assert start == walk(task)


def test_context_knows_the_item_s_own_pages_and_union_those_of_every_item(data):
    other = "search[Vell (valley)]"
    assert walk(HotpotQA(count=1, data=data), other).observation == "Vell is a valley."
    assert walk(HotpotQA(count=1, data=data, pages="context"), other).observation.startswith("Could not find")


def test_of_two_paragraphs_under_one_title_union_shows_the_first_and_context_the_item_s_own(data):
    assert walk(HotpotQA(count=2, data=data), "search[Oak Hill]", problem=1).observation.startswith("Oak Hill is")
    own = walk(HotpotQA(count=2, data=data, pages="context"), "search[Oak Hill]", problem=1)
    assert own.observation == "Another text under a known title."


@pytest.mark.parametrize(("answer", "reward"), [("the Ann Rook.", 1.0), ("Ann", 0.0)])
def test_finish_ends_with_exact_match_as_the_reward(data, answer, reward):
    state = walk(HotpotQA(count=1, data=data), f"finish[{answer}]")
    assert (state.reward, state.terminated) == (reward, True)


def test_success_is_exact_match_and_the_score_is_f1(data):
    task = HotpotQA(count=1, data=data)
    grade = task.grade(task.problems()[0], walk(task, "finish[Ann]"))
    assert (grade.success, grade.detail) == (False, "Ann")
    assert grade.score == pytest.approx(2 / 3)


def test_without_feedback_the_end_says_nothing_of_the_answer(data):
    task = HotpotQA(count=1, data=data, feedback="none")
    ends = [walk(task, f"finish[{answer}]") for answer in ("Ann Rook", "nobody")]
    assert [(end.reward, end.observation, end.terminated) for end in ends] == [(None, "Answer given.", True)] * 2


async def test_a_search_without_feedback_is_the_same_whatever_the_target(data):
    class Poisoned(HotpotQA):
        __slots__ = ()

        def reset(self, problem: Problem) -> State:
            own = HotpotQA.problems(self)[0]
            target = dataclasses.replace(own.target, answer=golds[-1])
            return HotpotQA.reset(self, dataclasses.replace(own, target=target))

    golds, seen = [], []
    for gold in ("Ann Rook", "poison"):
        golds.append(gold)
        task = Poisoned(count=1, data=data, feedback="none")
        script = in_turn("search[Oak Hill]", "lookup[mill]", "finish[Ann Rook]", "finish[x]")
        result, ledger = await search(script, task=task, method=Symphony(iterations=4, n=2, sim_depth=4))
        tree = [(node.turn, node.visits, node.value_sum, node.prior, node.closed) for node in result.tree.nodes]
        seen.append((tree, result.answer, result.stop_reason, len(ledger.calls)))
    assert seen[0] == seen[1]


def test_think_is_tolerated_and_another_verb_is_invalid(data):
    task = HotpotQA(count=1, data=data)
    assert walk(task, "think[hm]").observation == "OK."
    assert walk(task, "dance[]").invalid


def test_the_horizon_truncates(data):
    state = walk(HotpotQA(count=1, data=data, max_steps=2), "think[a]", "think[b]")
    assert (state.truncated, state.terminated) == (True, False)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Thought: x: y\nAction 3: Search[House: Season 3]", "search[House: Season 3]"),
        ("Action: finish[a [b] c]", "finish[a [b] c]"),
        ("Action: LOOKUP [mill]\nAction: finish[x]", "lookup[mill]"),
    ],
)
def test_colons_and_brackets_inside_an_action_survive(data, text, action):
    found = HotpotQA(count=1, data=data).parse(text)
    assert found is not None
    assert found.action == action


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Thought 1: I need it\nAction 1: Search[Oak Hill]", ("I need it", "search[Oak Hill]")),
        ("I know: it is so\nAction 1: Search[House: Season 3]", ("I know", "search[House]")),
        ("x\nAction: finish[a [b] c]", ("x", "finish[a [b]")),
        ("x\nAction 1: search[a]\nAction 2: finish[b]", ("x", "finish[b]")),
        ("x\nAction 1: wait", ("x", "wait[]")),
        ("Action 1: search[a]", None),
        ("x\nno action", None),
    ],
)
def test_the_published_reading_cuts_at_colons_and_takes_the_last_action(data, text, read):
    found = HotpotQA(count=1, data=data, reading="official").parse(text)
    assert (None if found is None else (found.thought, found.action)) == read


def test_what_the_published_reading_keeps_without_brackets_is_an_invalid_action(data):
    task = HotpotQA(count=1, data=data, reading="official")
    found = task.parse("x\nAction 1: wait")
    assert found is not None
    assert walk(task, found.action).invalid


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"pages": "all"}, "task.pages: found 'all', allowed: union, context, live"),
        ({"split": "train", "setting": "fullwiki"}, "allowed with split=train: distractor"),
        ({"max_steps": 0}, "task.max_steps: found 0"),
    ],
)
def test_an_impossible_setting_is_refused_by_name(settings, told):
    with pytest.raises(SymphonyError, match=told.replace("[", r"\[")):
        HotpotQA(count=1, **settings)


def test_the_hub_s_parquet_files_are_read_too(tmp_path):
    folder = tmp_path / "hotpotqa" / "distractor"
    folder.mkdir(parents=True)
    row = """'abc' AS id, 'Is Vell a river?' AS question, 'no' AS answer, 'comparison' AS type,
        {'title': ['Vell'], 'sentences': [['Vell is a valley.', ' It is green.']]} AS context"""
    file = folder / "validation-00000-of-00001.parquet"
    duckdb.execute(f"COPY (SELECT {row}) TO '{file}' (FORMAT parquet)")
    task = HotpotQA(count=1, data=tmp_path)
    assert task.problems()[0].id == "abc"
    assert walk(task, "search[Vell]").observation == "Vell is a valley. It is green."


def test_a_file_that_is_no_parquet_is_told(tmp_path):
    file = tmp_path / "hotpotqa" / "distractor" / "validation-00000-of-00001.parquet"
    file.parent.mkdir(parents=True)
    file.write_text("nonsense")
    with pytest.raises(SymphonyError, match="allowed: a Parquet file"):
        HotpotQA(count=1, data=tmp_path).problems()


def test_more_items_than_there_are_is_refused_with_their_number(data):
    with pytest.raises(SymphonyError, match=r"found 3 from item 0 on, allowed: 1 to 2 items"):
        HotpotQA(count=3, data=data).problems()


def test_missing_data_is_told_with_the_files_that_would_do(tmp_path):
    with pytest.raises(SymphonyError, match=r"none of hotpot_dev_distractor_v1\.json, .*sample\.jsonl"):
        HotpotQA(count=1, data=tmp_path).problems()


@pytest.mark.parametrize(
    ("title", "searched"),
    [
        ("Etiquette &amp; Espionage", "Etiquette & Espionage"),
        ("Etiquette &amp; Espionage", "etiquette &amp; espionage"),
        ("Etiquette & Espionage", "Etiquette &amp;amp; Espionage"),
        ("Etiquette &amp; Espionage", "Etiquette and Espionage"),
        ("Jeff &quot;Swampy&quot; Marsh", "Jeff \u201cSwampy\u201d Marsh"),
        ("1982 Volvo Masters \u2013 Doubles", "1982 Volvo Masters - Doubles"),
        ("Fazoli's", "Fazoli\u2019s"),
        ("Keyser S\u00f6ze", "Keyser Soze"),
        ("Keyser S\u00f6ze", "Keyser So\u0308ze"),
        ("Bon App\u00e9tit!", "bon appetit"),
        ("U.S. Route 1", "US Route 1"),
        ("Bj\u00f8rn Helge Riise", "Bjorn Helge Riise"),
        ("Beyonc\u00e9", "Beyonc&eacute;"),
        ("Oak_Hill\u00a0Road", "Oak Hill Road"),
        ("Oak Hill", '"Oak Hill"'),
        ("Oak Hill", "Oak\u200b Hill\u200b"),
        ("J. K. Rowling", "J.K. Rowling"),
        ("J.R.R. Tolkien", "J. R. R. Tolkien"),
        ("1,000 Places", "1000 Places"),
    ],
)
def test_a_page_is_found_under_every_spelling_of_its_title(title, searched):
    found = Paragraphs({title: ["Text."], "Other": ["Text."]}).find(searched)
    assert isinstance(found, Page)
    assert found.title == title


@pytest.mark.parametrize(
    ("title", "searched"), [("C", "C++"), ("Vell (valley)", "Vell valley"), ("Ed Wood (film)", "Ed Wood")]
)
def test_another_title_is_not_a_spelling(title, searched):
    assert not isinstance(Paragraphs({title: ["Text."]}).find(searched), Page)


def test_of_two_spellings_that_are_pages_each_is_its_own():
    pages = Paragraphs({"R\u00e9sum\u00e9": ["A."], "Resume": ["B."]})
    for title, sentence in (("resume", "B."), ("r\u00e9sum\u00e9", "A.")):
        page = pages.find(title)
        assert isinstance(page, Page)
        assert page.sentences == (sentence,)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"question": "q"}\n', r"sample\.jsonl:1: answer: found nothing, allowed: a value"),
        ('{"question": "q"\n', r"sample\.jsonl:1: found"),
        ("[1]", "row 1: found 1"),
    ],
)
def test_a_broken_file_is_told_by_its_line(data, text, told):
    (data / "hotpotqa" / "hotpot_dev_distractor_sample.jsonl").write_text(text)
    with pytest.raises(SymphonyError, match=told):
        HotpotQA(count=None, data=data).problems()


@needs("hotpotqa/hotpot_dev_distractor_sample.jsonl")
def test_real_items_can_be_answered_from_their_own_pages():
    task = HotpotQA(count=None, data=DATA)
    problems = task.problems()
    assert len(problems) == len({problem.id for problem in problems}) == 603
    for problem in problems:
        state = task.step(task.reset(problem), f"search[{problem.target.context[0][0]}]")
        assert not state.observation.startswith("Could not find")
        end = task.step(state, f"finish[{problem.target.answer}]")
        assert task.grade(problem, end).success


@needs("hotpotqa/react_wikipedia_trajectories.jsonl")
def test_every_step_of_the_published_react_trajectories_is_understood():
    task = HotpotQA(count=1)
    rows = jsonrows.rows(DATA / "hotpotqa/react_wikipedia_trajectories.jsonl")
    assert len(rows) == 140
    for row in rows:
        for step in row["steps"]:
            proposal = task.parse(f"Thought: {step['thought']}\nAction: {step['action']}")
            verb, _, argument = step["action"].partition("[")
            assert proposal is not None, step["action"]
            assert proposal.action == f"{verb.lower()}[{' '.join(argument.removesuffix(']').split())}]"
            assert proposal.thought == " ".join(step["thought"].split())
