"""Find the tensors of a file: their names, how they are stored, and where."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader_c._reader import ffi, lib

STORAGES = {lib.RC_FP32: "fp32", lib.RC_FP16: "fp16", lib.RC_BF16: "bf16", lib.RC_Q8: "q8_0"}
# numpy has no bfloat16: its bits are uint16
DTYPES: dict[str, np.dtype[Any]] = {
    "fp32": np.dtype("<f4"),
    "fp16": np.dtype("<f2"),
    "bf16": np.dtype("<u2"),
    "int8": np.dtype("i1"),
}
DTYPES["scale"] = DTYPES["fp32"]

_IN_LAYERS = {
    "attention_norm.weight": lib.RC_ATTENTION_NORM,
    "attention.wq.weight": lib.RC_WQ,
    "attention.wq.bias": lib.RC_WQ_BIAS,
    "attention.wk.weight": lib.RC_WK,
    "attention.wk.bias": lib.RC_WK_BIAS,
    "attention.wv.weight": lib.RC_WV,
    "attention.wv.bias": lib.RC_WV_BIAS,
    "attention.q_norm.weight": lib.RC_Q_NORM,
    "attention.k_norm.weight": lib.RC_K_NORM,
    "attention.wo.weight": lib.RC_WO,
    "attention.wo.bias": lib.RC_WO_BIAS,
    "attention_post_norm.weight": lib.RC_ATTENTION_POST_NORM,
    "ffn_norm.weight": lib.RC_FFN_NORM,
    "feed_forward.w1.weight": lib.RC_W1,
    "feed_forward.w1.bias": lib.RC_W1_BIAS,
    "feed_forward.w2.weight": lib.RC_W2,
    "feed_forward.w2.bias": lib.RC_W2_BIAS,
    "feed_forward.w3.weight": lib.RC_W3,
    "feed_forward.w3.bias": lib.RC_W3_BIAS,
    "feed_forward.router.weight": lib.RC_ROUTER,
    "ffn_post_norm.weight": lib.RC_FFN_POST_NORM,
}
_LAYER_NAME = re.compile(r"layers\.(0|[1-9][0-9]{0,9})\.(.+)")
# A layer has these behind its router, for each expert.
_OF_EXPERT = {
    "w1.weight": lib.RC_EXPERT_W1,
    "w2.weight": lib.RC_EXPERT_W2,
    "w3.weight": lib.RC_EXPERT_W3,
}
_EXPERT_NAME = re.compile(r"feed_forward\.experts\.(0|[1-9][0-9]{0,9})\.(.+)")
_BEFORE_LAYERS = {"tok_embeddings.weight": lib.RC_TOK_EMBEDDINGS}
_AFTER_LAYERS = {
    "norm.weight": lib.RC_NORM,
    "output.weight": lib.RC_OUTPUT,
    "freqs_cos": lib.RC_FREQS_COS,
    "freqs_sin": lib.RC_FREQS_SIN,
}

_VECTORS = {lib.RC_NORM} | {kind for name, kind in _IN_LAYERS.items() if name.endswith((".bias", "_norm.weight"))}


@dataclass(frozen=True)
class Span:
    """The place of one part of a tensor in the file.

    Attributes:
        name: of the tensor.
        part: "fp32", "fp16", "bf16", "int8" or "scale".
        shape: of the part.
        offset, nbytes: in the file.
    """

    name: str
    part: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Storage:
    """How a tensor is stored.

    Attributes:
        name, shape: of the tensor.
        storage: "fp32", "fp16", "bf16" or "q8_0".
        group_size: of q8_0, 0 for the others.
        digest: the BLAKE3 in a v3 file's table, in hexadecimal; empty in other formats.
    """

    name: str
    shape: tuple[int, ...]
    storage: str
    group_size: int
    digest: str


@dataclass(frozen=True, eq=False, repr=False)
class QuantizedTensor:
    """A Q8_0 tensor as the file holds it, read-only.

    Attributes:
        q: int8 (out, in).
        scale: float32 (out, in / group_size).
        group_size: how many weights share a scale.
    """

    q: NDArray[np.int8]
    scale: NDArray[np.float32]
    group_size: int

    def __repr__(self) -> str:
        return f"<QuantizedTensor {' x '.join(map(str, self.shape))}, groups of {self.group_size}>"

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (out, in)."""
        return self.q.shape

    def dequantize(self) -> NDArray[np.float32]:
        """Multiply each weight by its scale.

        Returns:
            q * scale, rounded once to float32: (out, in).
        """
        groups = self.q.reshape(*self.scale.shape, self.group_size).astype(np.float32)
        return (groups * self.scale[..., None]).reshape(self.q.shape)


def names_of(pointer: Any, n_layers: int) -> tuple[str, ...]:
    """Return the names of an open file's tensors; a shared classifier has no entry of its own."""
    layers = [0] * n_layers  # all alike
    n_experts = lib.rc_model_config(pointer).n_experts
    if n_experts:
        kind = ffi.new("rc_layer *")
        for layer in range(n_layers):
            lib.rc_model_layer(pointer, layer, kind)
            layers[layer] = kind.experts
    first = {experts: layer for layer, experts in reversed([*enumerate(layers)])}
    of_layer = {experts: _of_layer(pointer, layer, n_experts) for experts, layer in first.items()}
    return (
        *_BEFORE_LAYERS,
        *(f"layers.{layer}.{name}" for layer, experts in enumerate(layers) for name in of_layer[experts]),
        *(name for name in _AFTER_LAYERS if has(pointer, name)),
    )


def _of_layer(pointer: Any, layer: int, n_experts: int) -> list[str]:
    """Return the names of a layer's tensors within the layer, in the order of the file."""
    names: list[str] = []
    for name, kind in _IN_LAYERS.items():
        if has(pointer, f"layers.{layer}.{name}"):
            names.append(name)
            if kind == lib.RC_ROUTER:
                names += [f"feed_forward.experts.{e}.{own}" for e in range(n_experts) for own in _OF_EXPERT]
    return names


def near(pointer: Any, name: str, n_layers: int) -> Sequence[str]:
    """Return the names most like an unknown one, the nearest first: at most three, none that is far from it.

    Only one layer's names, and one expert's, are compared: a file may have very many tensors.
    """
    number, which = (re.search(rf"\b{word}\.([0-9]{{1,10}})\b", name) for word in ("layers", "experts"))
    layer = min(int(number[1]), n_layers - 1) if number else 0
    expert = min(int(which[1]), max(0, lib.rc_model_config(pointer).n_experts - 1)) if which else 0
    of_expert = [f"feed_forward.experts.{expert}.{own}" for own in _OF_EXPERT]
    known = [*_BEFORE_LAYERS, *(f"layers.{layer}.{own}" for own in [*_IN_LAYERS, *of_expert]), *_AFTER_LAYERS]
    return difflib.get_close_matches(name, [own for own in known if has(pointer, own)], cutoff=0.5)


def has(pointer: Any, name: str) -> bool:
    """Return whether an open file has a tensor of this name."""
    try:
        find(pointer, name)
    except KeyError:
        return False
    return True


def find(pointer: Any, name: str) -> tuple[Any, tuple[int, ...]]:
    """Return C's rc_tensor of an open file's tensor, and its shape. Raises KeyError for an unknown name.

    The name is parsed, not looked up in a table: a file may have very many tensors.
    """
    match = _LAYER_NAME.fullmatch(name)
    of_expert = _EXPERT_NAME.fullmatch(match[2]) if match else None
    if of_expert:
        kind = _OF_EXPERT.get(of_expert[2])
    elif match:
        kind = _IN_LAYERS.get(match[2])
    else:
        kind = (_BEFORE_LAYERS | _AFTER_LAYERS).get(name)
    layer, tensor = int(match[1]) if match else 0, ffi.new("rc_tensor *")
    if kind is None:
        raise KeyError(name)
    if of_expert:
        there = lib.rc_model_expert_tensor(pointer, kind, layer, int(of_expert[1]), tensor)
    else:
        there = lib.rc_model_tensor(pointer, kind, layer, tensor)
    if not there:
        raise KeyError(name)
    return tensor, (tensor.cols,) if kind in _VECTORS else (tensor.rows, tensor.cols)


def spans_of(name: str, tensor: Any, shape: tuple[int, ...]) -> tuple[Span, ...]:
    """Return the places of the parts of a tensor that find() returned."""
    storage = STORAGES[tensor.storage]
    if storage != "q8_0":
        return (Span(name, storage, shape, tensor.offset, tensor.length),)
    groups = (tensor.rows, tensor.cols // tensor.group_size)
    return (
        Span(name, "int8", shape, tensor.offset, tensor.length),
        Span(name, "scale", groups, tensor.scale_offset, tensor.scale_length),
    )
