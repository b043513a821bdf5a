"""The study laptop: what was used to develop prompts is not what it reports, and it asks all methods alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from symphony.plan import compose
from tests.shared_data import DATA, LAPTOP, needs

CONF = Path(__file__).parents[2] / "conf"
DEVELOPED = {
    "programs_python": range(200, 230),
    "programs_rust": range(200, 210),
    "hotpotqa": range(60, 70),
    "webshop": range(100, 106),
}
"""Positions in the files of the problems on which wording v2 was developed or tried, as its files say."""
WORDING = {
    "mbpp_py": "programs_python",
    "mbpp_rs": "programs_rust",
    "hotpotqa": "hotpotqa",
    "webshop_sample": "webshop",
}


@needs(*LAPTOP)
def test_no_problem_on_which_prompts_were_developed_is_reported() -> None:
    runs = compose.plan("laptop", experiment="symphony", conf=CONF, data=DATA)  # all have the same tasks
    for task in {run.task for run in runs}:
        of = next(name for name in WORDING if task.startswith(name))
        apart = DEVELOPED[WORDING[of]]
        shown = compose.task([f"task={of}", f"problems={len(apart)}", f"task.first={apart[0]}"], conf=CONF, data=DATA)
        reported = compose.task([f"task={task}", "problems=40"], conf=CONF, data=DATA)
        assert not {p.prompt for p in shown.problems()} & {p.prompt for p in reported.problems()}
        assert compose.task([f"task={task}"], conf=CONF, data=DATA).wording.startswith("v2")


@pytest.mark.parametrize("wording", sorted(DEVELOPED))
def test_a_wording_s_file_says_on_which_items_it_was_developed(wording: str) -> None:
    text = (CONF.parent / "symphony" / "tasks" / "prompts" / wording / "v2.yaml").read_text()
    head = " ".join(text.partition("instructions:")[0].replace("#", " ").split())
    assert (
        f" on {'goals' if wording == 'webshop' else 'items'} {DEVELOPED[wording][0]} to {DEVELOPED[wording][-1]} of"
        in head
    )


@pytest.mark.slow
def test_every_method_has_the_same_limits() -> None:
    runs = compose.plan("laptop", conf=CONF, data=DATA)
    for task in {run.task for run in runs}:
        assert len({str(run.config["budget"]) for run in runs if run.task == task}) == 1
    assert len({run.config["search"]["expand_tokens"] for run in runs}) == 1
