"""A bundle is reproduced elsewhere without models: it is identical, or the first difference is named."""

from __future__ import annotations

import hashlib
import json
import lzma
from dataclasses import replace
from pathlib import Path

import pytest

from symphony.__main__ import main
from symphony.records.prompts import PROMPTS
from symphony.run.runner import Place
from symphony.sharing import bundle, replay
from symphony.sharing.archive import INDEX, unpack
from symphony.sharing.reproduce import reproduce
from symphony.studies import Prepared
from symphony.types import SymphonyError, canonical_json
from tests.sharing.conftest import Change, contents, describe, forged

Files = dict[str, bytes]


def told(path: Path, *, tables_alone: bool = False, out: Path | None = None) -> tuple[bool, str, list[str]]:
    """Whether it is the same, the line that says so, and the notes."""
    lines: list[str] = []
    notes: list[str] = []
    same = reproduce(path, lines.append, notes.append, tables_alone=tables_alone, out=out, processes=1)
    (line,) = lines
    return same, line, notes


def repeated(path: Path, folder: Path) -> replay.Replayed:
    """What becomes of the runs alone, without the tables."""
    folder.mkdir()
    index = unpack(path, folder)
    return replay.replay(folder, replay.thaw_groups(folder, index), folder / "data", 1)


def of_run(files: Files, name: str) -> str:
    """The name of a file of the one run."""
    (found,) = (path for path in files if path.startswith("runs/") and path.endswith(f"/{name}"))
    return found


def changed_record(name: str, **values: object) -> Change:
    """Changes the last line of a file of records, and the run's manifest as if it had been written so."""

    def change(files: Files) -> None:
        path = of_run(files, name)
        *lines, last = files[path].decode().splitlines()
        lines.append(json.dumps({**json.loads(last), **values}, ensure_ascii=False, separators=(",", ":")))
        files[path] = "".join(f"{line}\n" for line in lines).encode()
        described = of_run(files, "manifest.json")
        parts = json.loads(files[described])
        if parts[name]["sha256"] is not None:
            parts[name]["sha256"] = hashlib.sha256(files[path]).hexdigest()
        files[described] = json.dumps(parts).encode()

    return change


def changed_config(files: Files, key: str, values: dict[str, object]) -> None:
    """Changes the config of the frozen run, and every digest as if it were meant so."""
    (path,) = (name for name in files if name.startswith("groups/"))
    plain = json.loads(files[path])
    plain.pop("sha256")
    plain["runs"][0]["config"][key].update(values)
    digest = hashlib.sha256(canonical_json(plain).encode()).hexdigest()
    files[path] = json.dumps({**plain, "sha256": digest}).encode()


def changed_group(files: Files, **values: object) -> None:
    """Changes what a frozen group, or its one run, is called, and its digest as if it were meant so."""
    (path,) = (name for name in files if name.startswith("groups/"))
    plain = json.loads(files[path])
    plain.pop("sha256")
    for key, value in values.items():
        (plain if key in plain else plain["runs"][0])[key] = value
    digest = hashlib.sha256(canonical_json(plain).encode()).hexdigest()
    files[path] = json.dumps({**plain, "sha256": digest}).encode()


@pytest.mark.parametrize("key", ["name", "study", "task", "pool", "seed", "shared"])
@pytest.mark.parametrize("value", ["../../evil", "/tmp/evil", "", "a/b"])
def test_a_name_that_leads_out_of_the_folder_is_refused(key: str, value: str, bundled: Path, tmp_path: Path) -> None:
    named = [value] if key == "shared" else value
    hostile = forged(bundled, tmp_path / "hostile.zip", lambda files: changed_group(files, **{key: named}))
    with pytest.raises(SymphonyError, match=r"groups: found .*, allowed: "):
        repeated(hostile, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"hostile.zip", "out"}


def test_a_bundle_comes_out_identical_and_asks_no_model(bundled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symphony.plan.model_spec.ModelSpec.build", None)
    same, line, notes = told(bundled)
    files = sum(name.startswith("tables/") for name in contents(bundled))
    assert same
    assert line == f"identical: {files} files of tables from 1 runs; 1 of 1 runs repeated"
    assert notes == []


def test_the_same_records_make_the_same_bundle(
    bundled: Path, prepared: Prepared, outputs: Path, tmp_path: Path
) -> None:
    bundle.make("quickstart", prepared, Place(outputs=outputs), tmp_path / "again.zip", lambda _: None)
    assert (tmp_path / "again.zip").read_bytes() == bundled.read_bytes()


def test_a_bundle_has_prompts_only_if_asked(bundled: Path, prepared: Prepared, outputs: Path, tmp_path: Path) -> None:
    assert not [name for name in contents(bundled) if name.endswith(PROMPTS)]
    full = tmp_path / "full.zip"
    bundle.make("quickstart", prepared, Place(outputs=outputs), full, lambda _: None, prompts=True)
    assert of_run(contents(full), PROMPTS)
    assert repeated(full, tmp_path / "out").equal == 1


def test_a_bundle_names_no_folder_of_the_machine_that_made_it(bundled: Path, outputs: Path) -> None:
    for name, data in contents(bundled).items():
        text = lzma.decompress(data) if name.endswith(".xz") else data
        assert str(outputs).encode() not in text, name
        assert str(Path.home()).encode() not in text, name


@pytest.mark.slow
def test_what_is_kept_is_a_folder_of_outputs_with_a_report(
    bundled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(bundled, out=tmp_path / "out", tables_alone=True)[0]
    assert (tmp_path / "out" / "quickstart" / "report.html").is_file()
    assert main(["ls", "--runs", "--outputs", str(tmp_path / "out"), "--format", "json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)
    assert run["state"] == "done"


def test_a_folder_that_holds_files_is_left_alone(bundled: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SymphonyError, match="found files, allowed: a new or empty folder"):
        told(bundled, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_another_cell_of_a_table_is_named_with_table_row_and_column(bundled: Path, tmp_path: Path) -> None:
    def change(files: Files) -> None:
        head, row, *rest = files["tables/cost.csv"].decode().split("\n")
        files["tables/cost.csv"] = "\n".join([head, row.replace("SYMPHONY,", "SYMPHONIE,", 1), *rest]).encode()

    same, line, _ = told(forged(bundled, tmp_path / "other.zip", change))
    assert not same
    assert line.startswith("differs: table cost.csv, row 1 (SYMPHONIE")
    assert "'SYMPHONIE' in the bundle, 'SYMPHONY' here" in line


def test_a_record_that_no_table_shows_is_found_by_repeating_its_run(bundled: Path, tmp_path: Path) -> None:
    path = forged(bundled, tmp_path / "other.zip", changed_record("nodes.jsonl", thought="Another thought."))
    done = repeated(path, tmp_path / "out")
    assert done.equal == 0
    assert "(symphony, mini_qa, seed 0), nodes.jsonl, line " in done.difference
    assert "thought: 'Another thought.' in the bundle" in done.difference


def test_the_machine_and_the_commit_of_a_record_may_differ(bundled: Path, tmp_path: Path) -> None:
    path = forged(bundled, tmp_path / "other.zip", changed_record("runs.jsonl", hardware="an abacus"))
    assert repeated(path, tmp_path / "out").equal == 1


def test_another_recorded_answer_is_a_difference(bundled: Path, tmp_path: Path) -> None:
    def change(files: Files) -> None:
        name = "recordings/mini_qa-embedded_trio.jsonl.xz"
        lines = [json.loads(line) for line in lzma.decompress(files[name]).decode().splitlines()]
        lines = [[*line[:2], "Action: finish[Nobody]", *line[3:]] if line[0] == "call" else line for line in lines]
        files[name] = lzma.compress("".join(f"{json.dumps(line)}\n" for line in lines).encode())
        index = json.loads(files["recordings/manifest.json"])
        index["files"][name.partition("/")[2]]["sha256"] = describe(files[name])["sha256"]
        del index["sha256"]  # as an older version would have written it
        files["recordings/manifest.json"] = json.dumps(index).encode()

    done = repeated(forged(bundled, tmp_path / "other.zip", change), tmp_path / "out")
    assert done.equal == 0
    assert "mini_qa" in done.difference


def test_runs_without_recorded_answers_are_told_and_not_repeated(bundled: Path, tmp_path: Path) -> None:
    def change(files: Files) -> None:
        for name in [name for name in files if name.startswith("recordings/")]:
            del files[name]

    done = repeated(forged(bundled, tmp_path / "other.zip", change), tmp_path / "out")
    assert done == replay.Replayed(equal=0, difference="", left={"their answers were not recorded": 1})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"unprotected": True}, "would run programs without isolation"),
        ({"pages": "live"}, "would ask a network"),
        ({"wording": "/etc/prompts.yaml"}, "the prompts of task mini_qa are a file that is not in the bundle"),
    ],
)
def test_a_config_that_would_reach_out_of_the_bundle_is_not_carried_out(
    values: dict[str, object], message: str, bundled: Path, tmp_path: Path
) -> None:
    index = unpack(bundled, tmp_path)
    ((run,),) = (group.runs for group in replay.thaw_groups(tmp_path, index))
    reaching = replace(run, config={**run.config, "task": {**run.config["task"], **values}})
    assert message in replay.hindrance(reaching, tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.pop("plan.json"), r"plan\.json: found nothing"),
        (lambda files: files.update({"plan.json": b"[]"}), "found a list"),
        (lambda files: files.update({"plan.json": b'{"experiments": 3}'}), "experiments: allowed"),
        (lambda files: files.update({"plan.json": b'{"claims": [{"claim": {}}]}'}), "claims: found"),
        (lambda files: files.update({"plan.json": b'{"left_out": 3}'}), "TypeError"),
        (lambda files: files.pop(of_run(files, "calls.jsonl")), r"calls\.jsonl"),
        (lambda files: files.update({of_run(files, "calls.jsonl"): b"{}\n"}), r"calls\.jsonl"),
        (lambda files: files.update({of_run(files, "calls.jsonl"): b"\xff\xfe\n"}), r"calls\.jsonl"),
        (lambda files: files.update({of_run(files, "config.yaml"): b"!!python/object/apply:os.system [ls]"}), "config"),
        (lambda files: files.update({of_run(files, "manifest.json"): b"{}"}), r"manifest\.json"),
        (lambda files: changed_config(files, "search", {"n": 99}), "configs do not match their digests"),
        (lambda files: changed_config(files, "task", {"_target_": "os.system"}), "do not match their digests"),
        (
            lambda files: files.update({name: b"{}" for name in files if name.startswith("groups/")}),
            "the unchanged plan",
        ),
        (
            lambda files: [files.pop(name) for name in list(files) if name.startswith("groups/")],
            "found 0 configs of 1 runs",
        ),
        (
            lambda files: files.update({"quantised/llama-nf4/manifest.json": b"nothing"}),
            "found a file that is not JSON",
        ),
    ],
)
def test_contents_that_cannot_be_are_one_error_and_leave_nothing(
    change: Change, message: str, bundled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = forged(bundled, tmp_path / "hostile.zip", change)
    assert main(["reproduce", str(hostile), "--out", str(tmp_path / "out"), "--tables"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message.replace("\\", "") in line
    assert not any((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_two_processes_repeat_what_one_does_and_the_commands_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = ["quickstart", "tasks=[mini_qa,gridworld]", "seeds=[0]", "problems=1"]
    outputs = ["--outputs", str(tmp_path / "outputs")]
    assert main(["run", *study, "--experiment", "symphony", *outputs]) == 0
    assert main(["bundle", *study, *outputs, "--out", str(tmp_path / "study.zip")]) == 0
    assert "study.zip: 2 runs, " in capsys.readouterr().err
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert main(["reproduce", str(tmp_path / "study.zip")]) == 0
    line = capsys.readouterr().out.strip()
    assert line.endswith("files of tables from 2 runs; 2 of 2 runs repeated")


def test_the_index_comes_first_in_the_file(bundled: Path) -> None:
    assert next(iter(contents(bundled))) == INDEX
