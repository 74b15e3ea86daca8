"""Heads of v3 without a payload, and what the exporter's parser says of one that breaks a rule."""

from __future__ import annotations

import struct

import pytest

from exporter.config import tensor_shapes
from exporter.formats import v3
from exporter.formats.v3_fields import V3Error
from exporter.formats.v3_parse import Parser
from exporter.switches import LayerKind
from helpers.models import config
from helpers.v3_files import METADATA, SCALINGS, patched

# A change: where, as which kind of numbers, and the numbers; or where, and the bytes.
Change = tuple[int, bytes] | tuple[int, str, float] | tuple[int, str, float, float]
MIXED = {
    "n_experts": 3,
    "n_active_experts": 2,
    "expert_hidden_dim": 40,
    "layers": (LayerKind(experts=True),),
}


def planned(
    scaling: str = "none",
    metadata: dict[str, str] | None = None,
    alignment: int = 64,
    tokenizer: bytes = b"",
    **changes: object,
) -> v3.Plan:
    """A head with every storage and every bias: entry 0 is Q8_0, entry 1 a vector, entry 2 fp16."""
    fields: dict[str, object] = {"head_dim": 10, "n_layers": 1, "rope_scaling": SCALINGS[scaling], "rope_theta": 5e5}
    biases = dict.fromkeys(("qkv_bias", "wo_bias", "mlp_bias"), "n_experts" not in changes)
    model = config(**{**fields, **biases, **changes})
    stored = {name: v3.Stored("fp16" if ".wq." in name else "fp32") for name in tensor_shapes(model)}
    stored["tok_embeddings.weight"] = v3.Stored("q8_0", 12)
    return v3.plan(model, stored, METADATA if metadata is None else metadata, alignment, tokenizer)


def encoded(plan: v3.Plan) -> bytes:
    return v3.encode_head(plan, [bytes([number % 256]) * 32 for number in range(len(plan.entries))])


def broken(plan: v3.Plan, *changes: Change) -> bytes:
    """The head with these changes and with digests that fit."""
    return patched(encoded(plan), *(_packed(change) for change in changes))


def _packed(change: Change) -> tuple[int, bytes]:
    return change if len(change) == 2 else (change[0], struct.pack(*change[1:]))


def refusal(head: bytes, size: int) -> str:
    with pytest.raises(V3Error) as caught:
        Parser("a file", head, size).parse()
    assert (" at " in str(caught.value).partition(": expected")[0]) == (caught.value.offset is not None)
    return str(caught.value).removeprefix("a file: ")
