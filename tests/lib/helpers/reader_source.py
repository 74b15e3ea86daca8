"""Places in the C reader's source, as its text has them, where mistakes are made: each stands there once."""

from __future__ import annotations

EPS = "(float)b->s->model->config.norm_eps"
THETA = "unscaled(config->rope_theta,"
PAIR = "const float even = x[i], odd = x[i + 1];"
SINE = "s = sine[i / 2];"
POSITION = "rc_rope_row(cosine, sine, position,"
HEAD = "a.head[r] = kv_head * sharing + (start + own) % sharing;\n        a.seen[r] = before"
ROOT = "key_lanes, sqrtf((float)size)"
SOFTMAX = "rc_softmax(scores, count);"
KIND = "shared_classifier ? RC_TOK_EMBEDDINGS : RC_OUTPUT;\n    const int point"
