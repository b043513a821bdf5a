"""Compares the engine for GGUF files with a bare llama.cpp loop and with transformers, on real models.

    SYMPHONY_MODELS=FOLDER python bench/engines.py [--hf] [--models NAME ...] [--played [--wording v1]]

Needs the extra `gguf`, the files of pool `laptop` in the folder, and for the played run the data of mbpp_py (--data).
It uses one thread unless stated otherwise; speeds are tokens per CPU-second, so that other load has little effect.
  prompt, decode B     tokens per CPU-second: one prompt of 512 tokens; B rows that generate 48 tokens each, for a bare
                       loop (llama_decode and argmax, nothing else) and for the engine (draws, log-probabilities,
                       stop strings, text), in turn
  gguf_share_of_raw    the engine's decoding speed over the bare loop's, the smallest over all models and batches
  trie_ratio           prompt tokens computed over distinct tokens of the trie of all prompts, in a run of SYMPHONY on
                       three problems of mbpp_py by the two smaller models (--wording: of its prompts)
  trie_ratio_generated the same over the distinct tokens that no completion had generated: these lie in the cache, too,
                       when a later prompt repeats them, so 1.0 is the limit of this one
  cached               share of the run's prompt tokens that came from the cache
  gguf_speedup_over_hf with --hf: CPU-seconds of the Hugging Face backend (float32, same weights, the calls of that run
                       in their original batches) over the engine's; it keeps nothing across calls, as at 3d8d9ad;
                       `_with_tree` is the same with what it keeps by default
  busy_neighbour_share wall-clock speed of the engine with two threads next to two busy processes, over that alone
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from symphony.models.gguf.backend import GGUFBackend
from symphony.models.gguf.files import MODELS_VARIABLE
from symphony.models.gguf.llama import Llama, Span
from symphony.models.gguf.unpack import unpack
from symphony.models.hf.backend import CACHE_TOKENS, HFBackend
from symphony.plan.compose import plan
from symphony.plan.model_spec import ModelSpec
from symphony.plan.specs import Group, groups
from symphony.run.progress import watch
from symphony.run.runner import Place, run_group
from symphony.types import Completion, Draw, Message, Phase, Request, Sampling

ROOT = Path(__file__).parents[1]
FILES = {
    "coder_1_5b": "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    "coder_0_5b": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    "smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf",
}
BATCHES = (1, 8, 16, 32)
PROMPT, NEW = 512, 48
WORDS = [
    "the",
    "quick",
    "river",
    "ran",
    "past",
    "an",
    "old",
    "stone",
    "mill",
    "where",
    "nobody",
    "had",
    "ground",
    "any",
    "corn",
    "for",
    "many",
    "a",
    "long",
    "year",
    "and",
]


def request(text: str, index: int, tokens: int) -> Request:
    sampling = Sampling(temperature=0.8, max_tokens=tokens)
    draw = Draw(seed=0, problem=str(index), node=0, phase=Phase.EXPAND, index=index)
    return Request(messages=(Message(role="user", content=text),), sampling=sampling, draw=draw)


def cpu(work: Callable[[], Any]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


# --------------------------------------------------------------------------- speeds


def texts(rows: int) -> list[Request]:
    return [request(f"{number} {WORDS[number % 20]}", number, NEW) for number in range(rows)]


def bare(backend: GGUFBackend, llama: Llama, rows: int) -> float:
    """Measures CPU-seconds of `NEW` steps of that many rows: nothing but llama_decode and argmax."""
    prompts = [np.array(row.prompt, np.int32) for row in backend.rows(texts(rows))]
    spans = [Span(sequence=row, begin=0, tokens=prompt, wanted=True) for row, prompt in enumerate(prompts)]
    logits = [llama.compute([span])[0].copy() for span in spans]
    ends = [len(prompt) for prompt in prompts]

    def decode(logits: Sequence[np.ndarray]) -> None:
        for step in range(NEW):
            tokens = [np.array([one.argmax()], np.int32) for one in logits]
            spans = [
                Span(sequence=row, begin=ends[row] + step, tokens=token, wanted=True)
                for row, token in enumerate(tokens)
            ]
            logits = llama.compute(spans)

    took = cpu(lambda: decode(logits))
    for row in range(rows):
        llama.forget(row)
    return took


def engine(backend: GGUFBackend, rows: int) -> float:
    """Measures CPU-seconds per generated token, times rows times `NEW`, once every row generates."""
    backend.submit(texts(rows))
    backend.step()
    backend.step()
    before = backend.engine.generated

    def finish() -> None:
        while backend.engine.busy:
            backend.step()

    took = cpu(finish)
    made = backend.engine.generated - before
    return took * rows * NEW / max(1, made)


def speeds(file: Path) -> dict[str, Any]:
    never_ending = GGUFBackend(file, threads=1, cells=8192, rows=32)
    llama = Llama(file, cells=8192, chunk=PROMPT, threads=1)
    never_ending.llama.vocabulary.is_end = lambda token: False  # type: ignore[method-assign]
    tokens = np.array(llama.vocabulary.encode(" ".join(WORDS * 40)), np.int32)[:PROMPT]
    prompt = cpu(lambda: llama.compute([Span(sequence=0, begin=0, tokens=tokens, wanted=True)]))
    llama.forget(0)
    found: dict[str, Any] = {"prompt": len(tokens) / prompt}
    for rows in BATCHES:
        ours, raw = [], []
        for _ in range(2):
            ours.append(engine(never_ending, rows))
            raw.append(bare(never_ending, llama, rows))
        found[f"decode {rows}"] = rows * NEW / min(ours)
        found[f"bare {rows}"] = rows * NEW / min(raw)
    return found


# --------------------------------------------------------------------------- a played run


@dataclass
class Played:
    """A model that records the prompts and the batches it was asked, and the tokens of each row."""

    backend: GGUFBackend
    batches: list[list[Request]] = field(default_factory=list)
    prompts: list[tuple[int, ...]] = field(default_factory=list)
    sequences: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    took: float = 0.0

    def __post_init__(self) -> None:
        self.revision, self.size, self.counter = self.backend.revision, self.backend.size, self.backend.counter
        engine, go_on = self.backend.engine, self.backend.engine._go_on

        def noted(going: Any, logits: Any) -> Completion | None:
            answer = go_on(going, logits)
            if answer is not None:
                self.sequences.append((len(going.row.prompt), (*going.row.prompt, *going.tokens)))
            return answer

        engine._go_on = noted  # type: ignore[method-assign]

    def submit(self, requests: Sequence[Request], first: int = 0) -> list[tuple[int, Completion]]:
        self.batches.append(list(requests))
        self.prompts += [row.prompt for row in self.backend.rows(requests)]
        begin = time.process_time()
        refused = self.backend.submit(requests, first)
        self.took += time.process_time() - begin
        return refused

    def step(self) -> list[tuple[int, Completion]]:
        begin = time.process_time()
        answers = self.backend.step()
        self.took += time.process_time() - begin
        return answers

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        raise NotImplementedError


def small_pool(data: Path, wording: str | None) -> Group:
    """Returns a group with SYMPHONY on three problems of mbpp_py by the two smaller models."""
    overrides = ["tasks=[mbpp_py]", "seeds=[0]", "problems=3", "pool=laptop", "~pool.agents.coder_1_5b"]
    if wording:
        overrides.append(f"task.wording={wording}")
    (group,) = groups(plan("sample", overrides, experiment="programs", conf=ROOT / "conf"))
    return group


def play(folder: Path, data: Path, wording: str | None) -> dict[str, Played]:
    played: dict[str, Played] = {}

    def make(spec: ModelSpec) -> Played:
        file = spec.settings["file"]
        played[file] = Played(GGUFBackend(folder, file=file, threads=1))
        return played[file]

    with tempfile.TemporaryDirectory() as outputs, watch() as progress:
        run_group(small_pool(data, wording), Place(outputs=Path(outputs), data=data), progress, make)
    return played


def distinct(prompts: Sequence[tuple[int, ...]]) -> int:
    """Counts the nodes of the trie of all prompts."""
    count, before = 0, ()
    for prompt in sorted(prompts):
        pairs = enumerate(zip(prompt, before, strict=False))
        common = next((at for at, (a, b) in pairs if a != b), min(len(prompt), len(before)))
        count += len(prompt) - common
        before = prompt
    return count


def never_generated(prompts: Sequence[tuple[int, ...]], sequences: Sequence[tuple[int, tuple[int, ...]]]) -> int:
    """Nodes of the trie of all prompts, without those that a completion generated.

    Args:
        sequences: Of each row: length of its prompt, and all of its tokens.
    """
    trie: dict[tuple[int, int], int] = {}

    def nodes(tokens: Sequence[int]) -> list[int]:
        found, at = [], 0
        for token in tokens:
            at = trie.setdefault((at, token), len(trie) + 1)
            found.append(at)
        return found

    asked = {node for prompt in prompts for node in nodes(prompt)}
    return len(asked - {node for length, tokens in sequences for node in nodes(tokens)[length:]})


def by_transformers(file: Path, batches: Sequence[Sequence[Request]], cache_tokens: int) -> float:
    """Measures CPU-seconds of the Hugging Face backend on the same weights, with or without its prefix tree."""
    with tempfile.TemporaryDirectory() as folder:
        unpack(file, Path(folder))
        backend = HFBackend(folder, cache_tokens=cache_tokens)
        return sum(cpu(lambda batch=batch: backend.generate(batch)) for batch in batches)


# --------------------------------------------------------------------------- neighbours


def _spin() -> None:
    while True:
        pass


def rate(backend: GGUFBackend) -> float:
    """Measures tokens per second of eight rows."""
    begin, before = time.perf_counter(), backend.engine.generated
    backend.generate(texts(8))
    return (backend.engine.generated - before) / (time.perf_counter() - begin)


def busy_share(file: Path) -> float:
    backend = GGUFBackend(file, threads=2)
    rate(backend)
    alone = max(rate(backend) for _ in range(2))
    others = [multiprocessing.get_context("spawn").Process(target=_spin, daemon=True) for _ in range(2)]
    for other in others:
        other.start()
    time.sleep(1)
    try:
        beside = rate(backend)
    finally:
        for other in others:
            other.kill()
    return beside / alone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hf", action="store_true")
    parser.add_argument("--models", nargs="+", default=list(FILES), choices=list(FILES))
    parser.add_argument("--data", type=Path, default=ROOT / "data")
    parser.add_argument("--played", action="store_true", help="only the played run")
    parser.add_argument("--wording")
    given = parser.parse_args()
    folder = Path(os.environ[MODELS_VARIABLE])
    figures: dict[str, Any] = {}
    table = {name: speeds(folder / FILES[name]) for name in given.models if not given.played}
    for name, found in table.items():
        print(name, ", ".join(f"{key} {value:.1f}" for key, value in found.items()), flush=True)
    shares = [found[f"decode {rows}"] / found[f"bare {rows}"] for found in table.values() for rows in BATCHES]
    if shares:
        figures["gguf_share_of_raw"] = min(shares)
    played = play(folder, given.data, given.wording)
    computed = sum(one.backend.engine.prompted - one.backend.engine.reused for one in played.values())
    prompted = sum(one.backend.engine.prompted for one in played.values())
    figures["calls"] = sum(len(one.prompts) for one in played.values())
    figures["trie_ratio"] = computed / sum(distinct(one.prompts) for one in played.values())
    least = sum(never_generated(one.prompts, one.sequences) for one in played.values())
    figures["trie_ratio_generated"] = computed / least
    figures["cached"] = 1 - computed / prompted
    ours = sum(one.took for one in played.values())
    figures["engine_cpu_s"] = ours
    if given.hf:
        for name, cache_tokens in (("gguf_speedup_over_hf", 0), ("gguf_speedup_over_hf_with_tree", CACHE_TOKENS)):
            theirs = sum(by_transformers(folder / file, one.batches, cache_tokens) for file, one in played.items())
            figures[name] = theirs / ours
    if not given.played:
        figures["busy_neighbour_share"] = busy_share(folder / FILES[given.models[-1]])
    print(json.dumps({key: round(value, 3) for key, value in figures.items()}))


if __name__ == "__main__":
    main()
