"""Trains the shipped models from scratch on freshly generated episodes (stage 1: imitation).

It uses Muon in float32 for the matrices (Jordan et al. 2024; torch's own works in bfloat16, which is far slower on CPUs
without AMX), and AdamW for embeddings, norms and biases; one thread. The budget is in CPU-seconds, so that a loaded
machine trains as much as an idle one.
"""

from __future__ import annotations

import json
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from symphony.embedded import episodes, structure, tokenizer
from symphony.types import Message, derive_rng

CONTEXT = 768
BATCH_TOKENS = 1400
LEARNING_RATE = {"muon": 6e-3, "adamw": 1.5e-3}
Mix = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stretch of imitation: CPU-seconds, the weights of the domains, and a factor on the learning rates."""

    name: str
    cpu_seconds: float
    mix: Mix
    rate: float = 1.0


STAGES = (
    Stage(name="recall", cpu_seconds=40, mix={"recall": 1.0}),
    Stage(
        name="imitation",
        cpu_seconds=800,
        mix={"gridworld": 1.0, "mini_qa": 2.0, "mini_shop": 1.5, "mini_code": 1.5, "recall": 0.3},
    ),
    Stage(
        name="judging",
        cpu_seconds=300,
        mix={"gridworld": 1.0, "mini_qa": 2.0, "mini_shop": 1.5, "mini_code": 1.5, "judging": 6.0},
        rate=0.7,
    ),
)


def build_model(name: str, vocabulary: int, end: int, pad: int) -> PreTrainedModel:
    """Builds a random model of one of three families; they differ in normalisation, attention, MLP and residual layout.

    llama: pre-RMSNorm, SwiGLU, 3 layers. qwen3: per-head normalised queries and keys, 4 narrower-MLP layers.
    neox: LayerNorm with biases, GELU MLP in parallel with attention, rotary on half of each head.
    """
    shared: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 128,
        "num_attention_heads": 4,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": end,
        "pad_token_id": pad,
        "attention_dropout": 0.0,
    }
    if name == "llama":
        return LlamaForCausalLM(
            LlamaConfig(**shared, num_hidden_layers=3, num_key_value_heads=4, intermediate_size=352)
        )
    if name == "qwen3":
        return Qwen3ForCausalLM(
            Qwen3Config(**shared, num_hidden_layers=4, num_key_value_heads=4, head_dim=32, intermediate_size=224)
        )
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            **shared, num_hidden_layers=4, intermediate_size=384, rotary_pct=0.5, use_parallel_residual=True,
            hidden_dropout=0.0,
        )
    )  # fmt: skip


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalised by four Newton-Schulz steps in float32, batched over matrices of equal shape."""

    def __init__(self, matrices: list[torch.nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            shapes: dict[torch.Size, list[torch.nn.Parameter]] = defaultdict(list)
            for matrix in group["params"]:
                shapes[matrix.shape].append(matrix)
            for shape, matrices in shapes.items():
                updates = []
                for matrix in matrices:
                    memory = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
                    memory.lerp_(matrix.grad, 1 - group["momentum"])
                    updates.append(matrix.grad.lerp(memory, group["momentum"]))
                step = _orthogonal(torch.stack(updates)) * max(1.0, shape[0] / shape[1]) ** 0.5
                for matrix, update in zip(matrices, step, strict=True):
                    matrix.add_(update, alpha=-group["lr"])


def _orthogonal(x: torch.Tensor, steps: int = 4) -> torch.Tensor:
    """Returns roughly the nearest semi-orthogonal matrices (quintic Newton-Schulz with Muon's coefficients)."""
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of a chat and the loss weight of each id as a target."""

    ids: list[int]
    weights: list[float]


def encode(tokens: PreTrainedTokenizerFast, messages: tuple[Message, ...], weights: tuple[float, ...]) -> Encoded:
    """Encodes the chat as the template renders it; a message's weight covers its text and its end token."""
    ids: list[int] = []
    targets: list[float] = []
    end = tokens.convert_tokens_to_ids(tokenizer.END)
    for message, weight in zip(messages, weights, strict=True):
        text = tokens.encode(message.content, add_special_tokens=False)
        ids += [tokens.convert_tokens_to_ids(f"<|{message.role}|>"), *text, end]
        targets += [0.0, *([weight] * (len(text) + 1))]
    return Encoded(ids[:CONTEXT], targets[:CONTEXT])


def batch(rows: list[Encoded], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns right-padded ids and weights, (rows, length)."""
    length = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), length), pad)
    weights = torch.zeros(len(rows), length)
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = torch.tensor(row.ids)
        weights[number, : len(row.ids)] = torch.tensor(row.weights)
    return ids, weights


def batches(rows: Iterator[Encoded], pad: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields batches of about BATCH_TOKENS, of rows of similar length (sorted within pools of 128)."""
    while True:
        pool = sorted((next(rows) for _ in range(128)), key=lambda row: len(row.ids))
        groups: list[list[Encoded]] = [[]]
        for row in pool:
            if len(groups[-1]) * len(row.ids) > BATCH_TOKENS:
                groups.append([])
            groups[-1].append(row)
        random.Random(len(groups)).shuffle(groups)
        yield from (batch(group, pad) for group in groups if group)


def fit(
    model: PreTrainedModel,
    rows: Iterator[Encoded],
    pad: int,
    cpu_seconds: float,
    rate: float = 1.0,
    log: Any = print,
) -> list[float]:
    """Trains in place until the budget is spent; learning rates fall linearly to 0 over its last 60 %.

    Args:
        rate: Factor on both learning rates.

    Returns:
        Mean loss of each twentieth of the budget, in nats per weighted token.
    """
    parameters = list(model.named_parameters())
    inner = [p for n, p in parameters if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in parameters if not (p.ndim == 2 and "embed" not in n)]
    optimisers = [
        Muon(inner, lr=LEARNING_RATE["muon"] * rate),
        torch.optim.AdamW(others, lr=LEARNING_RATE["adamw"] * rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    peaks = [optimiser.param_groups[0]["lr"] for optimiser in optimisers]
    model.train()
    start = time.process_time()
    losses: list[float] = []
    recent: list[float] = []
    for steps, (ids, weights) in enumerate(batches(rows, pad)):
        done = (time.process_time() - start) / cpu_seconds
        if done >= 1:
            break
        for optimiser, peak in zip(optimisers, peaks, strict=True):
            optimiser.param_groups[0]["lr"] = peak * min(1.0, (1 - done) / 0.6, (steps + 1) / 50)
        loss = weighted_loss(model, ids, weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        recent.append(loss.item())
        if done * 20 >= len(losses) + 1:
            losses.append(sum(recent) / len(recent))
            log(f"{done:5.0%}  step {steps}  loss {losses[-1]:.4f}")
            recent = []
    model.eval()
    return losses


def weighted_loss(model: PreTrainedModel, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Returns the next token's cross-entropy in nats, averaged with the targets' weights."""
    logits = model(input_ids=ids).logits[:, :-1]
    each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    return (each * weights[:, 1:]).sum() / weights[:, 1:].sum().clamp(min=1.0)


def episode_rows(model: str, seed: int, tokens: PreTrainedTokenizerFast, mix: Mix) -> Iterator[Encoded]:
    """Yields fresh episodes without end; `mix` gives each domain's weight.

    Two domains are not tasks: "recall" is an exercise, "judging" holds judged prefixes and reflections of all tasks.
    """
    rng = derive_rng(seed, "episodes", model)
    tasks = episodes.tasks()
    while True:
        domain = rng.choices(list(mix), list(mix.values()))[0]
        if domain == "recall":
            drawn = episodes.recall(rng)
        elif domain == "judging":
            drawn = episodes.draw_episode(rng, rng.choice(list(tasks.values())), model, judging=True)
        else:
            drawn = episodes.draw_episode(rng, tasks[domain], model)
        yield encode(tokens, drawn.messages, drawn.weights)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Builds the same tokenizer for every model and seed, from the words of 2,000 episodes."""
    rng, tasks = derive_rng(0, "tokenizer"), episodes.tasks()
    texts = [
        message.content
        for domain in episodes.DOMAINS
        for _ in range(500)
        for message in episodes.draw_episode(rng, tasks[domain], "llama").messages
    ]
    texts.append("tried")  # a lesson's word that may be too rare to occur
    return tokenizer.build(texts, CONTEXT)


def train(name: str, out: Path, seed: int, stages: Sequence[Stage] = STAGES, start: Path | None = None) -> list[float]:
    """Trains one model through the stages and saves it as a Hugging Face folder (float16) with a training.json.

    Args:
        start: A folder saved by this function, to continue from; None starts from random weights.

    Returns:
        Mean loss of each twentieth of the last stage, in nats per weighted token.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    done: list[Stage] = []
    if start is None:
        tokens = build_tokenizer()
        model = build_model(name, len(tokens), tokens.eos_token_id, tokens.pad_token_id)
        structure.start(model)
    else:
        model, tokens, done = reload(start)
    losses: list[float] = []
    for stage in stages:
        rows = episode_rows(name, seed + len(done), tokens, stage.mix)
        losses = fit(model, rows, tokens.pad_token_id, stage.cpu_seconds, stage.rate, logger(f"{name} {stage.name}"))
        done.append(stage)
    save(model, tokens, out)
    (out / "training.json").write_text(json.dumps({"seed": seed, "stages": [asdict(s) for s in done], "loss": losses}))
    return losses


def save(model: PreTrainedModel, tokens: PreTrainedTokenizerFast, out: Path) -> None:
    """Writes float16 weights and the tokenizer (with its chat template)."""
    out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(out)
    model.float()
    tokens.save_pretrained(out)


def reload(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, list[Stage]]:
    """Loads what `train` saved: the model in float32, the tokenizer and the stages done so far."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    stages = json.loads((folder / "training.json").read_text())["stages"]
    return model, PreTrainedTokenizerFast.from_pretrained(folder), [Stage(**stage) for stage in stages]


def logger(name: str) -> Any:
    """Returns a function that prints a labelled line of progress at once."""
    return lambda text: print(f"{name}: {text}", flush=True)
