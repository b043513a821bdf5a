"""The pages of the trees hold what the records hold, load without a server, and replace nothing of others."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from symphony.records.records import CallRecord, NodeRecord, ProblemRecord, ReflectionRecord, read_records
from symphony.report.study import open_study
from symphony.report.viewer import packs, pages
from symphony.report.viewer.data import read_searches
from symphony.run.runner import Place, run_group
from symphony.types import SymphonyError
from tests.report.conftest import MESSAGES, PROMPT, synthetic_run
from tests.report.viewer.conftest import publish, publish_folders, write_large_run
from tests.scripted_pool import Silent, backend, one_group


def received(script: Path) -> Any:
    """What a script hands to its page."""
    match = re.fullmatch(r'symphonyData\("([\w.-]+)", (.*)\);\n', script.read_text(), re.DOTALL)
    assert match
    assert f"{match[1]}.js" == script.name
    return json.loads(match[2])


def unpacked(data: Path, run: str, place: list[list[int]]) -> str:
    """A text as the page puts it together (`unpack` in common.js)."""
    parts = [received(data / f"{run}.{number}.js")[position] for number, position in place]
    return gzip.decompress(base64.b64decode("".join(parts))).decode()


def test_every_problem_is_in_the_index_and_in_the_script_of_its_run(tmp_path: Path) -> None:
    trees = publish(tmp_path, [synthetic_run("symphony"), synthetic_run("lats", problems=3)])
    listed = json.loads((trees / "index.json").read_text())
    packed = received(trees / "data" / "index.js")
    assert json.loads(gzip.decompress(base64.b64decode(packed))) == listed
    assert len(listed["problems"]) == 9
    for row in listed["problems"]:
        described = received(trees / "data" / f"{row['run']}.js")
        assert row["problem"] in [entry["problem"] for entry in described["problems"]]
        assert described["run"]["commit"] == "0123456789abcdef"


def test_a_page_has_the_nodes_calls_and_lessons_of_the_records(tmp_path: Path) -> None:
    trees = publish(tmp_path, [synthetic_run("symphony")])
    folder = tmp_path / "runs" / "symphony-gridworld-1"
    described = received(trees / "data" / f"{folder.name}.js")
    for entry in described["problems"]:
        shown = json.loads(unpacked(trees / "data", folder.name, entry["tree"]))
        tables: tuple[tuple[str, type[Any], tuple[str, ...]], ...] = (
            ("nodes", NodeRecord, ("node", "action", "observation", "visits", "value", "agent")),
            ("calls", CallRecord, ("call", "node", "agent", "text", "prompt", "prompt_tokens", "cost")),
            ("lessons", ReflectionRecord, ("node", "text", "agent")),
        )
        for key, record, same in tables:
            records: list[Any] = read_records(folder, record)
            kept = [one for one in records if one.problem == entry["problem"]]
            assert [[row[name] for name in same] for row in shown[key]] == [
                [getattr(one, name) for name in same] for one in kept
            ]


def test_the_prompts_of_a_problem_lie_beside_its_tree(tmp_path: Path) -> None:
    trees = publish(tmp_path, [synthetic_run("symphony")])
    described = received(trees / "data" / "symphony-gridworld-1.js")
    for entry in described["problems"]:
        (line,) = unpacked(trees / "data", "symphony-gridworld-1", entry["prompts"]).splitlines()
        assert json.loads(line)["messages"] == list(MESSAGES)
    assert described["without_prompts"] == ""


def test_the_twin_of_a_run_has_a_line_for_the_run_each_search_and_each_prompt(tmp_path: Path) -> None:
    trees = publish(tmp_path, [synthetic_run("symphony", problems=2)])
    with gzip.open(trees / "data" / "symphony-gridworld-1.jsonl.gz", "rt") as twin:
        run, *lines = [json.loads(line) for line in twin]
    assert run["experiment"] == "symphony"
    assert [(line["problem"], line.get("prompt")) for line in lines] == [
        ("gridworld-0", None),
        ("gridworld-0", PROMPT),
        ("gridworld-1", None),
        ("gridworld-1", PROMPT),
    ]


def test_a_run_without_prompts_says_that_they_were_not_kept(tmp_path: Path) -> None:
    trees = publish(tmp_path, [synthetic_run("symphony")], prompts=False)
    described = received(trees / "data" / "symphony-gridworld-1.js")
    assert "were not kept" in described["without_prompts"]
    assert [entry["prompts"] for entry in described["problems"]] == [[]] * 6


def test_without_the_folder_of_a_run_its_tree_is_shown_without_prompts(tmp_path: Path, synthetic_db: Path) -> None:
    with open_study(synthetic_db) as study:
        trees = pages.write_trees(study, tmp_path / "nowhere", tmp_path / "trees").parent
    assert "cannot be shown" in received(trees / "data" / "symphony-gridworld-1.js")["without_prompts"]


def test_equal_records_give_equal_pages(tmp_path: Path) -> None:
    runs = [synthetic_run("symphony"), synthetic_run("uniform")]
    first, second = publish(tmp_path / "one", runs), publish(tmp_path / "two", runs)
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in files)


@pytest.mark.parametrize("at_once", [1, 30, 10_000])
def test_how_many_runs_are_read_at_once_changes_nothing(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees = publish(tmp_path, [synthetic_run(name) for name in ("symphony", "uniform", "lats")])
    with open_study(trees.parent / "records.duckdb") as study:
        runs = [row[0] for row in study.rows("SELECT run FROM runs")]
        expected = list(read_searches(study.connection, runs))
        monkeypatch.setattr("symphony.report.viewer.data._AT_ONCE", at_once)
        assert list(read_searches(study.connection, runs)) == expected
    assert len(expected) == 18


def test_a_large_problem_is_cut_into_scripts_that_are_not_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "LARGEST", 1_500)
    trees = publish_folders(tmp_path, [write_large_run(tmp_path / "runs", 300)])
    (entry,) = received(trees / "data" / "r1.js")["problems"]
    assert len(entry["tree"]) > 2
    assert len(json.loads(unpacked(trees / "data", "r1", entry["tree"]))["nodes"]) == 301
    assert len(unpacked(trees / "data", "r1", entry["prompts"]).splitlines()) == 300
    assert all(path.stat().st_size < 1_600 for path in (trees / "data").glob("r1.*.js"))


def test_no_page_of_a_search_with_5000_nodes_is_larger_than_5_mb(large_trees: Path) -> None:
    assert max(path.stat().st_size for path in large_trees.rglob("*") if path.suffix in (".js", ".html")) < 5_000_000


def test_pages_replace_those_made_before_and_nothing_else(tmp_path: Path, synthetic_db: Path) -> None:
    with open_study(synthetic_db) as study:
        for _ in range(2):
            pages.write_trees(study, tmp_path, tmp_path / "trees")
        other = tmp_path / "work"
        other.mkdir()
        (other / "index.json").write_text("years of work")
        with pytest.raises(SymphonyError, match="work: found files that this command did not make"):
            pages.write_trees(study, tmp_path, other)
        with pytest.raises(SymphonyError, match=r"index\.json: found a file, allowed: a folder"):
            pages.write_trees(study, tmp_path, other / "index.json")
    assert [path.name for path in other.iterdir()] == ["index.json"]


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "", "x" * 200, 'a"b'])
def test_a_run_whose_name_cannot_be_a_file_is_refused(name: str) -> None:
    with pytest.raises(SymphonyError, match="found a name that cannot be a file's"):
        packs.check_name(name)


def test_a_node_is_made_by_a_call_of_its_agent_for_its_parent_that_proposed_its_action(tmp_path: Path) -> None:
    group = one_group("symphony", "problems=3")
    run_group(group, Place(outputs=tmp_path), Silent(), backend)
    folder = tmp_path / "runs" / group.runs[0].digest
    trees = publish_folders(tmp_path, [folder])
    ids = [problem.problem for problem in read_records(folder, ProblemRecord)]
    for entry in received(trees / "data" / f"{folder.name}.js")["problems"]:
        shown = json.loads(unpacked(trees / "data", folder.name, entry["tree"]))
        assert entry["problem"] in ids
        assert shown["nodes"][0]["made"] == 0
        for node in shown["nodes"][1:]:
            call = shown["calls"][node["made"] - 1]
            assert (call["agent"], call["node"], call["iteration"]) == (
                node["agent"],
                node["parent"],
                node["iteration"],
            )
            assert call["phase"] in ("expand", "sim_expand")
            assert shown["nodes"][node["parent"]]["made"] < node["made"]
        for call in shown["calls"]:
            pick = shown["picks"][call["pick"]]
            assert all(pick[key] == call[key] for key in ("agent", "node", "phase", "iteration"))
