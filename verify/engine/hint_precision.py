"""List precisions in which an engine may keep the results of its operations, or the operands of its products."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.engine.hint_operands import NAMES
from verify.engine.hint_reference import Load, MistakenReference, RunLayer
from verify.engine.hint_rewired import LayerSoFar, Rewire, rewired
from verify.oracle import llama
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters

Change = Callable[[torch.Tensor], torch.Tensor]
_STREAM = ("attention_residual", "ffn_residual")
_RESULTS = ("q", "k", "v", "wo", "gate", "up", "down")
_EVERY = (*(name for name in NAMES if name != "x"), "scores", "shares", "ffn_residual")
_SETS = {
    _EVERY: "the result of every operation",
    _RESULTS: "the result of every product",
    _STREAM: "the residual stream",
    ("x", *_STREAM): "embeddings and the residual stream",
    _STREAM[:1]: "the stream after attention",
    _STREAM[1:]: "the stream after the feed forward",
    _RESULTS + _STREAM: "the result of every product and the residual stream",
    ("scores",): "attention scores",
    ("shares",): "the shares of attention",
    ("attention_norm", "ffn_norm"): "the normed inputs of attention and feed forward",
    ("q_rotated", "k_rotated"): "queries and keys",
    ("q_rotated", "k_rotated", "v"): "queries, keys and values",
    ("attended",): "what attention mixed",
    ("gated",): "the product of activated gate (w1) and up (w3)",
    ("gate", "up"): "gate (w1) and up (w3)",
    ("wo", "down"): "the results of attention and feed forward",
}


def of_precision(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes."""
    for found, narrow in _TYPES.items():
        # what tf32 keeps of a result, fp16 keeps too
        for names, words in _SETS.items() if found != "tf32" else ():
            sentence = m.STAGE_NARROWED.of_engine(what=words, found=found)
            run = rewired(_narrowed(names, narrow))
            if "x" in names:
                run = _reading(narrow, run)
            yield MistakenReference(m.STAGE_NARROWED, sentence, hyper, load, run=run, coarse=True)
        yield from _of_products(hyper, load, found, narrow)


def _of_products(hyper: Hyperparameters, load: Load, found: str, narrow: Change) -> Iterator[MistakenReference]:
    def inputs(x: torch.Tensor, _matrix: str) -> torch.Tensor:
        return narrow(x)

    def matrices(name: str) -> torch.Tensor:
        tensor = load(name)
        return narrow(tensor) if tensor.ndim == 2 and not name.startswith("tok_") else tensor

    def every(name: str) -> torch.Tensor:
        return narrow(load(name))

    what = "what every product reads"
    sentence = m.STAGE_NARROWED.of_engine(what=what, found=found)
    yield MistakenReference(m.STAGE_NARROWED, sentence, hyper, load, inputs=inputs, coarse=True)
    sentence = m.STAGE_NARROWED.of_engine(what=f"{what}, weights and activations,", found=found)
    yield MistakenReference(m.STAGE_NARROWED, sentence, hyper, matrices, inputs=inputs, coarse=True)
    for names, words in ((names, _SETS[names]) for names in (_EVERY, _RESULTS, _STREAM, _RESULTS + _STREAM)):
        sentence = m.STAGE_NARROWED.of_engine(what=f"{words} and all weights", found=found)
        run = rewired(_narrowed(names, narrow))
        yield MistakenReference(m.STAGE_NARROWED, sentence, hyper, every, run=run, coarse=True)


def _narrowed(names: tuple[str, ...], narrow: Change) -> Rewire:
    def rewire(operation: str, y: torch.Tensor, _seen: LayerSoFar) -> torch.Tensor:
        return narrow(y) if operation in names else y

    return rewire


def _reading(narrow: Change, run: RunLayer) -> RunLayer:
    """Round the stream that a layer reads, too: that of the first are embeddings."""

    def rounded(
        hyper: Hyperparameters,
        load: Load,
        number: int,
        x: torch.Tensor,
        rotations: dict[str, torch.Tensor],
        noise: Noise,
        watch: llama.Watch,
        inputs: llama.Inputs,
    ) -> torch.Tensor:
        return run(hyper, load, number, narrow(x), rotations, noise, watch, inputs)

    return rounded


def _to(dtype: torch.dtype) -> Change:
    return lambda y: y.float().to(dtype).to(y.dtype)


def _mantissa(bits: int) -> Change:
    """Round to so many bits of the mantissa, to nearest, ties away from zero."""
    dropped = 23 - bits

    def rounded(y: torch.Tensor) -> torch.Tensor:
        held = y.float().contiguous().view(torch.int32) + (1 << (dropped - 1))
        return (held >> dropped << dropped).view(torch.float32).to(y.dtype)

    return rounded


def _truncated(y: torch.Tensor) -> torch.Tensor:
    return (y.float().contiguous().view(torch.int32) & ~0xFFFF).view(torch.float32).to(y.dtype)


def _int8(y: torch.Tensor) -> torch.Tensor:
    scale = y.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / 127
    return (y / scale).round() * scale


# Half precisions in which programs compute.
HALVES: dict[str, Change] = {
    "bf16": _to(torch.bfloat16),
    "fp16": _to(torch.float16),
    "bf16 towards 0": _truncated,
}
_TYPES: dict[str, Change] = {
    "bf16": _to(torch.bfloat16),
    "fp16 (10 bits, as tf32 has)": _to(torch.float16),
    "tf32": _mantissa(10),
    "bf16 towards 0": _truncated,
    "int8 with one scale for each position": _int8,
    "fp8 (e4m3)": _to(torch.float8_e4m3fn),
}
