"""Mistakes of engines with what models do beyond Llama, as changes of the C reader's source."""

from __future__ import annotations

from helpers.defects.engine import Patch
from helpers.defects.kinds import Defect, Needs, Where
from helpers.defects.switches import (
    BY_HEAD,
    LATE_QUERIES,
    LAYERS_WITHOUT_ROPE,
    LONGROPE,
    PART,
    SECOND_ROPE,
    WINDOW,
    YARN,
    having,
)

# ---- where the source is changed ----

_QK_NORM = "if (p->qk_norm != RC_QK_PLAIN)"
_BY_HEAD = "by_head ? p->n_heads : 1, RC_Q_NORM"
_PLUS_ONE = "room[j] = 1.0f + weight[j];"
_ROTATED = "if (kind.rope != RC_NO_ROPE)"
_SECOND = "kind.rope == RC_SECOND_ROPE, keys"
_EXPONENT = "unscaled(config->rope_theta, i, config->rotary_dim, power)"
_LATE = "const float scale = query_scale(b, b->position + t);"
_FLOOR = "(double)(position / p->query_scale_positions)"
_WINDOW = "? s->model->config.window : INT64_MAX"
_WINDOWED = "const int64_t window = rc_is_windowed(s->model, layer)"
_EMBEDDING = "(float)p->embedding_scale"
_SCORES = "score(&a, key_lanes, sqrtf((float)size), (float)p->score_scale);"
_RESIDUAL = "(float)p->residual_scale"
_DIVISOR = "logits[i] /= divisor;"
_CAP_SCORES = "rc_cap(scores, count, cap);"
_CAP_LOGITS = "if (cap > 0.0f)\n        (b->fast ? b->fast->cap : rc_cap)"
_ATTENTION_FACTOR = "scales ? (float)p->scaling.attention_factor : 1.0f"
_LONGROPE = "return 1.0 / (double)factor;"
_RAMP_END = "high = ceil(high);"


def _engine(name: str, needs: Needs, old: str, new: str, place: Where, diagnosis: str | None) -> Defect:
    caught = {"operations": place, "execution": {}}
    return Defect(name, "engine", Patch(((old, new),)), caught, diagnosis, formats=("v3", "v3-bf16"), needs=needs)


def _at(operation: str, layer: int | None = 0) -> Where:
    return {"layer": layer, "operation": operation}


SWITCH_ENGINE_DEFECTS = tuple(
    _engine(*defect)
    for defect in (
        ("norms of queries and keys not applied", BY_HEAD, _QK_NORM, "if (p->qk_norm > 9)",
         _at("q_normed"), "qk-norm-missing"),
        ("1 not added to norms", having(norm_plus_one=True), _PLUS_ONE, "room[j] = weight[j];",
         _at("attention_norm"), "norm-one-missing"),
        ("1 added to norms twice", having(norm_plus_one=True), _PLUS_ONE, "room[j] = 2.0f + weight[j];",
         _at("attention_norm"), "norm-one-twice"),
        ("frequencies of a whole head for a part", PART, _EXPONENT,
         "unscaled(config->rope_theta, i, config->head_dim, power)", _at("cosine"), "rope-theta"),
        ("RoPE in layers that have none", LAYERS_WITHOUT_ROPE, _ROTATED, "if (kind.rope < 9)",
         _at("scores"), None),
        ("the first RoPE in every layer", SECOND_ROPE, _SECOND, "0, keys", _at("cosine"), "rope-of-layers"),
        ("queries not scaled at late positions", LATE_QUERIES, _LATE, "const float scale = 1.0f;",
         _at("q_scaled"), "query-scale-missing"),
        ("the position of late queries not rounded down", LATE_QUERIES, _FLOOR,
         "(double)position / p->query_scale_positions", _at("q_scaled"), None),
        ("a window one position too short", WINDOW, _WINDOW, "? s->model->config.window - 1 : INT64_MAX",
         _at("scores"), "window-off"),
        ("windows ignored", WINDOW, _WINDOWED, "const int64_t window = layer < 0",
         _at("scores"), "window-ignored"),
        ("embeddings not scaled", having(embedding_scale=5.5), _EMBEDDING, "1.0f",
         _at("embedding", None), "embedding-scale"),
        ("scores divided by sqrt(head_dim) in spite of a scale", having(score_scale=0.6), _SCORES,
         "score(&a, key_lanes, sqrtf((float)size), 0.0f);", _at("scores"), "score-scale-ignored"),
        ("what layers add not scaled", having(residual_scale=0.3), _RESIDUAL, "1.0f",
         _at("attention_residual"), "residual-scale-missing"),
        ("logits multiplied by their divisor", having(logit_divisor=8.0), _DIVISOR, "logits[i] *= divisor;",
         _at("logits", None), "logit-divisor"),
        ("logits not divided", having(logit_divisor=8.0), _DIVISOR, ";", _at("logits", None), "logit-divisor"),
        ("scores not capped", having(score_cap=1.5), _CAP_SCORES, ";", _at("scores"), "cap-missing"),
        ("logits not capped", having(logit_cap=2.0), _CAP_LOGITS, _CAP_LOGITS.replace("0.0f", "9e9f"),
         _at("logits", None), "cap-missing"),
        ("longrope without its factor of sines and cosines", LONGROPE, _ATTENTION_FACTOR, "scales ? 1.0f : 1.0f",
         _at("cosine"), "attention-factor-missing"),
        ("frequencies multiplied by longrope's factors", LONGROPE, _LONGROPE, "return (double)factor;",
         _at("cosine"), "rope-factors"),
        ("longrope not applied", LONGROPE, _LONGROPE, "return 1.0;", _at("cosine"), None),
        ("yarn without its factor of sines and cosines", YARN, _ATTENTION_FACTOR, "scales ? 1.0f : 1.0f",
         _at("cosine"), "attention-factor-missing"),
        ("yarn's ramp rounded inwards", YARN, _RAMP_END, "high = floor(high);", _at("cosine"), None),
        ("queries normed over all heads", BY_HEAD, _BY_HEAD, "1, RC_Q_NORM", _at("q_normed"), None),
    )
)  # fmt: skip
