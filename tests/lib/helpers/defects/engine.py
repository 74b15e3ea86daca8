"""Mistakes of an engine, as changes of the C reader's source.

A Patch replaces short pieces of text, each of which must stand exactly once in all of reader_c/src: what a rewrite of
the engine has to mend here, it mends in this one file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import exporter
from helpers.defects.kinds import PLAIN, QUANTIZED, V3, Defect, Where
from helpers.defects.writer import turns, untied
from helpers.reader_source import EPS, HEAD, KIND, PAIR, POSITION, ROOT, SINE, SOFTMAX, THETA


@dataclass(frozen=True)
class Patch:
    """(old, new) pieces of C, and compiler flags besides."""

    pieces: tuple[tuple[str, str], ...]
    flags: str = ""

    def apply(self, sources: Path) -> None:
        """To a copy of the reader's source, in place; raises ValueError where a piece does not stand exactly once."""
        for old, new in self.pieces:
            texts = {path: path.read_text(encoding="utf-8") for path in sorted(sources.glob("*.c"))}
            found = [path for path, text in texts.items() for _ in range(text.count(old))]
            if len(found) != 1:
                raise ValueError(f"engine patch: expected {old!r} once, found {len(found)} times")
            found[0].write_text(texts[found[0]].replace(old, new), encoding="utf-8")


# ---- where the source is changed ----

_GATE, _UP = "{{RC_W1, RC_W1_BIAS,", "{RC_W3, RC_W3_BIAS,"
_NORM_WEIGHT = "weight[j] * (scale * x[j])"
_RESIDUAL = "b->x[i] += added[i];"
_PROJECTED = "rc_matrix_of(s->model, to->kind, layer)"
_LOGITS = "rc_project(b, x, 0, 1, &output);"
_ROUND = "half_away(x[j] / s)"
_SCALES = "model->bytes + tensor->scale_offset :"
_KEYS = "float *keys = s->keys + at,"
_SILU = "return x * sigmoid(x);"
_PRODUCT = "rc_matmul(out, x, b->n, w, s->row_room, s->lane_room);"
_PRODUCTS_Q8 = "for (int64_t t = 0; t < b->n; t += RC_MIRROR_BATCH)"
_PRODUCTS_Q8_END = ": RC_MIRROR_BATCH, w, s->row_room, s->lane_room);"


def _product(stop: str, accumulate: str) -> tuple[tuple[str, str], ...]:
    """The float product as a loop over columns up to `stop`, with `accumulate` done to `sum` after each."""
    loop = (
        "for (int64_t r = 0; r < w->rows; r++) { const float *row = rc_matrix_row(w, r, s->row_room);"
        " for (int64_t t = 0; t < b->n; t++) { float sum = 0.0f;"
        f" for (int64_t j = 0; j < {stop}; j++) {{ sum += row[j] * x[t * w->cols + j]; {accumulate} }}"
        " out[t * w->rows + r] = sum; } }"
    )
    return ((_PRODUCT, loop),)


# -fno-fast-math stands before these
_OFAST = Patch((), "-Ofast -ffast-math")

# float32 cut to its upper half, as a sum kept in bfloat16 is after each addition
_TO_BF16 = "uint32_t bits; __builtin_memcpy(&bits, &sum, 4); bits &= 0xffff0000u; __builtin_memcpy(&sum, &bits, 4);"

# The activations' last scale of each row is zero while the product runs, which drops the group.
_LAST_SCALE_ZERO = (
    "float kept[64]; for (int64_t t = 0; t < b->n; t++) {"
    " kept[t] = s->act_scale[(t + 1) * groups - 1]; s->act_scale[(t + 1) * groups - 1] = 0.0f; } "
)
_LAST_SCALE_BACK = " for (int64_t t = 0; t < b->n; t++) s->act_scale[(t + 1) * groups - 1] = kept[t];"


_HALF_SPLIT = (
    "float *lo = x + i / 2, *hi = lo + rotated / 2; const float a = *lo, z = *hi;"
    " *lo = a * c - z * s; *hi = a * s + z * c; continue; " + PAIR
)
_VOCAB = " const int64_t v = b->s->model->config.vocab_size; "
_ROW_OFF = _LOGITS + _VOCAB + "for (int64_t t = 0; t < b->n; t++) logits[t * v + 3] = logits[t * v + 4];"
_LATE = _LOGITS + _VOCAB + "memmove(logits + v, logits, (size_t)((b->n - 1) * v) * sizeof *logits);"
_NONE = _LOGITS + _VOCAB + "memset(logits, 0, (size_t)(b->n * v) * sizeof *logits);"


# ---- the catalogue ----


def _found(operation: str, layer: int | None = 0, **more: Where) -> dict[str, Where]:
    """By operations at a layer and operation, and by the logits."""
    return {"operations": {"layer": layer, "operation": operation}, "execution": {}, **more}


def _engine(
    name: str, patch: Patch | dict[str, str], caught_by: dict[str, Where], diagnosis: str | None = None, **more: Any
) -> Defect:
    made = patch if isinstance(patch, Patch) else Patch(tuple(patch.items()))
    return Defect(name, "engine", made, caught_by, diagnosis, **{"formats": ("v0", "v2", "v3-bf16"), **more})


def _strided(c: exporter.ModelConfig) -> bool:
    """Whether head % n_kv_heads is another one than head / (n_heads / n_kv_heads)."""
    return 1 < c.n_kv_heads < c.n_heads


_CONFIG = (
    _engine("eps 1e-6 for 1e-5", {EPS: "1e-6f"}, _found("attention_norm"), "norm-eps"),
    _engine("theta 1e5 for 1e4", {THETA: "unscaled(1e5,"}, _found("cosine"), "rope-theta"),
    _engine(
        "theta 1e4 for the header's 5e5",
        {THETA: "unscaled(1e4,"},
        _found("cosine"),
        "rope-theta",
        formats=V3,
        needs={"rope_theta": 500000.0},
    ),
    _engine(
        "tied classifier used on an untied model",
        {KIND: KIND.replace("shared_classifier ? RC_TOK_EMBEDDINGS : RC_OUTPUT", "n_layers ? 0 : 0")},
        _found("logits", None),
        "tied-classifier",
        applies=untied,
    ),
    _engine(
        "biases left out",
        {"out[t * bias.cols + i] += values[i];": ";"},
        _found("q"),
        "bias-dropped",
        formats=V3,
        needs={"qkv_bias": True},
    ),
)

_ATTENTION = (
    _engine("half-split rotation", {PAIR: _HALF_SPLIT}, _found("q_rotated"), "rope-half-split", applies=turns),
    _engine("rotated the other way", {SINE: "s = -sine[i / 2];"}, _found("q_rotated"), "rope-backwards"),
    # the same angle between any two positions: no logit tells
    _engine(
        "RoPE position + 1",
        {POSITION: POSITION[:-1] + " + 1,"},
        {"operations": {"operation": "cosine"}},
        "rope-position",
    ),
    _engine(
        "kv head off by one",
        {HEAD: HEAD.replace("kv_head *", "(kv_head + 1) % p->n_kv_heads *")},
        _found("scores"),
        "kv-heads",
        applies=lambda c: c.n_kv_heads > 1,
    ),
    _engine(
        "kv head = head % n_kv_heads",
        {HEAD: HEAD.replace("* sharing + (start + own) % sharing", "+ (start + own) % sharing * p->n_kv_heads")},
        _found("scores"),
        "kv-heads",
        applies=_strided,
    ),
    _engine("scores not divided by sqrt(head_dim)", {ROOT: "key_lanes, 1.0f"}, _found("scores"), "score-scale"),
    _engine("scores divided by head_dim", {ROOT: "key_lanes, (float)size"}, _found("scores"), "score-scale"),
    _engine(
        "softmax without the last position",
        {
            SOFTMAX: "const int last = count > 1; rc_softmax(scores, count - last);"
            " if (last) scores[count - 1] = 0.0f;"
        },
        _found("shares"),
    ),
    _engine(
        "keys of a second batch written one place too early",
        {_KEYS: "float *keys = s->keys + rc_cache_at(s, layer, b->position - (b->position >= RC_MIRROR_BATCH)),"},
        _found("scores"),
        needs={"max_seq_len": 80},
        length=72,
    ),
)

_LAYERS = (
    _engine(
        "gate and up taken for each other",
        {_GATE: "{{RC_W3, RC_W1_BIAS,", _UP: "{RC_W1, RC_W3_BIAS,"},
        _found("gate"),
        "other-tensor",
    ),
    _engine("norm weight not applied", {_NORM_WEIGHT: "scale * x[j] + 0.0f * weight[j]"}, _found("attention_norm")),
    _engine(
        "a residual skipped in layer 1",
        {_RESIDUAL: "b->x[i] = (layer == 1 ? 0.0f : b->x[i]) + added[i];"},
        _found("attention_residual", 1),
        "residual",
    ),
    _engine(
        "layers in reverse order",
        {
            _PROJECTED: "rc_matrix_of(s->model, to->kind,"
            " to->bias == RC_KINDS ? 0 : s->model->config.n_layers - 1 - layer)"
        },
        _found("q"),
        "other-layer",
    ),
    _engine("gelu for silu", {_SILU: "return 0.5f * x * erfcf(-x * 0x1.6a09e6p-1f);"}, _found("gated"), "activation"),
    _engine("a row of the classifier off", {_LOGITS: _ROW_OFF}, _found("logits", None)),
    _engine("logits of the position before", {_LOGITS: _LATE}, _found("logits", None)),
    _engine("logits of zeros", {_LOGITS: _NONE}, _found("logits", None)),
)

_ARITHMETIC = (
    _engine(
        "the last 8 inputs of each row dropped",
        Patch(_product("w->cols - 8", "")),
        _found("q"),
        "last-inputs-dropped",
        formats=PLAIN,
    ),
    _engine(
        "sums stopped one product early",
        Patch(_product("w->cols - 1", "")),
        _found("q"),
        "last-inputs-dropped",
        formats=PLAIN,
    ),
    _engine("sums kept in bfloat16", Patch(_product("w->cols", _TO_BF16)), _found("q"), formats=PLAIN),
    _engine(
        "the last group of int8 products dropped",
        {
            _PRODUCTS_Q8: _LAST_SCALE_ZERO + _PRODUCTS_Q8,
            _PRODUCTS_Q8_END: _PRODUCTS_Q8_END + _LAST_SCALE_BACK,
        },
        _found("q"),
        formats=QUANTIZED,
    ),
    _engine(
        "int8 activations rounded half to even",
        {_ROUND: "(int32_t)rintf(x[j] / s)"},
        {"execution": {"activations": "q8"}},
        "int8-rounding",
        formats=QUANTIZED,
        weights="halves",
    ),
    _engine(
        "int8 activations truncated",
        {_ROUND: "(int32_t)(x[j] / s)"},
        {"operations": {"layer": 0, "operation": "q int8"}},
        "int8-rounding",
        formats=QUANTIZED,
    ),
    _engine(
        "weights' scales of the next group",
        {_SCALES: "model->bytes + tensor->scale_offset + sizeof(float) :"},
        _found("embedding", None),
        formats=("v3-q8_0",),
    ),
    # Other roundings of float sums and functions, which their bounds allow for; but a piece may then have other bits
    # than the whole. int8 activations have one answer.
    _engine("compiled with -Ofast: float activations", _OFAST, {}, formats=("v0", "v1-fp32", "v3-bf16")),
    _engine("compiled with -Ofast: int8 activations", _OFAST, {"execution": {}}, formats=QUANTIZED),
)

ENGINE_DEFECTS = (*_CONFIG, *_ATTENTION, *_LAYERS, *_ARITHMETIC)
