"""Record a forward pass one layer at a time, with everything that its operations read and wrote."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader_c._reader import ffi, lib
from reader_c.handle import Handle
from reader_c.session import Session
from reader_c.status import check

# Names of the recorded points, and C's numbers for them. Where a matrix is Q8_0 and activations are q8, "NAME int8"
# and "NAME scale" are the input of the product NAME.
_PRODUCTS = (
    *("q", "k", "v", "wo", "gate", "up", "down"),
    *("expert_gate", "expert_up", "expert_down"),
    "logits",
)
_EMBEDDING = {"embedding": lib.RC_AT_EMBEDDING}
_LAYER = {
    "cosine": lib.RC_AT_COSINE,
    "sine": lib.RC_AT_SINE,
    "attention_norm": lib.RC_AT_ATTENTION_NORM,
    "q": lib.RC_AT_Q,
    "k": lib.RC_AT_K,
    "v": lib.RC_AT_V,
    "q_normed": lib.RC_AT_Q_NORMED,
    "k_normed": lib.RC_AT_K_NORMED,
    "q_rotated": lib.RC_AT_Q_ROTATED,
    "k_rotated": lib.RC_AT_K_ROTATED,
    "q_scaled": lib.RC_AT_Q_SCALED,
    "scores_raw": lib.RC_AT_SCORES_RAW,
    "scores": lib.RC_AT_SCORES,
    "shares": lib.RC_AT_SHARES,
    "attended": lib.RC_AT_ATTENDED,
    "wo": lib.RC_AT_WO,
    "attention_post_norm": lib.RC_AT_ATTENTION_POST_NORM,
    "attention_residual": lib.RC_AT_ATTENTION_RESIDUAL,
    "ffn_norm": lib.RC_AT_FFN_NORM,
    "router": lib.RC_AT_ROUTER,
    "routed": lib.RC_AT_ROUTED,
    "expert_gate": lib.RC_AT_EXPERT_GATE,
    "expert_up": lib.RC_AT_EXPERT_UP,
    "expert_gated": lib.RC_AT_EXPERT_GATED,
    "expert_down": lib.RC_AT_EXPERT_DOWN,
    "gate": lib.RC_AT_GATE,
    "up": lib.RC_AT_UP,
    "gated": lib.RC_AT_GATED,
    "down": lib.RC_AT_DOWN,
    "ffn_post_norm": lib.RC_AT_FFN_POST_NORM,
    "ffn_residual": lib.RC_AT_FFN_RESIDUAL,
}
_CLASSIFIER = {
    "final_norm": lib.RC_AT_FINAL_NORM,
    "classified": lib.RC_AT_CLASSIFIED,
    "logits": lib.RC_AT_LOGITS,
}
_BY_HEAD = ("scores_raw", "scores", "shares")
_INT8 = {name: lib.RC_AT_Q_INT8 + number for number, name in enumerate(_PRODUCTS)}
_SCALE = {name: lib.RC_AT_Q_SCALE + number for number, name in enumerate(_PRODUCTS)}


@dataclass(frozen=True, eq=False, repr=False)
class Stage:
    """What one layer computed. The next stage overwrites the arrays: copy what you keep.

    Attributes:
        layer: None for the embedding before the layers and the classifier after them.
        at: point name to array (tokens, ...), in the order of computation; float32, except that "NAME int8" is int8.
            scores and shares are (tokens, n_heads, tokens), zero beyond a token's own position and before its
            window. A point that the layer does not have is not there: q_normed without a norm of queries, for one.
            In a layer with experts, a token's experts stand one after the other in the order of their numbers:
            expert_gate is (tokens, n_active_experts * expert_hidden_dim).
    """

    layer: int | None
    at: dict[str, NDArray[Any]]

    def __repr__(self) -> str:
        where = "outside the layers" if self.layer is None else f"layer {self.layer}"
        return f"<reader_c.Stage {where}: {', '.join(self.at)}>"


class Walk:
    """The pass of one window of tokens through the model, from Model.trace(). Iterate over its stages once."""

    def __init__(self, model: Handle, tokens: NDArray[np.int32], options: Any, *, int8: bool) -> None:
        self._model, self._tokens, self._options, self._int8 = model, tokens, options, int8
        self._buffers: dict[str, NDArray[Any]] = {}

    def __repr__(self) -> str:
        return f"<reader_c.Walk of {len(self._tokens)} tokens through {self._model.path!r}>"

    def __iter__(self) -> Iterator[Stage]:
        model, tokens, n = self._model, self._tokens, len(self._tokens)
        ids, x = ffi.from_buffer("int32_t[]", tokens), np.empty((n, model.config.dim), np.float32)
        stream = ffi.from_buffer("float[]", x, require_writable=True)
        status = ffi.new("rc_status *")
        with Session(model, n) as session, session._alone() as pointer:
            at, trace = self._record(_EMBEDDING, (), 0)
            check(model.path, lib.rc_walk_embedding(pointer, ids, n, trace, stream, status), status)
            yield Stage(None, at)
            for layer in range(model.config.n_layers):
                at, trace = self._record(_LAYER, _PRODUCTS[:-1], layer)
                check(model.path, lib.rc_walk_layer(pointer, layer, n, self._options, trace, stream, status), status)
                yield Stage(layer, at)
            at, trace = self._record(_CLASSIFIER, _PRODUCTS[-1:], 0)
            out = ffi.from_buffer("float[]", at["logits"], require_writable=True)
            # C writes the logits into this array anyway, so that it need not record them
            trace[lib.RC_AT_LOGITS] = ffi.NULL
            check(model.path, lib.rc_walk_classifier(pointer, n, self._options, trace, stream, out, status), status)
            yield Stage(None, at)

    def _record(self, points: dict[str, int], products: tuple[str, ...], layer: int) -> tuple[dict[str, Any], Any]:
        """Return the arrays by name, and C's table of them. Arrays of the layer before are reused where they fit."""
        recorded = dict(points)
        if self._int8:
            recorded |= {f"{name} int8": _INT8[name] for name in products}
            recorded |= {f"{name} scale": _SCALE[name] for name in products}
        at: dict[str, NDArray[Any]] = {}
        trace = ffi.new("void *[]", lib.RC_POINTS)
        n, heads = len(self._tokens), self._model.config.n_heads
        for name, point in recorded.items():
            width = lib.rc_trace_width(self._model._open_pointer(), point, layer, n)
            if not width:
                continue  # a step that this layer does not take, or int8 activations of a matrix that is not Q8_0
            shape = (n, heads, n) if name in _BY_HEAD else (n, width)
            array = self._buffers.get(name)
            if array is None or array.shape != shape:
                array = np.empty(shape, np.int8 if name.endswith(" int8") else np.float32)
                self._buffers[name] = array
            at[name] = array
            trace[point] = ffi.cast("void *", ffi.from_buffer(array, require_writable=True))
        return at, trace
