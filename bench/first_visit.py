"""Compares rules for how selection counts an unvisited child, on trees whose true values are known.

    python bench/first_visit.py

Each child's true value is its parent's, moved by up to 0.3 and kept in [0, 1]; the root's is 0.4. The evaluator reads
it with an error of up to `error`; a simulation from there shows it with an error of up to 0.2 and succeeds with
probability value ** RARE. An iteration selects a leaf, expands it, simulates from the child with the best prior and
backs the result up, as `Symphony` does. Trees have N children per node and end at depth DEPTH. Every rule gets the
same trees and searches each for all K iterations (c = 2), whether it has succeeded or not.

  untried   share of trees in which the truly best child of the root was never visited
  missed    the same over trees in which that child's prior was competitive: within 0.1 of the best prior
  regret    true value of the best child of the root minus that of the most visited
  solved    share of trees in which a simulation succeeded, which ends a search that sees rewards
"""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.search_core import STATE, TURN
from symphony.search.tree import ROOT, FirstVisit, Tree

N, DEPTH, RARE, C = 4, 6, 6, 2.0
RULES: tuple[FirstVisit, ...] = ("prior", "virtual", "inf", "order")
COMPETITIVE = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    untried: bool
    competitive: bool
    regret: float
    solved: bool


def search(rule: FirstVisit, iterations: int, error: float, seed: int) -> Outcome:
    """Searches one tree once; the tree's values depend only on the seed and the place."""
    tree, truth, places, solved = Tree(STATE), [0.4], [""], False

    def draw(place: str, what: str) -> random.Random:
        return random.Random(f"{seed} {what} {place}")

    for iteration in range(iterations):
        leaf = tree.select(C, rule)
        if leaf is None:
            break
        for number in range(N):
            closed = tree[leaf].depth + 1 >= DEPTH
            id = tree.add(leaf, turn=TURN, state=STATE, agent=0, origin="expand", iteration=iteration, closed=closed)
            places.append(f"{places[leaf]}{number}")
            truth.append(clipped(truth[leaf] + draw(places[id], "truth").uniform(-0.3, 0.3)))
            tree[id].prior = clipped(truth[id] + draw(places[id], "prior").uniform(-error, error))
        best = max(tree[leaf].children, key=lambda id: tree[id].prior or 0.0)
        result = draw(places[best], "simulation")
        solved = solved or result.random() < truth[best] ** RARE
        tree.backup(best, clipped(truth[best] + result.uniform(-0.2, 0.2)))
        tree.settle(leaf)
    return outcome(tree, truth, solved)


def outcome(tree: Tree, truth: list[float], solved: bool) -> Outcome:
    children = tree[ROOT].children
    best = max(children, key=lambda id: truth[id])
    priors = [tree[id].prior or 0.0 for id in children]
    chosen = max(children, key=lambda id: (tree[id].visits, tree[id].value_sum))
    return Outcome(
        untried=not tree[best].visits,
        competitive=(tree[best].prior or 0.0) >= max(priors) - COMPETITIVE,
        regret=truth[best] - truth[chosen],
        solved=solved,
    )


def clipped(value: float) -> float:
    return min(1.0, max(0.0, value))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trees", type=int, default=1000)
    trees = parser.parse_args().trees
    print("| K | error | rule | untried | missed | regret | solved |\n| --- | --- | --- | --- | --- | --- | --- |")
    for iterations, error in product((10, 30), (0.1, 0.4)):
        for rule in RULES:
            found = [search(rule, iterations, error, seed) for seed in range(trees)]
            competitive = [one for one in found if one.competitive]
            figures = (
                fmean(one.untried for one in found),
                fmean(one.untried for one in competitive),
                fmean(one.regret for one in found),
                fmean(one.solved for one in found),
            )
            print(f"| {iterations} | {error} | `{rule}` | {' | '.join(f'{figure:.3f}' for figure in figures)} |")


if __name__ == "__main__":
    main()
