"""Compares the model layer's tokens per second with raw `generate` and with one call at a time.

    python bench/throughput.py [--rounds 3]

It uses the embedded llama, or a random model of its size if there are no weights yet. Prompts of 1,000 tokens do
not fit its context, so prefixes are measured on the random one. Times are wall-clock, the best of the rounds, taken in
turn. Except for the first figure both sides are one process with one torch thread; `_cpu` is the same in CPU-seconds,
which other load on the machine disturbs less:
  speedup_over_serial  time of plain `generate` one request at a time over the pipeline's, on what a search asks: four
                       draws of each of 32 prompts. The pipeline is two processes of one thread with half of the prompts
                       each, as snakemake runs two jobs on two cores; the loop has one torch thread or two, whichever is
                       quicker.
  share_of_raw         tokens/s of agent -> batcher -> store (live) -> backend, over tokens/s of plain batched
                       `generate` with do_sample, 64 rows of similar length per batch. The prompts are all different.
  speedup_over_serial_one  the same with one process and thread on both sides, and 16 prompts.
  prefix_speedup       time without reuse of a shared prefix of about 1,000 tokens over time with it, 16 rows.
  early_end_speedup    time with ended rows kept in the batch over the pipeline's, which removes them: four draws of
                       each of the tasks' own 16 sample prompts, whose answers end by themselves
  ms_per_call_32, ms_per_call_64   pipeline milliseconds per call: different prompts of about 150 tokens, 12 new ones.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from shapes import write_tokenizer
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.utils import logging

from symphony.agents.session import Agent
from symphony.models.batcher import Batcher
from symphony.models.hf.backend import HFBackend
from symphony.models.store import StoredBackend
from symphony.plan import compose
from symphony.types import Completion, Draw, Message, Phase, Request, Sampling

EMBEDDED = Path(__file__).parents[1] / "symphony" / "embedded" / "weights" / "llama"
ROWS = 64


def random_llama(folder: Path) -> None:
    """Writes a model of the embedded size with random weights and a byte-level tokenizer."""
    write_tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=700,
        hidden_size=128,
        intermediate_size=344,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=4096,
        pad_token_id=0,
        eos_token_id=1,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


class Asker:
    """Makes requests whose prompts have a given number of tokens."""

    def __init__(self, backend: HFBackend) -> None:
        self.backend, self.rng = backend, random.Random(0)
        self.words = ["red", "door", "key", "north", "search", "the", "of", "queen", "value", "click", "buy", "open"]

    def text(self, tokens: int) -> str:
        text = self.rng.choice(self.words)
        while len(self.backend.tokenizer(text, add_special_tokens=False)["input_ids"]) < tokens:
            text += " " + " ".join(self.rng.choices(self.words, k=3))
        return text


def request(text: str, problem: str, index: int, max_tokens: int) -> Request:
    return Request(
        messages=(Message(role="user", content=text),),
        sampling=Sampling(temperature=0.8, max_tokens=max_tokens),
        draw=Draw(seed=0, problem=problem, node=0, phase=Phase.EXPAND, index=index),
    )


def pipeline(backend: HFBackend, requests: Sequence[Request]) -> int:
    """Returns the generated tokens of all requests, asked at once through an agent."""
    agent = Agent("bench", Batcher(StoredBackend(backend, None, "live")))

    async def ask() -> list[Completion]:
        return await asyncio.gather(*(agent.model.complete(request) for request in requests))

    answers = asyncio.run(ask())
    assert not [answer.error for answer in answers if answer.error]
    return sum(answer.completion_tokens for answer in answers)


def raw(backend: HFBackend, requests: Sequence[Request], rows: int) -> int:
    """Returns the generated tokens of plain `generate` over the same requests, padded on the left."""
    tokenizer, model = backend.tokenizer, backend.model
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": message.role, "content": message.content} for message in request.messages],
            add_generation_prompt=True,
            tokenize=False,
        )
        for request in requests
    ]
    prompts.sort(key=len)
    end = tokenizer.eos_token_id
    tokens = 0
    for begin in range(0, len(prompts), rows):
        batch = tokenizer(
            prompts[begin : begin + rows], padding=True, padding_side="left", add_special_tokens=False,
            return_tensors="pt",
        ).to(model.device)  # fmt: skip
        with torch.inference_mode():
            output = model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                do_sample=True,
                top_k=0,
                temperature=requests[0].sampling.temperature,
                max_new_tokens=requests[0].sampling.max_tokens,
                eos_token_id=end,
            )
        new = output[:, batch["input_ids"].shape[1] :]
        ended = (new == end).int().cumsum(1)
        tokens += int(((ended == 0) | ((ended == 1) & (new == end))).sum())
        tokenizer.batch_decode(new, skip_special_tokens=True)
    return tokens


@dataclass(frozen=True, slots=True)
class Best:
    """Best tokens/s and smallest seconds, by wall-clock and by CPU time."""

    rate: float
    seconds: float
    cpu_rate: float
    cpu_seconds: float


def best(rounds: int, *functions: Callable[[], int]) -> list[Best]:
    """Returns the best of each function; the functions take turns, so that other load affects all alike."""
    for function in functions:
        function()
    times: list[list[tuple[int, float, float]]] = [[] for _ in functions]
    for _ in range(rounds):
        for number, function in enumerate(functions):
            begin, cpu = time.perf_counter(), time.process_time()
            tokens = function()
            times[number].append((tokens, time.perf_counter() - begin, time.process_time() - cpu))
    return [
        Best(max(n / s for n, s, _ in runs), min(s for _, s, _ in runs),
             max(n / s for n, _, s in runs), min(s for _, _, s in runs))
        for runs in times
    ]  # fmt: skip


def measure(folder: Path, rounds: int) -> dict[str, float]:
    backend = HFBackend(folder, max_batch_rows=ROWS, max_batch_tokens=65536)
    asker = Asker(backend)
    distinct = [request(asker.text(asker.rng.randrange(60, 240)), str(n), 0, 24) for n in range(2 * ROWS)]
    ours, theirs = best(rounds, lambda: pipeline(backend, distinct), lambda: raw(backend, distinct, ROWS))
    figures = {"share_of_raw": ours.rate / theirs.rate, "share_of_raw_cpu": ours.cpu_rate / theirs.cpu_rate}

    search = searching(asker, 16)
    ours, theirs = best(rounds, lambda: pipeline(backend, search), lambda: raw(backend, search, 1))
    figures["speedup_over_serial_one"] = theirs.seconds / ours.seconds
    figures["speedup_over_serial_one_cpu"] = theirs.cpu_seconds / ours.cpu_seconds

    for rows in (32, 64):
        calls = [request(asker.text(150), str(n), 0, 12) for n in range(rows)]
        (found,) = best(rounds, lambda calls=calls: pipeline(backend, calls))  # type: ignore[misc]
        figures[f"ms_per_call_{rows}"] = 1e3 * found.seconds / rows
        figures[f"ms_per_call_{rows}_cpu"] = 1e3 * found.cpu_seconds / rows
    return figures


def searching(asker: Asker, prompts: int) -> list[Request]:
    """Makes the requests of a search: four draws of each prompt."""
    rules = asker.text(60)
    texts = [rules + " " + asker.text(asker.rng.randrange(20, 120)) for _ in range(prompts)]
    return [request(text, str(n), draw, 24) for n, text in enumerate(texts) for draw in range(4)]


class Job:
    """One of two processes that share the requests, like two jobs of a workflow."""

    backend: HFBackend
    requests: list[Request]

    @classmethod
    def begin(cls, folder: Path) -> None:
        """Loads the model; both processes make the same requests."""
        logging.set_verbosity_error()
        cls.backend = HFBackend(folder, max_batch_rows=ROWS, max_batch_tokens=65536)
        cls.requests = searching(Asker(cls.backend), 32)

    @classmethod
    def half(cls, number: int) -> int:
        """Returns the generated tokens of the first or second half of the requests."""
        middle = len(cls.requests) // 2
        return pipeline(cls.backend, cls.requests[middle:] if number else cls.requests[:middle])


def measure_two_cores(folder: Path, rounds: int) -> float:
    backend = HFBackend(folder)
    requests = searching(Asker(backend), 32)

    def serial(threads: int) -> int:
        torch.set_num_threads(threads)
        return raw(backend, requests, 1)

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, initializer=Job.begin, initargs=(folder,)) as pool:
        ours, one, two = best(rounds, lambda: sum(pool.map(Job.half, (0, 1))), lambda: serial(1), lambda: serial(2))
    torch.set_num_threads(1)
    return min(one.seconds, two.seconds) / ours.seconds


def measure_early_ends(folder: Path, rounds: int) -> dict[str, float]:
    backend = HFBackend(folder)
    texts = compose.sample_prompts(EMBEDDED.parents[3] / "conf").splitlines()
    asked = [request(text, str(n), draw, 48) for n, text in enumerate(texts) for draw in range(4)]

    def kept() -> int:
        worth = backend._WORTH_KEEPING
        backend._WORTH_KEEPING = 0.0
        try:
            return pipeline(backend, asked)
        finally:
            backend._WORTH_KEEPING = worth

    ours, static = best(rounds, lambda: pipeline(backend, asked), kept)
    return {
        "early_end_speedup": static.seconds / ours.seconds,
        "early_end_speedup_cpu": static.cpu_seconds / ours.cpu_seconds,
    }


def measure_prefix(folder: Path, rounds: int) -> dict[str, float]:
    backend = HFBackend(folder, max_batch_rows=ROWS, max_batch_tokens=65536)
    plain = HFBackend(folder, max_batch_rows=ROWS, max_batch_tokens=65536, share_prefixes=False)
    asker = Asker(backend)
    long = asker.text(1000)
    shared = [request(f"{long} {asker.text(40)}", str(n), 0, 24) for n in range(16)]
    reuse, without = best(rounds, lambda: pipeline(backend, shared), lambda: pipeline(plain, shared))
    return {
        "prefix_speedup": without.seconds / reuse.seconds,
        "prefix_speedup_cpu": without.cpu_seconds / reuse.cpu_seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each; the best one counts")
    rounds = parser.parse_args().rounds
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        random_llama(Path(folder))
        shipped = (EMBEDDED / "config.json").is_file()
        if not shipped:
            print("found no embedded weights, so using a random model of their size")
        model = EMBEDDED if shipped else Path(folder)
        figures = {"speedup_over_serial": measure_two_cores(model, rounds)}
        figures |= measure(model, rounds) | measure_prefix(Path(folder), rounds)
        figures |= measure_early_ends(EMBEDDED, rounds) if shipped else {}
    figures = {name: round(value, 3) for name, value in figures.items()}
    print(json.dumps({"bench": "throughput", "figures": figures}))


if __name__ == "__main__":
    main()
