"""Exports are what the readers of other tools expect, and nothing of the records is lost or made up."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from symphony.__main__ import main
from symphony.records.configs import CONFIGS, SETTINGS
from symphony.records.database import load, reading
from symphony.records.records import TABLES, CallRecord, NodeRecord, ProblemRecord, RunRecord, read_records
from symphony.sharing import exports
from symphony.types import SymphonyError
from tests.report.conftest import MESSAGES, synthetic_run

Study = tuple[Path, list[Path]]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A loaded database and its runs' folders."""
    outputs = tmp_path_factory.mktemp("exported")
    folders = [synthetic_run(name, problems=3).write(outputs / "runs") for name in ("symphony", "react")]
    load(outputs / "records.duckdb", folders)
    return outputs / "records.duckdb", folders


def export(name: str, study: Study, out: Path) -> Path:
    exports.export(name, *study, out, lambda _: None)
    return out


def nodes_of(folder: Path, problem: str) -> list[NodeRecord]:
    return [node for node in read_records(folder, NodeRecord) if node.problem == problem]


# --------------------------------------------------------------------------- Parquet


def test_every_table_is_a_parquet_file_with_the_same_rows(study: Study, tmp_path: Path) -> None:
    import duckdb

    export("parquet", study, tmp_path)
    with reading(study[0]) as connection:
        for table in (*TABLES, CONFIGS, SETTINGS):
            found = duckdb.sql(f"FROM '{tmp_path / table}.parquet'")
            assert found.columns == [row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()]
            assert found.fetchall() == connection.execute(f"FROM {table}").fetchall()


def test_prompts_are_a_parquet_file_that_calls_join(study: Study, tmp_path: Path) -> None:
    import duckdb

    export("parquet", study, tmp_path)
    query = (
        f"SELECT count(*), min(messages) FROM '{tmp_path}/calls.parquet' "
        f"JOIN '{tmp_path}/prompts.parquet' USING (run, problem, prompt)"
    )
    calls = sum(len(read_records(folder, CallRecord)) for folder in study[1])
    assert duckdb.sql(query).fetchall() == [(calls, list(MESSAGES))]


def test_an_export_replaces_its_own_files_only(study: Study, tmp_path: Path) -> None:
    for _ in range(2):
        export("parquet", study, tmp_path)
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SymphonyError, match=r"found thesis\.tex, which this command did not make"):
        export("parquet", study, tmp_path)


@pytest.mark.parametrize("name", ["inspect", "treequest"])
def test_a_format_whose_library_is_not_there_says_what_brings_it(
    name: str, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "find_spec", lambda _: None)
    with pytest.raises(SymphonyError, match=rf"--format {name}: found no \w+, allowed: after pip install"):
        export(name, study, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_line_knows_the_formats(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export", "quickstart", "--format", "xml", "--out", "x"])
    assert "choose from" in capsys.readouterr().err


# --------------------------------------------------------------------------- TreeQuest


def states(folder: Path, out: Path) -> dict[str, object]:
    found: dict[str, object] = pickle.loads((out / f"{folder.name}.pickle").read_bytes())
    return found


def test_treequest_reads_every_tree_with_its_order_visits_and_values(study: Study, tmp_path: Path) -> None:
    treequest = pytest.importorskip("treequest", reason="no treequest (pip install -e '.[ab-mcts]')")
    export("treequest", study, tmp_path)
    for folder in study[1]:
        for problem, state in states(folder, tmp_path).items():
            nodes = nodes_of(folder, problem)
            found = state.tree.get_nodes()  # type: ignore[attr-defined]
            assert [node.state for node in found] == [asdict(node) for node in nodes]
            assert [node.expand_idx for node in found] == [node.node - 1 for node in nodes]
            parents = [None if node.parent is None else node.parent.expand_idx + 1 for node in found]
            assert parents == [node.parent for node in nodes]
            visits = {node.node - 1: node.visits for node in nodes if node.visits}
            assert state.visit_counts == visits  # type: ignore[attr-defined]
            best = treequest.top_k(state, treequest.StandardMCTS(), k=1)
            assert best[0][1] == max(node.prior or 0.0 for node in nodes[1:])


def test_treequest_goes_on_from_an_exported_tree(study: Study, tmp_path: Path) -> None:
    treequest = pytest.importorskip("treequest", reason="no treequest (pip install -e '.[ab-mcts]')")
    export("treequest", study, tmp_path)
    state = next(iter(states(study[1][0], tmp_path).values()))
    before = len(state.tree)  # type: ignore[attr-defined]
    state = treequest.StandardMCTS().step(state, {"agent": lambda parent: ("more", 0.5)})
    assert len(state.tree) == before + 1


def test_a_very_deep_tree_is_exported(tmp_path: Path) -> None:
    pytest.importorskip("treequest", reason="no treequest (pip install -e '.[ab-mcts]')")
    run = synthetic_run(problems=1)
    root, child = run.nodes[:2]
    line = [replace(child, node=number, parent=number - 1, depth=number) for number in range(1, 2000)]
    run.nodes = [root, *line]
    run.problems = [replace(run.problems[0], nodes_tree=len(line), nodes_simulated=0)]
    folder = run.write(tmp_path / "runs")
    export("treequest", (tmp_path / "none", [folder]), tmp_path / "out")
    (state,) = states(folder, tmp_path / "out").values()
    assert len(state.tree) == 2000  # type: ignore[attr-defined]


# --------------------------------------------------------------------------- Inspect


@pytest.fixture(scope="module")
def logs(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("inspect_ai", reason="no inspect-ai (pip install -e '.[inspect]')")
    return export("inspect", study, tmp_path_factory.mktemp("logs"))


def test_inspect_lists_one_log_a_run(study: Study, logs: Path) -> None:
    from inspect_ai.log import list_eval_logs, read_eval_log

    found = [read_eval_log(info, header_only=True) for info in list_eval_logs(str(logs))]
    assert {log.eval.eval_id for log in found} == {folder.name for folder in study[1]}
    for log in found:
        problems = read_records(logs_folder(study[1], log.eval.eval_id), ProblemRecord)
        accuracy = log.results.scores[0].metrics["accuracy"].value
        assert accuracy == sum(problem.success for problem in problems) / len(problems)
        assert log.status == "success"


def logs_folder(folders: Sequence[Path], run: str) -> Path:
    return next(folder for folder in folders if folder.name == run)


def test_inspect_reads_every_problem_call_and_node(study: Study, logs: Path) -> None:
    from inspect_ai.log import read_eval_log

    for folder in study[1]:
        log = read_eval_log(str(logs / f"{folder.name}.eval"), resolve_attachments=True)
        (run,) = read_records(folder, RunRecord)
        assert (log.eval.task, log.eval.model, log.eval.solver) == (run.task, run.pool, run.experiment)
        assert log.eval.metadata["hardware"] == run.hardware
        problems = read_records(folder, ProblemRecord)
        assert [sample.id for sample in log.samples] == [problem.problem for problem in problems]
        for sample, problem in zip(log.samples, problems, strict=True):
            calls = [call for call in read_records(folder, CallRecord) if call.problem == problem.problem]
            told = sorted((e for e in sample.events if e.event == "model"), key=lambda e: e.metadata["call"])
            assert [event.output.completion for event in told] == [call.text for call in calls]
            assert [[message.text for message in event.input] for event in told] == [
                [message["content"] for message in MESSAGES] for _ in calls
            ]
            assert sum(event.output.usage.total_tokens for event in told) == (
                problem.prompt_tokens + problem.completion_tokens
            )
            made = [event.data for event in sample.events if event.event == "info" and event.source.endswith("node")]
            assert sorted(node["node"] for node in made) == [node.node for node in nodes_of(folder, problem.problem)]
            assert sample.scores["success"].value == ("C" if problem.success else "I")
            assert sample.scores["score"].value == problem.score
