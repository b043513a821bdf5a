"""Rules of the canonical algorithm (paper Algorithm 1)."""

from __future__ import annotations

from collections import Counter

import pytest

from symphony.agents.budget import Budget
from symphony.agents.memory import NoMemory, PoolFifo
from symphony.agents.scheduler import UCB, RoundRobin
from symphony.agents.scorer import EMCS, FORMAT_REMINDER, Plain
from symphony.agents.session import Session
from symphony.search.methods.lats import LATS
from symphony.search.official import Official
from symphony.search.result import SearchResult
from symphony.search.symphony import Symphony
from symphony.types import Phase, Request, SymphonyError, Task
from tests.stub import Script, Stub, pool, problem, say, session, talk


async def search(
    *scripts: Script,
    task: Task | None = None,
    target: str = "zzz",
    method: Symphony | None = None,
    memory=None,
    scheduler=None,
    scorer=None,
    budget: Budget | None = None,
) -> tuple[SearchResult, Session]:
    item = problem(target)
    ledger = session(pool(*scripts), item, budget=budget)
    result = await (method or Symphony(sim_depth=0)).solve(
        item,
        task=task or Stub(),
        session=ledger,
        scheduler=scheduler or UCB(),
        scorer=scorer or Plain(),
        memory=memory or NoMemory(),
    )
    return result, ledger


def in_turn(*actions: str, value: str = "Value: 0.5 Confidence: 0.9") -> Script:
    """Expansions answer these in turn, again and again."""
    count = Counter[str]()

    def script(request: Request) -> str:
        if request.draw.phase in (Phase.EXPAND, Phase.SIM_EXPAND):
            count["x"] += 1
            return f"Action: {actions[(count['x'] - 1) % len(actions)]}"
        return "Lesson: no." if request.draw.phase is Phase.REFLECT else value

    return script


async def test_success_shown_by_the_environment_stops_at_once_and_is_the_answer():
    result, ledger = await search(in_turn("go a"), target="aaa")
    assert (result.stop_reason, result.tree[result.answer].solved) == ("solved", True)
    assert result.state.data[0] == "aaa"
    assert max(call.call for call in ledger.calls if call.phase == "evaluate") < ledger.calls[-1].call


async def test_the_solved_path_is_backed_up_with_1():
    result, _ = await search(in_turn("go a"), target="aaa")
    assert (result.tree[result.answer].visits, result.tree[result.answer].value_sum) == (1, 1.0)


async def test_a_tree_of_wrong_ends_is_exhausted():
    result, _ = await search(in_turn("stop"), method=Symphony(iterations=50))
    assert (result.stop_reason, result.iterations) == ("exhausted", 1)
    assert result.tree[0].closed


async def test_the_depth_limit_closes_one_branch_only():
    task = Stub(length=9)
    result, _ = await search(
        in_turn("go a", "stop"), task=task, method=Symphony(depth=2, iterations=1, n=2, sim_depth=0)
    )
    assert result.stop_reason == "iterations"
    result, _ = await search(
        in_turn("go a", "go b"), task=task, method=Symphony(depth=2, iterations=2, n=2, sim_depth=0)
    )
    tree = result.tree
    above = next(node.parent for node in tree.nodes if node.depth == 2)
    assert all(node.closed for node in tree.nodes if node.depth == 2)
    assert above is not None
    assert tree[above].closed
    assert [tree[id].closed for id in tree[0].children].count(True) == 1
    assert not tree[0].closed


async def test_no_node_lies_below_the_depth_limit():
    result, _ = await search(talk(), task=Stub(length=9), method=Symphony(depth=3, iterations=60, sim_depth=9))
    assert max(node.depth for node in result.tree.nodes) == 3


async def test_k_bounds_the_iterations_and_the_calls():
    k, n, steps = 5, 4, 2
    method = Official(n=n, iterations=k, sim_width=n, sim_depth=steps, sim_depth_from="extra")
    result, ledger = await search(talk(), task=Stub(length=6), method=method, memory=PoolFifo())
    assert result.iterations == k
    assert len(ledger.calls) <= k * (n + n + steps * 2 * n) + len(ledger.reflections)
    phases = Counter(call.phase for call in ledger.calls)
    assert phases["expand"] == k * n


async def test_equal_actions_of_an_expansion_become_one_node_scored_once():
    result, ledger = await search(in_turn("go a", "go a", "go b", "go a"), method=Symphony(iterations=1, sim_depth=0))
    assert [node.turn.action for node in result.tree.nodes if node.turn] == ["go a", "go b"]
    assert Counter(call.phase for call in ledger.calls) == {"expand": 4, "evaluate": 2}
    assert sum(arm.credits for arm in ledger.arms) == 2


async def test_an_expansion_that_avoids_repeats_names_the_actions_before_in_each_prompt():
    asked: list[str] = []

    def script(request: Request) -> str:
        if request.draw.phase is not Phase.EXPAND:
            return "Value: 0.5 Confidence: 1"
        asked.append(request.messages[-1].content)
        return "Action: go b" if "propose something else: go a" in asked[-1] else "Action: go a"

    result, ledger = await search(script, method=Symphony(n=3, iterations=1, sim_depth=0, avoid_repeats=True))
    assert [node.turn.action for node in result.tree.nodes if node.turn] == ["go a", "go b"]
    assert ["propose something else: go b" in text for text in asked] == [False, False, True]
    assert [call.call for call in ledger.calls if call.phase == "expand"] == [0, 1, 2]


async def test_a_refused_call_ends_an_expansion_that_avoids_repeats_and_keeps_its_nodes():
    method = Symphony(n=4, iterations=1, sim_depth=0, avoid_repeats=True)
    result, ledger = await search(in_turn("go a", "go b"), method=method, budget=Budget(calls=2))
    assert len(ledger.calls) == len(result.tree.nodes) - 1 == 2


async def test_a_terminal_first_child_shifts_no_value():
    values = {"word a": "Value: 0.2 Confidence: 1", "word b": "Value: 0.9 Confidence: 1"}

    def script(request: Request) -> str:
        if request.draw.phase is Phase.EXPAND:
            return ("Action: stop", "Action: go a", "Action: go b")[request.draw.index]
        return values[request.messages[-1].content.splitlines()[-1]]

    result, _ = await search(script, method=Symphony(n=3, iterations=1, sim_depth=0))
    assert [node.prior for node in result.tree.nodes] == [None, 0.0, 0.2, 0.9]
    assert [node.score is None for node in result.tree.nodes] == [True, True, False, False]
    assert [node.visits for node in result.tree.nodes] == [1, 0, 0, 1]


async def test_a_simulation_starts_from_an_unfinished_node_even_beside_a_better_end():
    def script(request: Request) -> str:
        if request.draw.phase is Phase.EXPAND:
            return (
                ("Action: go a", "Action: go b", "Action: stop")[request.draw.index]
                if request.draw.node
                else ("Action: go a")
            )
        return "Value: 0.1 Confidence: 1"

    method = Symphony(n=3, iterations=2, sim_depth=0, answer="best_value")
    result, _ = await search(script, task=Stub(length=9, partial=True), target="aa", method=method)
    ended = next(node for node in result.tree.nodes if node.state.done)
    assert (ended.prior, ended.visits, result.answer) == (0.5, 0, ended.id)
    assert result.tree[0].value_sum == pytest.approx(0.2)


async def test_success_among_the_ends_of_a_simulation_step_comes_before_other_ends():
    def script(request: Request) -> str:
        if request.draw.phase is Phase.SIM_EXPAND:
            return ("Action: stop", "Action: go a")[request.draw.index]
        return "Action: go a" if request.draw.phase is Phase.EXPAND else "Value: 0.1 Confidence: 1"

    method = Symphony(n=1, iterations=1, sim_width=2, sim_depth=2)
    result, _ = await search(script, task=Stub(length=2, partial=True), target="aa", method=method)
    assert (result.stop_reason, result.state.reward) == ("solved", 1.0)
    assert [node.visits for node in result.tree.nodes if node.origin == "simulate"] == [0, 1]


async def test_the_end_of_a_simulation_is_reflected_on():
    method = Symphony(n=1, iterations=1, sim_width=1, sim_depth=9)
    result, ledger = await search(in_turn("go a"), task=Stub(length=3), memory=PoolFifo(), method=method)
    assert [(lesson.key, lesson.node) for lesson in ledger.reflections] == [("aaa", len(result.tree) - 1)]


async def test_an_environment_reward_never_counts_more_than_1():
    result, ledger = await search(in_turn("stop", "go a"), task=Stub(partial=True), target="abc")
    assert all(0 <= (node.prior or 0) <= 1 for node in result.tree.nodes)
    assert all(arm.reward <= arm.credits for arm in ledger.arms)


async def test_the_generating_agent_is_credited_not_the_evaluator():
    _, ledger = await search(
        in_turn("go a", value="Value: 0.8 Confidence: 1"),
        in_turn("go b", value="Value: 0.4 Confidence: 1"),
        method=Symphony(n=1, iterations=1, sim_depth=0),
        scheduler=RoundRobin(),
    )
    assert [(call.phase, call.agent) for call in ledger.calls] == [("expand", "A"), ("evaluate", "B")]
    assert [(arm.credits, arm.reward) for arm in ledger.arms] == [(1, 0.4), (0, 0.0)]


async def test_every_node_is_credited_once():
    result, ledger = await search(
        talk(stops=5), talk(), task=Stub(length=4), method=Symphony(sim_depth=3, iterations=6), memory=PoolFifo()
    )
    assert result.stop_reason == "iterations"
    assert sum(arm.credits for arm in ledger.arms) == sum(node.prior is not None for node in result.tree.nodes)


async def test_the_picks_of_an_expansion_move_the_counts():
    _, ledger = await search(talk(), talk(), talk(), method=Symphony(iterations=1, sim_depth=0))
    assert [pick.agent for pick in ledger.picks if pick.phase == "expand"] == ["A", "B", "C", "A"]


async def test_evaluation_and_reflection_are_greedy_and_actions_are_not():
    _, ledger = await search(talk(stops=2), memory=PoolFifo(), method=Symphony(temperature=0.2, sim_depth=0))
    temperatures = {(call.phase, call.temperature) for call in ledger.calls}
    assert temperatures == {("expand", 0.2), ("evaluate", 0.0), ("reflect", 0.0)}


async def test_what_cannot_be_parsed_is_sampled_once_more_by_the_next_agent_then_dropped_and_counted():
    result, ledger = await search(
        say(expand="hm", evaluate="Value: 1 Confidence: 1"),
        in_turn("go a"),
        method=Symphony(n=2, iterations=1, sim_depth=0),
        scheduler=RoundRobin(),
    )
    expansions = [(call.agent, call.draw) for call in ledger.calls if call.phase == "expand"]
    assert expansions == [("A", 0), ("B", 1), ("A", 2)]
    assert (result.unparsed, len(result.tree)) == (2, 2)


async def test_a_node_belongs_to_the_agent_whose_second_sample_brought_it():
    result, ledger = await search(
        say(expand="hm", evaluate="Value: 1 Confidence: 1"),
        in_turn("go a"),
        method=Symphony(n=1, iterations=1, sim_depth=0),
        scheduler=RoundRobin(),
    )
    assert (result.tree[1].agent, [arm.credits for arm in ledger.arms]) == (1, [0, 1])


async def test_a_node_that_brings_no_child_is_closed_after_max_misses():
    result, _ = await search(say(expand="hm"), method=Symphony(max_misses=3, iterations=10))
    assert (result.stop_reason, result.iterations, result.tree[0].misses) == ("exhausted", 3, 3)


async def test_an_evaluation_that_cannot_be_read_is_asked_for_once_more_with_the_format():
    def script(request: Request) -> str:
        if request.draw.phase is Phase.EXPAND:
            return "Action: go a"
        return "Value: 0.6 Confidence: 0.5" if FORMAT_REMINDER in request.messages[-1].content else "fine"

    result, ledger = await search(script, method=Symphony(n=1, iterations=1, sim_depth=0))
    assert (result.tree[1].prior, result.fallbacks) == (0.6, 0)
    assert [call.phase for call in ledger.calls] == ["expand", "evaluate", "evaluate"]


async def test_an_evaluation_that_stays_unreadable_falls_back_and_is_counted():
    result, ledger = await search(
        say(expand="Action: go a", evaluate="fine"), scorer=EMCS(), method=Symphony(n=1, iterations=1, sim_depth=0)
    )
    score = result.tree[1].score
    assert score is not None
    assert (score.fallback, result.fallbacks) == (True, 1)
    assert result.tree[1].prior == pytest.approx(0.153, abs=1e-3)
    assert [call.phase for call in ledger.calls] == ["expand", "evaluate", "evaluate"]


async def test_a_failed_trajectory_is_reflected_on_once_a_failure_key():
    _, ledger = await search(
        in_turn("stop", "go a"), memory=PoolFifo(), method=Symphony(iterations=5, n=2, sim_depth=0)
    )
    keys = [reflection.key for reflection in ledger.reflections]
    assert len(keys) == len(set(keys)) >= 2


async def test_a_lesson_loses_its_label_and_reaches_the_later_prompts_of_both_phases():
    seen = Counter[str]()

    def script(request: Request) -> str:
        seen[request.draw.phase] += "lesson never stop" in request.messages[-1].content
        if request.draw.phase is Phase.REFLECT:
            return " Lesson: never stop "
        return (
            "Value: 0.5 Confidence: 0.9"
            if request.draw.phase is Phase.EVALUATE
            else ("Action: stop" if request.draw.index == 0 else "Action: go a")
        )

    _, ledger = await search(script, memory=PoolFifo(), method=Symphony(n=2, iterations=2, sim_depth=0))
    assert [reflection.text for reflection in ledger.reflections][:1] == ["never stop"]
    assert seen[Phase.EXPAND] == 2
    assert seen[Phase.EVALUATE] == 2


async def test_an_expansion_is_reminded_of_the_form_only_where_no_action_was_found():
    asked: list[str] = []

    def script(request: Request) -> str:
        if request.draw.phase is not Phase.EXPAND:
            return "Value: 0.5 Confidence: 0.9"
        asked.append(request.messages[-1].content.splitlines()[-1])
        return "Action: stop" if asked[-1] == "Write one action." or len(asked) == 2 else "I think that"

    task = Stub()
    task.prompts.again = "Write one action."
    await search(script, task=task, method=Symphony(n=3, iterations=1, sim_depth=0))
    assert asked == ["Guess the word."] * 3 + ["Write one action."] * 2


async def test_a_prompt_can_be_asked_for_without_its_lessons_in_every_phase():
    cut: dict[Phase, set[int]] = {}

    def script(request: Request) -> str:
        assert request.shorten is not None
        lessons = sum(line.startswith("lesson ") for line in request.messages[-1].content.splitlines())
        fewer = [request.shorten(dropped) for dropped in range(1, lessons + 1)]
        assert ["lesson " in messages[-1].content for messages in fewer] == [True] * (lessons - 1) + [False] * (
            lessons > 0
        )
        assert request.shorten(lessons + 1) == ()
        reminded = FORMAT_REMINDER in request.messages[-1].content
        assert all((FORMAT_REMINDER in messages[-1].content) == reminded for messages in fewer)
        cut.setdefault(request.draw.phase, set()).add(lessons + 10 * reminded)
        if request.draw.phase is Phase.REFLECT:
            return "Lesson: no."
        expands = request.draw.phase is Phase.EXPAND
        return ("Action: stop" if request.draw.index % 2 == 0 else "Action: go a") if expands else "unclear"

    await search(script, memory=PoolFifo(), method=Symphony(n=2, iterations=3, sim_depth=0))
    assert {phase: max(found) for phase, found in cut.items()} == {
        Phase.EXPAND: 2,
        Phase.EVALUATE: 12,
        Phase.REFLECT: 0,
    }


@pytest.mark.parametrize(("reflect_on", "lessons"), [("failure_or_limit", 1), ("failure", 0)])
async def test_reaching_the_depth_limit_is_a_failure_where_so_configured(reflect_on, lessons):
    method = Symphony(n=1, iterations=1, depth=1, sim_depth=0, reflect_on=reflect_on)
    _, ledger = await search(in_turn("go a"), memory=PoolFifo(), method=method)
    assert len(ledger.reflections) == lessons


@pytest.mark.parametrize("feedback", ["oracle", "none"])
@pytest.mark.parametrize(("reflect_on", "lessons"), [("failure_or_limit", 1), ("failure", 0)])
async def test_a_cut_by_the_horizon_is_a_failure_where_so_configured(reflect_on, lessons, feedback):
    method = Symphony(n=1, iterations=1, sim_depth=0, reflect_on=reflect_on)
    task = Stub(length=9, horizon=1, feedback=feedback)
    _, ledger = await search(in_turn("go a"), task=task, memory=PoolFifo(), method=method)
    assert len(ledger.reflections) == lessons


async def test_a_wrong_end_is_a_failure_either_way():
    method = Symphony(n=1, iterations=1, sim_depth=0, reflect_on="failure")
    _, ledger = await search(in_turn("stop"), memory=PoolFifo(), method=method)
    assert len(ledger.reflections) == 1


async def test_without_a_depth_a_simulation_ends_with_the_episode():
    method = Symphony(n=1, iterations=1, sim_width=1, sim_depth=None, depth=None)
    result, _ = await search(in_turn("go a"), task=Stub(length=9), method=method)
    assert (result.tree.nodes[-1].depth, result.tree.nodes[-1].state.terminated) == (9, True)


async def test_without_memory_nobody_reflects():
    _, ledger = await search(in_turn("stop"), memory=NoMemory())
    assert {call.phase for call in ledger.calls} == {"expand"}


async def test_simulated_nodes_hang_on_the_tree_without_being_children():
    result, ledger = await search(
        talk(), task=Stub(length=6), method=Symphony(iterations=1, n=4, sim_depth=3, sim_width=2)
    )
    simulated = [node for node in result.tree.nodes if node.origin == "simulate"]
    assert simulated
    assert not any(node.children for node in result.tree.nodes if node.id)
    assert {call.phase for call in ledger.calls} == {"expand", "evaluate", "sim_expand", "sim_evaluate"}


STEPS = in_turn("go a", value="Value: 0.5 Confidence: 1")


@pytest.mark.parametrize(
    ("settings", "length", "backed_up"),
    [
        ({"sim_value": "mean"}, 9, 0.5),
        ({"sim_value": "sum"}, 9, 1.0),
        ({"sim_value": "reward"}, 9, -1.0),
        ({"sim_value": "reward", "sim_cut": -0.5}, 9, -0.5),
        ({"sim_value": "mean"}, 3, 0.0),
        ({"sim_value": "sum"}, 3, 0.5),
        ({"sim_value": "reward"}, 3, 0.0),
        ({"sim_value": "mean", "sim_depth": 1}, 9, 0.5),
        ({"sim_value": "reward", "sim_depth": 1}, 9, 0.0),
        ({"sim_value": "sum", "sim_depth": 3, "sim_depth_from": "extra"}, 9, 1.5),
        ({"sim_value": "sum", "sim_depth": 9, "depth": 5}, 9, 2.0),
    ],
)
async def test_a_simulation_backs_up_what_is_configured(settings, length, backed_up):
    method = Official(**{"n": 1, "iterations": 1, "sim_width": 1, "sim_depth": 3, **settings})
    result, _ = await search(STEPS, task=Stub(length=length), method=method)
    assert result.tree[0].value_sum == pytest.approx(backed_up)


async def test_consensus_replaces_the_evaluator_in_simulations_only():
    method = Official(n=4, iterations=1, sim_width=4, sim_depth=2, judge="every", consensus="on")
    result, ledger = await search(in_turn("go a"), task=Stub(length=9), method=method)
    assert Counter(call.phase for call in ledger.calls) == {"expand": 4, "evaluate": 1, "sim_expand": 4}
    assert [node.prior for node in result.tree.nodes if node.origin == "simulate"] == [0.9]


async def test_without_feedback_nothing_counts_as_solved_and_the_best_valued_end_is_the_answer():
    def script(request: Request) -> str:
        if request.draw.phase in (Phase.EXPAND, Phase.SIM_EXPAND):
            return f"Action: go {'ab'[request.draw.index % 2]}"
        return (
            "Value: 0.9 Confidence: 1"
            if "submitted aab" in request.messages[-1].content
            else "Value: 0.3 Confidence: 1"
        )

    result, _ = await search(script, task=Stub(feedback="none"), target="aab", method=Symphony(n=2, sim_depth=0))
    assert result.stop_reason == "exhausted"
    assert result.state.data[0] == "aab"
    assert result.state.reward is None
    assert all(node.score is not None for node in result.tree.nodes if node.state.terminated)


async def test_without_feedback_an_unknown_verdict_is_no_failure_to_reflect_on():
    _, ledger = await search(in_turn("stop"), task=Stub(feedback="none"), memory=PoolFifo())
    assert not ledger.reflections
    _, ledger = await search(in_turn("go a"), task=Stub(feedback="none", horizon=1), memory=PoolFifo())
    assert len(ledger.reflections) == 1


async def test_calls_of_a_begun_expansion_are_used_when_the_budget_ends_within_it():
    result, ledger = await search(talk(), method=Symphony(n=4, sim_depth=0), budget=Budget(calls=2))
    assert (result.stop_reason, len(ledger.calls)) == ("calls", 2)
    assert len(result.tree) > 1


async def test_success_on_the_last_call_of_the_budget_is_success():
    result, _ = await search(in_turn("go a"), task=Stub(length=1), target="a", budget=Budget(calls=1))
    assert result.stop_reason == "solved"


async def test_lats_simulates_as_wide_as_it_is_told():
    item = problem("zzz")
    ledger = session(pool(talk()), item)
    await LATS(n=2, iterations=1, sim_width=1, sim_depth=2).solve(
        item, task=Stub(length=9), session=ledger, scheduler=RoundRobin(), scorer=Plain(), memory=NoMemory()
    )
    assert Counter(call.phase for call in ledger.calls)["sim_expand"] == 1


async def test_lats_is_the_loop_with_its_own_numbers():
    item = problem("zzz")
    ledger = session(pool(talk()), item)
    await LATS(iterations=1, sim_depth=0).solve(
        item, task=Stub(), session=ledger, scheduler=RoundRobin(), scorer=Plain(), memory=PoolFifo()
    )
    assert Counter((call.phase, call.temperature) for call in ledger.calls)["expand", 1.0] == 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 0},
        {"iterations": 0},
        {"depth": 0},
        {"c": -1.0},
        {"first_visit": "never"},
        {"sim_width": 0},
        {"sim_depth": -1},
        {"sim_depth_from": "above"},
        {"sim_value": "max"},
        {"consensus": "maybe"},
        {"reflect_on": "monday"},
        {"root_n": 0},
        {"uct_mean": "median"},
        {"select": "drop"},
        {"limit": "ask"},
        {"values": "random"},
        {"value_cache": "maybe"},
        {"backup": "max"},
        {"sim_end": "best"},
        {"resample": "twice"},
        {"distinct": "letter"},
        {"lessons": "none"},
        {"shown": "some"},
        {"reflect_temperature": -1.0},
        {"max_misses": 0},
        {"answer": "all"},
        {"evaluate_tokens": 0},
        {"reflect_tokens": 0},
    ],
)
def test_an_impossible_value_is_refused_with_its_key(wrong):
    with pytest.raises(SymphonyError, match=rf"search\.{next(iter(wrong))}"):
        Official(**wrong)


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"expand_tokens": 0}])
def test_an_impossible_sampling_is_refused(wrong):
    with pytest.raises(SymphonyError, match=rf"search\.{next(iter(wrong))}"):
        Symphony(**wrong)
