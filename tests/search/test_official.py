"""What the published code does its own way, a switch each, computed by hand; off unless it is named."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from symphony.agents.memory import PoolFifo
from symphony.agents.scheduler import UCB
from symphony.agents.scorer import Plain, emcs
from symphony.agents.session import Session
from symphony.search.official import Official, Select, temperatures
from symphony.search.official_values import positional, rescaled
from symphony.search.result import SearchResult, choose_answer
from symphony.search.tree import ROOT, Tree, UctMean
from symphony.types import Phase, Request, State, SymphonyError, Task, Turn
from tests.stub import Script, Stub, pool, problem, session

OPEN = State(observation="")
WRONG = State(observation="", reward=0.0, terminated=True)


async def search(
    method: Official, script: Script, *, task: Task | None = None, target: str = "zzz", scorer=None
) -> tuple[SearchResult, Session]:
    item = problem(target)
    ledger = session(pool(script), item)
    result = await method.solve(
        item, task=task or Stub(), session=ledger, scheduler=UCB(), scorer=scorer or Plain(), memory=PoolFifo(size=9)
    )
    return result, ledger


def answering(*actions: str, judge=lambda shown: "Value: 0.5 Confidence: 1") -> Script:
    """Expansions say these actions by their draw; `judge` sees the last line of the prompt."""

    def script(request: Request) -> str:
        if request.draw.phase in (Phase.EXPAND, Phase.SIM_EXPAND):
            return f"Action: {actions[request.draw.index % len(actions)]}"
        return "Lesson: no." if request.draw.phase is Phase.REFLECT else judge(request.messages[-1].content)

    return script


def grow(tree: Tree, parent: int, state: State = OPEN, *, prior: float | None = None) -> int:
    turn = Turn(thought="", action=f"a{len(tree)}", observation="")
    id = tree.add(parent, turn=turn, state=state, agent=0, origin="expand", iteration=1)
    if prior is not None:
        tree[id].prior = prior
    return id


# --------------------------------------------------------------------------- selection


@pytest.mark.parametrize(("uct_mean", "chosen"), [("mean", 1), ("double", 2)])
def test_double_divides_the_mean_by_the_visits_again(uct_mean: UctMean, chosen: int):
    """Means .9 of 3 visits and .5 of 1, no exploration: .9 > .5, but .9 / 3 = .3 < .5 / 1."""
    tree = Tree(OPEN)
    often, once = grow(tree, ROOT), grow(tree, ROOT)
    for _ in range(3):
        tree.backup(often, 0.9)
    tree.backup(once, 0.5)
    assert tree.select(0.0, "prior", uct_mean=uct_mean) == chosen


def test_double_is_the_published_bound():
    """W = 1.2 in 2 visits of 8: .6 / 2 + sqrt(2 ln 8 / 2) = 1.742."""
    tree = Tree(OPEN)
    child, rival = grow(tree, ROOT), grow(tree, ROOT)
    tree.backup(child, 0.5)
    tree.backup(child, 0.7)
    for _ in range(6):
        tree.backup(ROOT, 0.0)
    bound = 0.6 / 2 + math.sqrt(2 * math.log(8) / 2)
    tree[rival].prior = bound - 1e-9
    assert tree.select(math.sqrt(2), "prior", uct_mean="double") == child
    tree[rival].prior = bound + 1e-9
    assert tree.select(math.sqrt(2), "prior", uct_mean="double") == rival


def test_order_visits_new_children_as_they_were_made_whatever_their_value():
    tree = Tree(OPEN)
    grow(tree, ROOT, prior=0.1)
    grow(tree, ROOT, prior=0.9)
    assert (tree.select(2.0, "order"), tree.select(2.0, "inf")) == (1, 2)


def select(tree: Tree, rule: Select) -> list[int]:
    return Official(select=rule, c=0.0, first_visit="prior").leaves(tree, 1)


def test_prune_takes_a_node_whose_children_have_all_ended_from_its_parent():
    tree = Tree(OPEN)
    done, other = grow(tree, ROOT, prior=0.9), grow(tree, ROOT, prior=0.1)
    grow(tree, done, WRONG)
    assert select(tree, "prune") == [other]
    assert tree[ROOT].children == (other,)


def test_prune_expands_an_emptied_parent_again_and_close_does_not():
    tree = Tree(OPEN)
    child = grow(tree, ROOT)
    grow(tree, child, WRONG)
    assert select(tree, "prune") == [ROOT]
    closing = Tree(OPEN)
    child = grow(closing, ROOT)
    grow(closing, child, WRONG)
    closing.settle(child)
    assert select(closing, "close") == []


def test_prune_ends_where_all_children_of_the_root_have_ended():
    tree = Tree(OPEN)
    grow(tree, ROOT, WRONG)
    assert select(tree, "prune") == []


async def test_a_search_that_prunes_samples_the_same_actions_of_an_emptied_root_again():
    method = Official(n=1, iterations=4, sim_depth=0, select="prune")
    result, _ = await search(method, answering("go a"), task=Stub(length=2))
    assert [(node.parent, node.turn.action) for node in result.tree.nodes if node.turn] == [
        (0, "go a"),
        (1, "go a"),
        (0, "go a"),
        (3, "go a"),
    ]
    assert result.stop_reason == "iterations"
    result, _ = await search(Official(n=1, iterations=4, sim_depth=0), answering("go a"), task=Stub(length=2))
    assert (result.stop_reason, len(result.tree)) == ("exhausted", 3)


def test_pruning_goes_with_one_iteration_at_a_time():
    with pytest.raises(SymphonyError, match=r"search\.select: found 'prune', allowed only with parallel 1 and root"):
        Official(select="prune", parallel=2)


@pytest.mark.parametrize(("limit", "ended"), [("close", ("iterations", 3)), ("stop", ("exhausted", 2))])
async def test_stop_ends_the_search_where_one_branch_reaches_the_depth_limit(limit, ended):
    """`a` is judged .9 and expanded to depth 2; then its children are closed and `b` goes on, or one is selected."""

    def judge(shown: str) -> str:
        return f"Value: {0.9 if shown.endswith('a') else 0.1} Confidence: 1"

    method = Official(n=2, iterations=3, depth=2, sim_depth=0, c=0.0, limit=limit)
    result, _ = await search(method, answering("go a", "go b", judge=judge), task=Stub(length=9))
    assert (result.stop_reason, result.iterations) == ended


@pytest.mark.parametrize(("limit", "deepest"), [("close", 2), ("stop", 4)])
async def test_a_limit_that_closes_nothing_cuts_no_simulation(limit, deepest):
    method = Official(n=1, iterations=1, depth=2, sim_depth=3, sim_depth_from="extra", limit=limit)
    result, _ = await search(method, answering("go a"), task=Stub(length=9))
    assert max(node.depth for node in result.tree.nodes) == deepest


# --------------------------------------------------------------------------- values


def test_values_are_dealt_in_order_to_children_that_have_ended_too():
    assert positional([0.2, 0.9], [True, False, False]) == [0.2, 0.9, 0.0]


def test_a_purchase_of_reward_0_1_beside_a_sibling_of_0_337_counts_3_96():
    """R = .5 (1 - E(.9)) = .337; (.337 + 1) / .337 = 3.96."""
    sibling = emcs(0.5, 0.9)
    assert sibling == pytest.approx(0.337, abs=1e-3)
    assert rescaled([sibling], [False, True]) == pytest.approx([1.0, 3.96], abs=0.01)


def test_rescaling_without_any_value_divides_by_1():
    assert rescaled([], [True, True]) == [2.0, 2.0]


ENDS_FIRST = answering(
    "stop",
    "go a",
    "go b",
    judge=lambda shown: "Value: 0.2 Confidence: 1" if shown.endswith("a") else ("Value: 0.8 Confidence: 1"),
)


async def test_positional_values_and_credit_are_the_neighbours_and_the_simulation_starts_from_the_best_of_all():
    """Judged .2 and .8 behind an end: the end gets .2, the first .8, the second 0."""
    method = Official(n=3, iterations=1, sim_depth=0, sim_value="reward", values="positional")
    result, ledger = await search(method, ENDS_FIRST)
    assert [node.prior for node in result.tree.nodes] == [None, 0.2, 0.8, 0.0]
    assert [node.score and node.score.value for node in result.tree.nodes] == [None, None, 0.2, 0.8]
    assert ledger.arms[0].credits == 3
    assert ledger.arms[0].reward == pytest.approx(1.0)
    assert [node.visits for node in result.tree.nodes] == [1, 0, 1, 0]


async def test_rescaled_values_credit_the_end_with_more_than_1_and_simulate_from_it():
    method = Official(n=3, iterations=1, sim_depth=9, sim_value="reward", values="rescaled")
    result, ledger = await search(method, ENDS_FIRST, task=Stub(partial=True), target="zzz")
    assert [node.prior for node in result.tree.nodes] == [None, pytest.approx(2.25), 1.0, 0.0]
    assert ledger.arms[0].reward == pytest.approx(3.25)
    assert [node.visits for node in result.tree.nodes] == [1, 1, 0, 0]
    assert result.tree[ROOT].value_sum == 0.0


@pytest.mark.parametrize(("values", "credits"), [("own", 2), ("positional", 1), ("rescaled", 2)])
async def test_the_end_of_a_simulation_is_paid_in_webshop_and_not_in_hotpotqa(values, credits):
    method = Official(n=1, iterations=1, sim_depth=1, sim_depth_from="extra", values=values, judge="every")
    _, ledger = await search(method, answering("go a"), task=Stub(length=2))
    assert ledger.arms[0].credits == credits


@pytest.mark.parametrize(("value_cache", "calls"), [("off", 2), ("on", 1)])
async def test_the_cache_judges_the_same_path_under_the_same_lessons_once(value_cache, calls):
    """The step that a simulation takes below `a` is expanded again, and judged again, in the next iteration."""
    method = Official(n=1, iterations=2, sim_depth=2, value_cache=value_cache)
    _, ledger = await search(method, answering("go a"), task=Stub(length=9))
    judged = [call.prompt for call in ledger.calls if call.phase in ("evaluate", "sim_evaluate")]
    assert Counter(judged).most_common(1)[0][1] == calls


async def test_the_cache_gives_the_values_that_asking_gives():
    trees = []
    for value_cache in ("off", "on"):
        judge = answering("go a", "go b", judge=lambda shown: f"Value: 0.{len(shown) % 9} Confidence: 1")
        result, _ = await search(Official(n=2, iterations=4, value_cache=value_cache), judge, task=Stub(length=9))
        trees.append([(node.prior, node.visits, node.value_sum) for node in result.tree.nodes])
    assert trees[0] == trees[1]


# --------------------------------------------------------------------------- backup and simulation


@pytest.mark.parametrize(("backup", "own"), [("plain", 0.4), ("wrong_end", -1.0)])
def test_a_wrong_end_records_minus_1_for_itself_alone(backup, own):
    tree = Tree(OPEN)
    child = grow(tree, ROOT)
    end = grow(tree, child, WRONG)
    Official(backup=backup)._back_up(tree, child, end, 0.4)
    assert [(node.visits, node.value_sum) for node in tree.nodes] == [(1, 0.4), (1, 0.4), (1, pytest.approx(own))]


@pytest.mark.parametrize(("sim_end", "word"), [("first", "a"), ("last", "ab")])
async def test_of_several_ends_of_a_simulation_step_the_first_or_the_last_is_taken(sim_end, word):
    def script(request: Request) -> str:
        if request.draw.phase is Phase.SIM_EXPAND:
            return ("Action: stop", "Action: go b")[request.draw.index]
        return "Action: go a" if request.draw.phase is Phase.EXPAND else "Value: 0.1 Confidence: 1"

    method = Official(n=1, iterations=1, sim_width=2, sim_depth=2, sim_end=sim_end)
    result, _ = await search(method, script, task=Stub(length=2))
    assert [node.state.data[0] for node in result.tree.nodes if node.origin == "simulate" and node.visits] == [word]


def test_21_rounds_fall_from_0_2_to_0_01():
    rounds = list(temperatures(0.2))
    assert (len(rounds), rounds[:2]) == (21, [0.2, 0.2])
    assert (rounds[2], rounds[-1]) == pytest.approx((0.19, 0.01))


def mute_in_simulations(request: Request) -> str:
    if request.draw.phase is Phase.SIM_EXPAND:
        return "hm"
    return "Action: go a" if request.draw.phase is Phase.EXPAND else "Value: 0.5 Confidence: 1"


@pytest.mark.parametrize(("resample", "calls"), [("once", 8), ("never", 4), ("cooling", 84)])
async def test_a_simulation_step_without_any_action_costs_84_calls_at_falling_temperature(resample, calls):
    method = Official(n=4, iterations=1, sim_depth=2, resample=resample)
    _, ledger = await search(method, mute_in_simulations)
    assert sum(call.phase == "sim_expand" for call in ledger.calls) == calls


@pytest.mark.parametrize(("resample", "calls"), [("once", 3), ("never", 2), ("cooling", 2)])
async def test_the_published_code_drops_a_single_sample_without_an_action(resample, calls):
    _, ledger = await search(
        Official(n=2, iterations=1, sim_depth=0, resample=resample),
        lambda request: (
            ("hm", "Action: go a", "Action: go b")[request.draw.index]
            if request.draw.phase is Phase.EXPAND
            else "Value: 0.5 Confidence: 1"
        ),
    )
    assert sum(call.phase == "expand" for call in ledger.calls) == calls


class Thinking(Stub):
    """What stands before the action is a thought."""

    def parse(self, text: str):
        found = super().parse(text)
        return found and type(found)(thought=text.partition("\n")[0], action=found.action)


def musing(*thoughts: str) -> Script:
    """The action is `go a` whatever the thought."""

    def script(request: Request) -> str:
        if request.draw.phase in (Phase.EXPAND, Phase.SIM_EXPAND):
            return f"{thoughts[request.draw.index % len(thoughts)]}\nAction: go a"
        return "Value: 0.5 Confidence: 1"

    return script


@pytest.mark.parametrize(("distinct", "nodes"), [("action", 1), ("thought", 3)])
async def test_equal_actions_stay_apart_where_their_thoughts_differ(distinct, nodes):
    method = Official(n=4, iterations=1, sim_depth=0, distinct=distinct)
    result, _ = await search(method, musing("one", "two", "three", "one"), task=Thinking(length=9))
    assert len(result.tree) == 1 + nodes


@pytest.mark.parametrize(
    ("thoughts", "priors"),
    [(("one", "two", "three", "one"), [0.9, 0.9, 0.9]), (("one", "two"), [0.5, 0.5])],
)
async def test_consensus_of_nodes_wants_three_nodes_that_share_an_action(thoughts, priors):
    """n = 4: of samples all four agree in both cases, of nodes three do and then two, which is too few."""
    method = Official(n=4, iterations=1, sim_depth=2, distinct="thought", consensus="nodes")
    result, _ = await search(method, musing(*thoughts), task=Thinking(length=9))
    assert [node.prior for node in result.tree.nodes if node.origin == "simulate"] == priors


# --------------------------------------------------------------------------- lessons


async def test_lessons_are_all_written_again_at_each_new_failure_before_the_next_expansion():
    """A failure below `b` in iteration 2, then one below `a`: one reflection, then both, each before an expansion."""

    def script(request: Request) -> str:
        if request.draw.phase is Phase.EXPAND:
            return (
                ("Action: stop", "Action: go a")[request.draw.index]
                if request.draw.node
                else (f"Action: go {'abc'[request.draw.index]}")
            )
        return (
            f"Lesson: draw {request.draw.index}."
            if request.draw.phase is Phase.REFLECT
            else ("Value: 0.5 Confidence: 1")
        )

    method = Official(n=2, iterations=4, sim_depth=0, lessons="rewritten", first_visit="order")
    _, ledger = await search(method, script, task=Stub(length=9))
    assert [(lesson.iteration, lesson.key) for lesson in ledger.reflections] == [(3, "b"), (4, "b"), (4, "a")]
    assert [lesson.key for lesson in ledger.lessons] == ["b", "a"]


class Guesses(Stub):
    """Every letter but `e` is a wrong answer at once."""

    def step(self, state: State, action: str) -> State:
        after = super().step(state, action)
        wrong = after.data[0] in ("a", "b", "c", "d")
        return State(observation="no", reward=0.0, terminated=True, data=after.data) if wrong else after


@pytest.mark.parametrize(("first", "lessons"), [("abce", ["a", "b", "c"]), ("abcde", [])])
async def test_four_different_failures_at_once_bring_no_lesson_at_all_and_three_bring_three(first, lessons):
    def script(request: Request) -> str:
        if request.draw.phase is Phase.EXPAND:
            return f"Action: go {'e' if request.draw.node else first[request.draw.index]}"
        return "Lesson: no." if request.draw.phase is Phase.REFLECT else "Value: 0.5 Confidence: 1"

    method = Official(n=len(first), iterations=3, sim_depth=0, lessons="rewritten")
    _, ledger = await search(method, script, task=Guesses(length=9))
    assert [lesson.key for lesson in ledger.reflections] == lessons


async def test_in_webshop_a_failure_is_a_reward_not_seen_before_one_an_expansion():
    """Rewards 1/3 (a), 2/3 (ab) and 1/3 again end one expansion: one lesson, of the first."""

    class Buys(Stub):
        def step(self, state: State, action: str) -> State:
            rewards = {"go a": 1 / 3, "go b": 2 / 3, "go c": 1 / 3}
            if action in rewards:
                return State(observation="bought", reward=rewards[action], terminated=True, data=(action, "zzz"))
            return super().step(state, action)

    method = Official(n=4, iterations=2, sim_depth=0, lessons="rewritten_by_reward")
    _, ledger = await search(method, answering("go a", "go b", "go c", "go d"), task=Buys(length=9))
    assert [lesson.key for lesson in ledger.reflections][:1] == ["go a"]
    assert len(ledger.lessons) == 1


# --------------------------------------------------------------------------- programs


class Attempts(Stub):
    """The share of right letters is told after every step, as visible tests tell it; all right is success."""

    def step(self, state: State, action: str) -> State:
        word, target = action.removeprefix("go "), state.data[1]
        passed = {"a": 0.25, "b": 0.5, "c": 0.75, target[0]: 1.0}.get(word, 0.0)
        return State(
            observation=f"passed {passed}",
            progress=passed,
            reward=1.0 if passed == 1 else None,
            terminated=passed == 1,
            data=(word, target),
        )


PROGRAMS = Official(
    n=3,
    root_n=1,
    iterations=2,
    sim_depth=0,
    values="progress",
    backup="children",
    lessons="each_attempt",
    shown="path",
    answer="largest_sum",
    reflect_temperature=0.2,
)


async def test_a_first_attempt_is_refined_each_program_backed_up_and_the_largest_sum_is_the_answer():
    """.25 first, refined to .25, .5 and .75: N = 3 and W = 1.5 above them, and 0 visits of the attempt's own."""
    result, ledger = await search(PROGRAMS, answering("go a", "go b", "go c"), task=Attempts())
    assert [node.prior for node in result.tree.nodes] == [None, 0.25, 0.25, 0.5, 0.75]
    assert [(node.visits, node.value_sum) for node in result.tree.nodes[1:]] == [
        (3, 1.5),
        (1, 0.25),
        (1, 0.5),
        (1, 0.75),
    ]
    assert result.answer == 4
    assert {call.phase for call in ledger.calls} == {"expand", "reflect"}
    assert {call.temperature for call in ledger.calls if call.phase == "reflect"} == {0.2}


async def test_the_largest_sum_is_of_values_added_not_their_mean():
    tree = Tree(OPEN)
    once, often = grow(tree, ROOT), grow(tree, ROOT)
    tree.backup(once, 0.9)
    for _ in range(4):
        tree.backup(often, 0.3)
    assert choose_answer(tree, "largest_sum") == often


async def test_each_failing_program_is_reflected_on_though_the_episode_goes_on():
    _, ledger = await search(PROGRAMS, answering("go a", "go b", "go c"), task=Attempts())
    assert [lesson.node for lesson in ledger.reflections] == [1, 3, 4]  # node 2 is the program of node 1 again


@pytest.mark.parametrize(("shown", "lessons"), [("pool", 3), ("path", 2)])
async def test_a_prompt_carries_the_lessons_of_its_path_only(shown, lessons):
    """Below the best of three refinements: its own lesson and the first attempt's, not its siblings'."""
    seen: list[int] = []

    def script(request: Request) -> str:
        text = request.messages[-1].content
        if request.draw.phase is Phase.REFLECT:
            return "Lesson: no."
        seen.append(text.count("lesson "))
        return f"Action: go {'abc'[request.draw.index % 3]}"

    method = Official(
        n=3,
        root_n=1,
        iterations=3,
        sim_depth=0,
        values="progress",
        backup="children",
        lessons="each_attempt",
        shown=shown,
    )
    await search(method, script, task=Attempts())
    assert seen[-1] == lessons


# --------------------------------------------------------------------------- the answer


def test_a_purchase_on_a_pruned_branch_is_lost_to_the_answer():
    tree = Tree(OPEN)
    lost, left = grow(tree, ROOT), grow(tree, ROOT)
    better = grow(tree, lost, State(observation="", reward=0.8, terminated=True))
    worse = grow(tree, left, State(observation="", reward=0.3, terminated=True))
    assert choose_answer(tree, "oracle_kept") == better
    tree.detach(lost)
    assert (choose_answer(tree, "oracle_kept"), choose_answer(tree, "oracle_best")) == (worse, better)
