"""Checks what this machine has of what a study needs: one line each, with a remedy for what is missing."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from symphony.cores import usable_cores
from symphony.forecast.findings import Finding
from symphony.models.api.probe import PROMPT, Probe, probe
from symphony.models.chats import prompt_tokens
from symphony.models.devices import CARD, candidates
from symphony.models.endpoint import read_key
from symphony.models.folder import MANIFEST, PACKAGE, locate
from symphony.models.gguf.files import INSTALL, MODELS_VARIABLE
from symphony.plan import compose, options
from symphony.plan.model_spec import ModelSpec, NotThere, models
from symphony.plan.needs import has_data, unavailable, unplayed
from symphony.records import provenance
from symphony.tasks.programs.sandbox import PythonSandbox, shortfall
from symphony.types import Message, SymphonyError

_GPU = """
import json, torch
count = torch.cuda.device_count() if torch.cuda.is_available() else 0
found = [torch.cuda.get_device_properties(number) for number in range(count)]
print(json.dumps([[one.name, one.total_memory] for one in found]))
"""
_DECODE = """
import sys
from pathlib import Path
import numpy as np
from symphony.models.gguf.llama import Llama, Span
from symphony.types import SymphonyError
try:
    model = Llama(Path(sys.argv[1]), cells=256, chunk=256, threads=1)
    model.compute([Span(sequence=0, begin=0, tokens=np.zeros(32, np.int32), wanted=True)])
except SymphonyError as error:
    sys.exit(str(error))
"""
_PORTABLE = "CMAKE_ARGS=-DGGML_NATIVE=OFF pip install --force-reinstall --no-cache-dir --no-deps llama-cpp-python"
_SECONDS = 180
"""Timeout of a checking process; importing torch takes seconds, and longer on a busy machine."""
_PASSED_OVER = {
    "seed": "nothing to do, since the call store makes runs repeatable",
    "temperature": "see docs/models.md, What servers ignore; without it all proposals are alike",
    "stop": "nothing to do, since answers are cut at stop strings here as well",
    "n": "nothing to do, since each request asks for one choice",
    "logprobs": "nothing to do, except that scorer=token_probability falls back to plain values without them",
}


def examine(
    conf: Path, data: Path, outputs: Path, *, pools: Sequence[str] = (), studies: Sequence[str] = ()
) -> Iterator[Finding]:
    """Checks the machine, the options of `conf`, and the needs of pools and studies, in that order, one by one.

    Args:
        pools: Options of conf/pool/; a few tiny completions are asked from each of their endpoints.
        studies: Folders under conf/experiment/; their endpoints are not asked anything.

    Raises:
        SymphonyError: A pool or study does not exist or does not compose.
    """
    options.check_files(conf)
    asked = {name: compose.pool(name, conf=conf) for name in pools}
    runs = [run for name in studies for run in compose.plan(name, conf=conf, data=data)]
    cards = _cards()
    yield from machine(outputs, data, cards)
    yield from (_model(path.stem, conf, data) for path in sorted((conf / "model").glob("*.yaml")))
    yield from keys(conf)
    yield from (_data(path.stem, conf, data) for path in sorted((conf / "task").glob("*.yaml")))
    for pool, specs in asked.items():
        yield from (_agent(f"pool {pool}, agent {name}", spec, data, cards, ask=True) for name, spec in specs.items())
    studied = {(run.study, run.pool, name): spec for run in runs for name, spec in models(run.config).items()}
    for (study, pool, name), spec in studied.items():
        yield _agent(f"study {study}, pool {pool}, agent {name}", spec, data, cards, ask=False)
    for (study, task), run in {(run.study, run.task): run for run in runs}.items():
        why = unavailable(run)
        present = has_data(run.config, run.data(data))
        yield Finding(
            name=f"study {study}, task {task}",
            ok=present and not why,
            text=why or ("can be run" if present else "its data are missing"),
            remedy="" if present else f"symphony fetch task/{task}, or see docs/tasks.md",
            asked=True,
        )
    reasons: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        if not unavailable(run):
            reasons.setdefault((run.study, run.experiment), []).append(unplayed(run))
    for (study, experiment), per_task in reasons.items():
        if all(per_task):
            text = "; ".join(dict.fromkeys(per_task))
            yield Finding(name=f"study {study}, experiment {experiment}", ok=None, text=f"left out: {text}")


# --------------------------------------------------------------------------- the machine


def machine(outputs: Path, data: Path, cards: Sequence[tuple[str, int]] | Finding) -> Iterator[Finding]:
    """Checks versions, GPU, memory, disk, isolation and compiler."""
    versions = json.loads(provenance.versions())
    missing = [name for name, version in versions.items() if version == "not installed"]
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield Finding(name="Python", ok=not missing, text=text, remedy="pip install -e ." if missing else "")
    yield _gpu(cards)
    yield _memory()
    yield _cores()
    yield _engine()
    for name, folder in (("outputs", outputs), ("data", data)):
        place = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
        yield Finding(name=f"disk at {name}", ok=True, text=f"{_gb(shutil.disk_usage(place).free)} free")
    yield _sandbox()
    yield _rust()


def _cards() -> list[tuple[str, int]] | Finding:
    """Returns name and bytes of each GPU, in torch's order; a finding with the reason if torch cannot be asked.

    It uses a separate process, because importing torch here would slow down every command.
    """
    try:
        done = subprocess.run([sys.executable, "-c", _GPU], capture_output=True, text=True, timeout=_SECONDS)
        cards = json.loads(done.stdout or "null")
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        return Finding(name="GPU", ok=None, text=f"torch did not answer ({type(error).__name__})")
    if cards is None:
        last = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        return Finding(name="GPU", ok=False, text=f"torch cannot be imported ({last})", remedy="pip install -e .")
    return [(str(name), int(size)) for name, size in cards]


def _gpu(cards: Sequence[tuple[str, int]] | Finding) -> Finding:
    if isinstance(cards, Finding):
        return cards
    if not cards:
        return Finding(name="GPU", ok=None, text="none that torch can use; models with `device: auto` use the CPU")
    return Finding(name="GPU", ok=True, text=", ".join(f"{name}, {_gb(size)}" for name, size in cards))


def _memory() -> Finding:
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        total, free = (1024 * int(lines[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    except (OSError, ValueError, KeyError):
        return Finding(name="memory", ok=None, text=f"{platform.system()} does not report it")
    return Finding(name="memory", ok=True, text=f"{_gb(free)} of {_gb(total)} free")


def _cores() -> Finding:
    cores, total = usable_cores(), os.cpu_count() or 1
    text = f"{cores} of {total} for this process" if cores < total else f"{cores}"
    busy = os.getloadavg()[0]
    beside = f"; about {busy:.0f} other processes are using them" if busy > total / 2 else ""
    return Finding(name="cores", ok=True, text=f"{text}, the default number of threads for a GGUF model{beside}")


def _engine() -> Finding:
    """Checks the engine for GGUF files: whether it computes, and the files in the folder that the variable names."""
    folder = os.environ.get(MODELS_VARIABLE)
    files = sorted(Path(folder).glob("*.gguf")) if folder else []
    none = "no GGUF file" if folder and Path(folder).is_dir() else "no such folder"
    held = f"={folder}: {', '.join(file.name for file in files) or none}" if folder else " not set"
    lie = f"{MODELS_VARIABLE}{held}"
    try:
        engine = f"llama-cpp-python {version('llama-cpp-python')}"
    except PackageNotFoundError:
        return Finding(name="GGUF", ok=None, text=f"llama-cpp-python is not installed; {lie}", remedy=INSTALL)
    trouble, remedy = _decodes(min(files, key=lambda file: file.stat().st_size)) if files else ("", "")
    return Finding(name="GGUF", ok=not trouble, text=f"{engine}{trouble}; {lie}", remedy=remedy)


def _decodes(file: Path) -> tuple[str, str]:
    """Returns why llama.cpp cannot compute a prompt with a file, and what to do; empty texts if it can.

    It uses a separate process: a library compiled for instructions that this machine lacks kills its process.
    """
    try:
        done = subprocess.run([sys.executable, "-c", _DECODE, file], capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f" cannot compute a prompt with {file.name} ({type(error).__name__})", "try again on an idle machine"
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return f" crashes at the first prompt with {file.name} ({name})", f"compile it for any processor: {_PORTABLE}"
    last = (done.stderr.strip().splitlines() or [""])[-1]
    trouble = f" cannot compute a prompt with {file.name} ({last})"
    return (trouble, "fetch the file again") if done.returncode else ("", "")


def _sandbox() -> Finding:
    try:
        protection = PythonSandbox().protection
    except SymphonyError as error:
        return Finding(name="isolation of programs", ok=False, text=str(error))
    short = shortfall(protection, unprotected=False)
    return Finding(
        name="isolation of programs",
        ok=not short,
        text=short or protection,
        remedy="install bubblewrap, or run a kernel with landlock or user namespaces" if short else "",
    )


def _rust() -> Finding:
    path = shutil.which("rustc")
    if path is None:
        return Finding(name="rustc", ok=None, text="not on the PATH", remedy="only mbpp_rs needs it: https://rustup.rs")
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(name="rustc", ok=False, text=f"{path} cannot be run ({type(error).__name__})")
    return Finding(name="rustc", ok=done.returncode == 0, text=done.stdout.strip() or f"{path} reports no version")


# --------------------------------------------------------------------------- options


def _model(name: str, conf: Path, data: Path) -> Finding:
    try:
        spec = options.model(name, conf=conf)
        if spec.is_simulated:
            return Finding(name=f"model {name}", ok=True, text="simulated, needs nothing")
        if spec.is_endpoint:
            return Finding(name=f"model {name}", ok=None, text=f"API endpoint: {spec.build(data).revision}")
    except SymphonyError as error:
        return Finding(name=f"model {name}", ok=False, text=str(error), remedy=f"fix {conf}/model/{name}.yaml")
    ok, text, remedy = _weights(spec, data)
    return Finding(name=f"model {name}", ok=ok, text=text, remedy=remedy)


def _weights(spec: ModelSpec, data: Path) -> tuple[bool | None, str, str]:
    """Returns whether a local model is present and complete (None if not fetched yet), what exists, and what to do."""
    try:
        folder = spec.folder(data)
    except NotThere as error:
        return None, "not made yet" if error.command.startswith("snakemake") else "not fetched", error.command
    except SymphonyError as error:
        return False, str(error), "put it there, or fix it"
    if (own := spec.file(data)) and not own.is_relative_to(folder):
        return True, f"present: {own}", ""
    if spec.brought_by and not (folder / MANIFEST).is_file():
        return True, "present, but not from a finished download", spec.brought_by
    return True, "shipped" if folder.is_relative_to(PACKAGE) else "present", ""


def keys(conf: Path) -> Iterator[Finding]:
    """Checks for each API option that the variable it names holds a key; the key is never shown."""
    named: dict[str, list[str]] = {}
    for path in sorted((conf / "model").glob("*.yaml")):
        try:
            spec = options.model(path.stem, conf=conf)
        except SymphonyError:
            continue  # reported among the models
        if key_env := spec.settings.get("key_env"):
            named.setdefault(str(key_env), []).append(path.stem)
    for key_env, users in sorted(named.items()):
        yield _key(key_env, f"for {', '.join(users)}")


def _key(key_env: str, remedy: str) -> Finding:
    try:
        read_key(key_env)
    except SymphonyError:
        is_set = bool(os.environ.get(key_env, "").strip())
        text = "set, but not to a possible key" if is_set else "not set"
        return Finding(name=f"key {key_env}", ok=False if is_set else None, text=text, remedy=f"export it {remedy}")
    return Finding(name=f"key {key_env}", ok=True, text="set")


def _data(name: str, conf: Path, data: Path) -> Finding:
    try:
        task = compose.task([f"task={name}", "problems=1"], conf=conf, data=data)
        if not hasattr(task, "files"):
            return Finding(name=f"task {name}", ok=True, text="generated, needs no data")
        files = task.files()
    except SymphonyError as error:
        return Finding(name=f"task {name}", ok=None, text=_cause(error), remedy=f"symphony fetch task/{name}")
    return Finding(name=f"task {name}", ok=True, text=", ".join(str(file) for file in files))


# --------------------------------------------------------------------------- agents of a pool


def _agent(name: str, spec: ModelSpec, data: Path, cards: Sequence[tuple[str, int]] | Finding, *, ask: bool) -> Finding:
    if not spec.is_endpoint:
        ok, text, remedy = _weights(spec, data)
        names = [] if isinstance(cards, Finding) else [f"{CARD}:{number}" for number in range(len(cards))]
        try:
            candidates(spec.device, lambda: names)
        except SymphonyError as error:
            ok, text = False, f"{text}; {error}"
        return Finding(name=name, ok=ok, text=text, remedy=remedy, asked=True)
    settings = dict(spec.settings)
    model = spec.build(data)
    try:
        model.ready()
        if not ask:
            return Finding(name=name, ok=True, text=f"{model.revision}, not asked", asked=True)
        reply = probe(settings)
    except SymphonyError as error:
        return Finding(name=name, ok=False, text=str(error), remedy="export the key", asked=True)
    if not reply.answers:
        text = f"{model.revision} does not answer: {reply.problem}"
        return Finding(name=name, ok=False, text=text, remedy="start it, or fix base_url, model or key", asked=True)
    if reply.prompt_tokens is None:
        text = f"{model.revision} answers without a usable `usage`, so its calls would fail"
        return Finding(name=name, ok=False, text=text, remedy="see docs/models.md, What is tried again", asked=True)
    listed = "no list of models" if reply.models is None else f"{reply.models} models listed"
    parts = [f"{model.revision} answers", listed]
    for how in ("kept", "ignored", "refused", "unsure"):
        if names := getattr(reply, how):
            parts.append(f"{how}: {', '.join(names)}")
    if reply.repeats:
        parts.append("repeats the prompt in its answer")
    if reply.sequential and settings.get("at_once") != 1:
        parts.append("answers one request at a time: `at_once: 1` asks in the order of shared prefixes")
    if settings.get("tokenizer"):
        parts.append(_counts(reply.prompt_tokens, settings["tokenizer"], data))
    return Finding(name=name, ok=True, text="; ".join(parts), remedy=_advice(reply), asked=True)


def _counts(seen: int, tokenizer: str, data: Path) -> str:
    """Compares an endpoint's token seen of the probe's prompt with the tokenizer's."""
    try:
        own = prompt_tokens(locate(tokenizer, data), (Message(role="user", content=PROMPT),))
    except SymphonyError as error:
        return f"its tokenizer cannot be used ({error})"
    return "counts tokens as its tokenizer does" if seen == own else f"counts {seen} prompt tokens, its tokenizer {own}"


def _advice(reply: Probe) -> str:
    tips = [f"about {name}: {_PASSED_OVER[name]}" for name in reply.ignored]
    return "; ".join([*tips, *(["about the prompt: see docs/models.md, What servers ignore"] if reply.repeats else [])])


def _cause(error: SymphonyError) -> str:
    """Returns an error's text without what is allowed, since the remedy says what to do."""
    return str(error).partition(", allowed: ")[0]


def _gb(size: float) -> str:
    """Formats a size in units of 10^9 bytes."""
    return f"{size / 1e9:.1f} GB"
