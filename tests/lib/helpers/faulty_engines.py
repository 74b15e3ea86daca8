"""Faulty engines of users: the documentation's example over the C reader, with one mistake each.

A line is a name and (old, new) pieces of C, each of which must stand exactly once in the reader's source and the
example, which is mine.c. Engines run one token after the other, with the arithmetic `mirror`.
"""

from __future__ import annotations

from helpers.defects.engine import Patch
from helpers.reader_source import EPS, HEAD, KIND, PAIR, POSITION, ROOT, SINE, SOFTMAX, THETA

# ---- where the source is changed ----

_EXP = "x[i] = expf(x[i] - largest);"
_GATE, _UP = "{{RC_W1, RC_W1_BIAS,", "{RC_W3, RC_W3_BIAS,"
_WV, _WK = "{RC_WV, RC_WV_BIAS,", "{RC_WK, RC_WK_BIAS,"
_NORM_WEIGHT = "weight[j] * (scale * x[j])"
_NORM_MEAN = "scale /= (float)dim;"
_FINAL_NORM = "input_of_block(b, RC_NORM, 0, RC_AT_FINAL_NORM)"
_NORM_OF = "const float *weight = factors(b, &w),"
_RESIDUAL = "b->x[i] += added[i];"
_PROJECTED = "rc_matrix_of(s->model, to->kind, layer)"
_SILU = "return x * sigmoid(x);"
_PRODUCT = "sum[r] += row[r][j] * x[j];"
_BIAS = "out[t * bias.cols + i] += values[i];"
_ROTATED_Q = "rc_rotate(s->q + t * size * p->n_heads, p->n_heads, size, p->rotary_dim, cosine, sine);"
_ROTATED_K = "rc_rotate(keys + t * size * p->n_kv_heads, p->n_kv_heads, size, p->rotary_dim, cosine, sine);"
_EMBEDDED = "rc_finish_step(b);\n    rc_record(&b->trace, RC_AT_EMBEDDING, 0, b->x, b->n);"
_LAYER = "run_attention(b, layer);\n    run_feed_forward(b, layer);"
# of the example
_FORWARD = "must(rc_session_forward("
_RETURN = "return t->logits;"
_RESTART = "if (pos == 0) {"

_ROUND = "half_away(x[j] / s)"
_PEAK = "const float s = isfinite(largest) ? largest / 127.0f : NAN;"
_CLAMPED = "(int8_t)(rounded > 127 ? 127 : rounded < -127 ? -127 : rounded)"
_INTEGERS = "sum += (int32_t)a[j] * (int32_t)b[j];"
_GROUPS = "for (int64_t g = 0; g < groups; g++) {\n                const int32_t sum"
_GROUP = "value += (float)sum * rc_load_f32(scales + g * (int64_t)sizeof(float)) * scale[t * groups + g];"
_INT8 = "const bool int8 = prepare(b, x, &w, &group_size);"
_NO_INT8 = "const bool int8 = to->kind != {} && prepare(b, x, &w, &group_size);"

_TO_BF16 = "uint32_t bits; __builtin_memcpy(&bits, &{0}, 4); bits &= 0xffff0000u; __builtin_memcpy(&{0}, &bits, 4);"
_ALL_LOGITS = "for (int i = 0; i < rc_model_config(t->model)->vocab_size; i++) "
_HALF_SPLIT = (
    "float *lo = x + i / 2, *hi = lo + rotated / 2; const float a = *lo, z = *hi;"
    " *lo = a * c - z * s; *hi = a * s + z * c; continue; "
)
_ONE_FURTHER = (
    " for (int64_t h = 0; h < p->n_heads; h++) for (int64_t i = 0; i < half; i++) {"
    " float *at = s->q + (t * p->n_heads + h) * size + 2 * i; const float a = at[0], z = at[1];"
    " const float c1 = cosf(s->frequency[rope][i]), s1 = sinf(s->frequency[rope][i]);"
    " at[0] = a * c1 - z * s1; at[1] = a * s1 + z * c1; }"
)
_TO_HALF = (
    " for (int64_t i = 0; i < size * p->n_kv_heads; i++) {"
    " float *at = keys + t * size * p->n_kv_heads + i; *at = (float)(_Float16)*at; }"
)
_INCLUDES = '#include "fast_attention.h"\n#include "heads.h"'
_INCLUDE_MATH = (_INCLUDES, _INCLUDES + "\n#include <math.h>")
_FAST_EXP = (
    "union { int32_t i; float f; } e; e.i = (int32_t)(12102203.0f * fmaxf(x[i] - largest, -80.0f)) + 1064866805;"
    " x[i] = e.f;"
)
_WINDOW = "for (int64_t i = 0; i < count - {}; i++) scores[i] = -INFINITY; "


def _patch(*pieces: tuple[str, str]) -> Patch:
    return Patch(pieces)


def _eps(value: str) -> Patch:
    return _patch((EPS, value))


def _token(found: int, taken: int) -> Patch:
    return _patch((_FORWARD, f"if (token == {found}) token = {taken};\n    {_FORWARD}"))


def _logits(change: str) -> Patch:
    return _patch((_RETURN, f"{change} {_RETURN}"))


# ---- of both kinds of activations ----

_BOTH = {
    "eps 1e-6 for 1e-5": _eps("1e-6f"),
    "theta 20000 for 10000": _patch((THETA, "unscaled(2e4,")),
    "SiLU 3% too large": _patch((_SILU, "return 1.03f * x * sigmoid(x);")),
    "GELU for SiLU": _patch((_SILU, "return 0.5f * x * erfcf(-x * 0x1.6a09e6p-1f);")),
    "scores times 1.1": _patch((ROOT, ROOT + " / 1.1f")),
    "final norm ignored": _patch((_FINAL_NORM, "b->x")),
    "final norm's weights ignored": _patch(
        (
            _NORM_OF,
            "static float ones[4096]; for (int i = 0; i < 4096; i++) ones[i] = 1.0f;"
            " const float *weight = kind == RC_NORM ? ones : factors(b, &w),",
        )
    ),
    "queries rotated one position too far": _patch((_ROTATED_Q, _ROTATED_Q + _ONE_FURTHER)),
    "kv head off by one": _patch((HEAD, HEAD.replace("kv_head *", "(kv_head + 1) % p->n_kv_heads *"))),
    "a residual skipped in layer 1": _patch((_RESIDUAL, "b->x[i] = (layer == 1 ? 0.0f : b->x[i]) + added[i];")),
    "softmax by a fast exponential": _patch((_EXP, _FAST_EXP)),
    "only the last 32 positions attended": _patch((SOFTMAX, _WINDOW.format(32) + SOFTMAX)),
    "keys in half precision": _patch((_ROTATED_K, _ROTATED_K + _TO_HALF)),
    "one token embedded as its neighbour": _token(7, 8),
    "NaN for one token": _logits("if (token == 7) t->logits[3] = 0.0f / 0.0f;"),
    "everything forgotten at position 64": _patch((_RESTART, "if (pos % 64 == 0) {")),
    "RoPE stands still from position 48 on": _patch(
        (POSITION, POSITION.replace("position", "(position > 48 ? 48 : position)"))
    ),
    "the second sequence goes on where the first ended": _patch(
        (_RESTART, "if (pos == 0 && !t->session) {"),
    ),
    "two logits exchanged": _logits("float kept = t->logits[3]; t->logits[3] = t->logits[4]; t->logits[4] = kept;"),
    "logits times 1.01": _logits(_ALL_LOGITS + "t->logits[i] *= 1.01f;"),
}

# ---- of int8 activations ----

_OF_INT8 = {
    "activations truncated": _patch((_ROUND, "(int32_t)(x[j] / s)")),
    "activations rounded down": _patch((_ROUND, "(int32_t)floorf(x[j] / s)")),
    "activations with a zero point of 1": _patch((_ROUND, "half_away(x[j] / s + 1.0f)")),
    "the peak over 128": _patch((_PEAK, _PEAK.replace("127", "128"))),
    "activations clamped at 120": _patch((_CLAMPED, _CLAMPED.replace("127", "120"))),
    "activations' scales in half precision": _patch(
        (_PEAK, _PEAK.replace("largest / 127.0f", "(float)(_Float16)(largest / 127.0f)"))
    ),
    "activations' scale of the group before": _patch(
        (_GROUP, _GROUP.replace("groups + g]", "groups + (g ? g - 1 : 0)]"))
    ),
    "the last group dropped": _patch((_GROUPS, _GROUPS.replace("g < groups;", "g < groups - 1;"))),
    "the last product of each group dropped": _patch((_INTEGERS, "if (j < n - 1) " + _INTEGERS)),
    "sums of integers in 16 bits": _patch((_INTEGERS, "sum = (int16_t)(sum + (int32_t)a[j] * (int32_t)b[j]);")),
    "sums of groups in bfloat16": _patch((_GROUP, _GROUP + " " + _TO_BF16.format("value"))),
    "weights' scales of the next group": _patch(
        ("model->bytes + tensor->scale_offset :", "model->bytes + tensor->scale_offset + sizeof(float) :")
    ),
    "float activations in the classifier": _patch((_INT8, _NO_INT8.format("RC_OUTPUT"))),
    "float activations in wo": _patch((_INT8, _NO_INT8.format("RC_WO"))),
}

# ---- of float activations ----

_OF_FLOAT = {
    "eps 2e-5 for 1e-5": _eps("2e-5f"),
    "theta 10001 for 10000": _patch((THETA, "unscaled(10001.0,")),
    "halves rotated for pairs": _patch((PAIR, _HALF_SPLIT + PAIR)),
    "rotated the other way": _patch((SINE, "s = -sine[i / 2];")),
    "kv head = head % n_kv_heads": _patch(
        (HEAD, HEAD.replace("* sharing + (start + own) % sharing", "+ (start + own) % sharing * p->n_kv_heads"))
    ),
    "scores times 1.0001": _patch((ROOT, ROOT + " / 1.0001f")),
    "scores divided by the head size": _patch((ROOT, "key_lanes, (float)size")),
    "softmax without the last position": _patch(
        (
            SOFTMAX,
            "const int last = count > 1; rc_softmax(scores, count - last); if (last) scores[count - 1] = 0.0f;",
        )
    ),
    "gate and up exchanged": _patch((_GATE, "{{RC_W3, RC_W1_BIAS,"), (_UP, "{RC_W1, RC_W3_BIAS,")),
    "biases of keys and values exchanged": _patch((_WK, "{RC_WK, RC_WV_BIAS,"), (_WV, "{RC_WV, RC_WK_BIAS,")),
    "biases left out": _patch((_BIAS, ";")),
    "norm's weights ignored": _patch((_NORM_WEIGHT, "scale * x[j] + 0.0f * weight[j]")),
    "mean of squares over dim - 1": _patch((_NORM_MEAN, "scale /= (float)(dim - 1);")),
    "layers in reverse order": _patch(
        (
            _PROJECTED,
            "rc_matrix_of(s->model, to->kind, to->bias == RC_KINDS ? 0 : s->model->config.n_layers - 1 - layer)",
        )
    ),
    "the last layer skipped": _patch(
        (_LAYER, "if (layer == b->s->model->config.n_layers - 1) return;\n    " + _LAYER)
    ),
    "feed-forward before attention": _patch((_LAYER, "run_feed_forward(b, layer);\n    run_attention(b, layer);")),
    "SiLU by 1.702": _patch((_SILU, "return x * sigmoid(1.702f * x);")),
    "SiLU 0.1% too large": _patch((_SILU, "return 1.001f * x * sigmoid(x);")),
    "embedding for the classifier": _patch(
        (KIND, KIND.replace("shared_classifier ? RC_TOK_EMBEDDINGS : RC_OUTPUT", "n_layers ? 0 : 0"))
    ),
    "logits of the token before": _logits(
        "static float kept[96], now[96]; __builtin_memcpy(now, t->logits, sizeof now);"
        " if (pos) __builtin_memcpy(t->logits, kept, sizeof now); __builtin_memcpy(kept, now, sizeof now);"
    ),
    "logits in bfloat16": _logits(_ALL_LOGITS + "{ " + _TO_BF16.format("t->logits[i]") + " }"),
    "logits times 1.00001": _logits(_ALL_LOGITS + "t->logits[i] *= 1.00001f;"),
    "logits of zeros": _logits(_ALL_LOGITS + "t->logits[i] = 0.0f;"),
    "the last product of each row dropped": _patch((_PRODUCT, "if (j < w->cols - 1) " + _PRODUCT)),
    "sums in bfloat16": _patch((_PRODUCT, "{ " + _PRODUCT + " " + _TO_BF16.format("sum[r]") + " }")),
    "weights in bfloat16": _patch(
        (_PRODUCT, "{ float weight = row[r][j]; " + _TO_BF16.format("weight") + " sum[r] += weight * x[j]; }")
    ),
    "embeddings times sqrt(dim)": _patch(
        _INCLUDE_MATH,
        (
            _EMBEDDED,
            "for (int64_t i = 0; i < b->n * p->dim; i++) b->x[i] *= sqrtf((float)p->dim);\n    " + _EMBEDDED,
        ),
    ),
    "a rare token embedded as zero": _patch(
        (
            _EMBEDDED,
            "for (int64_t i = 0; i < b->n * p->dim; i++) b->x[i] *= tokens[i / p->dim] != 95;\n    " + _EMBEDDED,
        )
    ),
}

INT8_FAULTS = {**_BOTH, **_OF_INT8}
FLOAT_FAULTS = {**_BOTH, **_OF_FLOAT}
