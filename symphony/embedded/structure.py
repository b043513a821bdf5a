"""A structured start with previous-token and induction heads, which a default initialisation finds too slowly.

Copying a name from the context needs two layers to cooperate: the first writes each token's predecessor beside it; the
second finds the place whose predecessor is the current token and reads the token there (Olsson et al. 2022). The start
encodes nothing about the tasks: every token's vector is random.

Channels of the residual stream: 0 is constant, 1..63 hold the token, 64..127 what the first layer writes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from transformers import PreTrainedModel

TOKEN, SCALE = 64, 0.15
CONSTANT = 1.0


@torch.no_grad()
def start(model: PreTrainedModel) -> None:
    """Sets embeddings and the first two heads of the first two layers of a model of hidden size 128, heads of 32."""
    table = model.get_input_embeddings().weight
    table.normal_(0, 0.01)
    table[:, 1:TOKEN].normal_(0, SCALE)
    table[:, 0] = CONSTANT
    layers = [module for name, module in model.named_modules() if name.split(".")[-1] in ("self_attn", "attention")]
    for name, weight in model.named_parameters():
        if name.endswith(("down_proj.weight", "dense_4h_to_h.weight")):
            weight.mul_(0.3)
    for head in (0, 1):
        width = 32 if head == 0 else 31
        token = torch.arange(1 + 32 * head, 1 + 32 * head + width)
        before = torch.arange(TOKEN + 32 * head, TOKEN + 32 * head + width)
        _previous(_Head(model, layers[0], head), token, before)
        _induction(_Head(model, layers[1], head), token, before)


class _Head:
    """Views on one head's matrices: q, k, v of shape (32, hidden), o of shape (hidden, 32)."""

    def __init__(self, model: PreTrainedModel, attention: Any, head: int) -> None:
        rows = slice(32 * head, 32 * head + 32)
        if hasattr(attention, "query_key_value"):
            fused = attention.query_key_value.weight[96 * head : 96 * head + 96]
            self.q, self.k, self.v = fused[:32], fused[32:64], fused[64:]
            self.o = attention.dense.weight[:, rows]
        else:
            self.q, self.k = attention.q_proj.weight[rows], attention.k_proj.weight[rows]
            self.v, self.o = attention.v_proj.weight[rows], attention.o_proj.weight[:, rows]
        self.norms = [norm for norm in (getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)) if norm]
        self.pairs = int(32 * (model.config.rope_parameters or {}).get("partial_rotary_factor", 1.0)) // 2
        for matrix in (self.q, self.k, self.v, self.o):
            matrix.zero_()


def _previous(head: _Head, token: torch.Tensor, before: torch.Tensor) -> None:
    """Makes a head attend to the previous token, by constant queries and keys that rotate into phase at distance 1."""
    for norm in head.norms:
        norm.weight.fill_(2.4)
    used = [d for d in range(head.pairs) if 10000 ** (-d / head.pairs) > 0.03]
    for d in used:
        angle = 10000 ** (-d / head.pairs)
        head.q[d, 0] = 1.3
        head.k[d, 0], head.k[d + head.pairs, 0] = 1.3 * math.cos(angle), 1.3 * math.sin(angle)
    index = torch.arange(len(token))
    head.v[index, token] = 1.0
    head.o[before, index] = SCALE


def _induction(head: _Head, token: torch.Tensor, before: torch.Tensor) -> None:
    """Makes a head attend where the predecessor is the current token, and add the token there to the prediction."""
    for norm in head.norms:
        norm.weight.fill_(1.5)
    index = torch.arange(len(token))
    head.q[index, token] = 1.9
    head.k[index, before] = 1.9
    head.v[index, token] = 1.0
    head.o[token, index] = 0.5
