"""Mistakes with what models do beyond Llama: each switch forgotten, or wrong by its usual mistake, in a file's head,
in its tensors, and in an engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import exporter
from exporter.switches import LayerKind
from helpers.defects.drafts import Draft, Seed, change, misread, swap
from helpers.defects.kinds import V3, Defect, Needs, Where
from helpers.mistake_seeds import half_split

Fields = dict[str, Any]

LONGROPE_POSITIONS = 64


def every(windowed: bool, rope: str) -> Callable[[exporter.ModelConfig], tuple[LayerKind, ...]]:
    """The first layer is of this kind, and all others are Llama's."""
    return lambda c: (LayerKind(windowed, rope), *(LayerKind() for _ in range(c.n_layers - 1)))


def having(**fields: Any) -> Needs:
    """A model with these fields; a field that depends on the model is given as a function of it."""
    return lambda c: {name: value(c) if callable(value) else value for name, value in fields.items()}


def _yarn(**other: Any) -> exporter.RopeScaling:
    fields = {"factor": 8.0, "original_max_positions": 64, "beta_fast": 8.0, "beta_slow": 0.5}
    return exporter.RopeScaling("yarn", **{**fields, "attention_factor": 1.25, "truncate": True, **other})


def _factors(c: exporter.ModelConfig) -> tuple[float, ...]:
    return tuple(1.5 + 0.5 * pair for pair in range(c.rotated // 2))


def _longrope(c: exporter.ModelConfig, **other: Any) -> exporter.RopeScaling:
    said = {"attention_factor": 1.25, "short_factors": _factors(c), **other}
    return exporter.RopeScaling("longrope", original_max_positions=LONGROPE_POSITIONS, **said)


def _reciprocal(c: exporter.ModelConfig) -> exporter.RopeScaling:
    return _longrope(c, short_factors=tuple(float(np.float32(1 / factor)) for factor in _factors(c)))


LAYERS_WITHOUT_ROPE = having(layers=every(False, "none"))
SECOND_ROPE = having(layers=every(False, "second"), local_theta=100.0)
WINDOW = having(layers=every(True, "first"), window=5)
BY_HEAD, WHOLE = having(qk_norm="head"), having(qk_norm="whole")
LATE_QUERIES = having(query_scale_beta=0.7, query_scale_positions=3)
PART = having(head_dim=16, rotary_dim=8)
LONGROPE, YARN = having(rope_scaling=_longrope), having(rope_scaling=_yarn())


def misread_by(make: Callable[[exporter.ModelConfig], Fields]) -> Seed:
    """The config with values that depend on the model."""
    return lambda draft: misread(**make(draft.model))(draft)


# ---- in a file ----


def _in_head(name: str, needs: Needs, seed: Seed, field: str, place: Where, diagnosis: str | None) -> Defect:
    """A mistake in a head that leaves the tensors as they are."""
    caught = {"config": {"field": field}, "file": {}, "operations": place, "execution": {}}
    return Defect(name, "writer", seed, caught, diagnosis, formats=V3, needs=needs)


def _in_shape(name: str, needs: Needs, seed: Seed, field: str) -> Defect:
    """A mistake in a head by which the file has other tensors."""
    return Defect(name, "writer", seed, {"config": {"field": field}}, formats=V3, needs=needs)


def _at(operation: str, layer: int | None = 0) -> Where:
    return {"layer": layer, "operation": operation}


_HEAD = (
    ("norms of 1 + w written as norms of w", having(norm_plus_one=True), misread(norm_plus_one=False),
     "norm_plus_one", _at("attention_norm"), "norm-one-missing"),
    ("all of a head rotated instead of a part", PART, misread(rotary_dim=0),
     "rotary_dim", _at("cosine"), "rope-whole-head"),
    ("layers without RoPE rotated", LAYERS_WITHOUT_ROPE, misread(layers=()),
     "layers_without_rope", _at("scores"), "rope-added"),
    ("the second RoPE forgotten", SECOND_ROPE, misread(layers=(), local_theta=0.0),
     "local_theta", _at("cosine"), "rope-of-layers"),
    ("the scale of late queries forgotten", LATE_QUERIES, misread(query_scale_beta=0.0, query_scale_positions=0),
     "query_scale_positions", _at("q_scaled"), "query-scale-missing"),
    ("the window one position too long", WINDOW, misread(window=6),
     "window", _at("scores"), "window-off"),
    ("the window forgotten", WINDOW, misread(window=0, layers=()),
     "window", _at("scores"), "window-ignored"),
    ("the window in every layer", WINDOW,
     misread_by(lambda c: {"layers": (LayerKind(True, "first"),) * c.n_layers}),
     "windowed_layers", _at("scores", 1), "window-everywhere"),
    ("the embedding scale forgotten", having(embedding_scale=5.5), misread(embedding_scale=1.0),
     "embedding_scale", _at("embedding", None), "embedding-scale"),
    ("the embedding scale rounded to bfloat16", having(embedding_scale=48**0.5), misread(embedding_scale=6.9375),
     "embedding_scale", _at("embedding", None), "embedding-scale"),
    ("the score scale forgotten", having(score_scale=0.6), misread(score_scale=0.0),
     "score_scale", _at("scores"), "score-scale-ignored"),
    ("the residual scale forgotten", having(residual_scale=0.3), misread(residual_scale=1.0),
     "residual_scale", _at("attention_residual"), "residual-scale-missing"),
    ("the logit divisor forgotten", having(logit_divisor=8.0), misread(logit_divisor=1.0),
     "logit_divisor", _at("classified", None), "logit-divisor"),
    ("the logit divisor as a factor", having(logit_divisor=8.0), misread(logit_divisor=0.125),
     "logit_divisor", _at("logits", None), "logit-divisor"),
    ("the cap of scores forgotten", having(score_cap=1.5), misread(score_cap=0.0),
     "score_cap", _at("scores_raw"), "cap-missing"),
    ("the cap of logits forgotten", having(logit_cap=2.0), misread(logit_cap=0.0),
     "logit_cap", _at("classified", None), "cap-missing"),
    ("longrope forgotten", LONGROPE, misread(rope_scaling=exporter.RopeScaling()),
     "rope_scaling_type", _at("cosine"), "rope-scaling-ignored"),
    ("longrope without its attention factor", LONGROPE,
     misread_by(lambda c: {"rope_scaling": _longrope(c, attention_factor=1.0)}),
     "rope_scaling_attention_factor", _at("cosine"), "attention-factor-missing"),
    ("longrope's factors as multipliers", LONGROPE,
     misread_by(lambda c: {"rope_scaling": _reciprocal(c)}),
     "rope_scaling_short_factors", _at("cosine"), "rope-factors"),
    ("yarn forgotten", YARN, misread(rope_scaling=exporter.RopeScaling()),
     "rope_scaling_type", _at("cosine"), "rope-scaling-ignored"),
    ("yarn without its attention factor", YARN,
     misread(rope_scaling=_yarn(attention_factor=1.0)),
     "rope_scaling_attention_factor", _at("cosine"), "attention-factor-missing"),
)  # fmt: skip


def _before(draft: Draft) -> None:
    """Norms stand before their blocks, under the names of norms there."""
    renamed = draft.arrays if draft.model.norm_place == "both" else {}
    draft.arrays = renamed or {name.replace("_post_norm", "_norm"): array for name, array in draft.arrays.items()}
    misread(norm_place="before")(draft)


_SHAPES = (
    ("the norms of queries and keys dropped", BY_HEAD, misread(qk_norm="none"), "qk_norm"),
    ("a norm over all heads taken for one of each", WHOLE, misread(qk_norm="head"), "qk_norm"),
    ("norms after blocks taken for norms before", having(norm_place="after"), _before, "norm_place"),
    ("norms on both sides taken for norms before", having(norm_place="both"), _before, "norm_place"),
)


def _one_more(draft: Draft) -> None:
    """As Gemma's norms are computed with, where its file holds w."""
    for name in [name for name in draft.arrays if name.endswith("norm.weight")]:
        draft.arrays[name] = draft.arrays[name] + np.float32(1)


_WK, _WV, _W1 = (f"layers.0.{name}.weight" for name in ("attention.wk", "attention.wv", "feed_forward.w1"))
_NORM = "layers.0.attention_norm.weight"
_Q_NORM, _K_NORM = (f"layers.0.attention.{name}_norm.weight" for name in "qk")

_STORED = (
    Defect("1 added to norms that are stored as w", "writer", _one_more,
           {"tensors": {"tensor": _NORM}, "operations": _at("attention_norm"), "execution": {}},
           "offset", needs=having(norm_plus_one=True), formats=V3),
    Defect("the norms of queries and keys swapped", "writer", swap(_Q_NORM, _K_NORM),
           {"tensors": {"tensor": _Q_NORM}, "operations": _at("q_normed"), "execution": {}}, "tensors-swapped",
           needs=BY_HEAD, formats=V3),
    Defect("the norm of queries left in half-split order", "writer",
           change(_Q_NORM, lambda w, _: half_split(w[:, None], 1)[:, 0]),
           {"tensors": {"tensor": _Q_NORM}, "operations": _at("q_normed"), "execution": {}}, "q-k-not-unpermuted",
           needs=BY_HEAD, formats=V3, applies=lambda c: c.head_dim > 2),
    Defect("keys and values of a fused matrix swapped", "writer", swap(_WK, _WV),
           {"tensors": {"tensor": _WK}, "operations": _at("k"), "execution": {}}, "tensors-swapped"),
)  # fmt: skip

SWITCH_WRITER_DEFECTS = (
    *(_in_head(*defect) for defect in _HEAD),
    *(_in_shape(*defect) for defect in _SHAPES),
    *_STORED,
)
