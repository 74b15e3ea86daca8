"""Places in the C reader's source, as its text has them, where mistakes are made: each stands there once."""

from __future__ import annotations

EPS = "(float)p->norm_eps"
THETA = "(float)config->rope_theta"
PAIR = "const float even = x[i], odd = x[i + 1];"
SINE = "s = sine[i / 2];"
POSITION = "rc_rope_row(cosine, sine, b->position + t,"
HEAD = "kv_head * sharing + (first + distinct) % sharing"
ROOT = "root = sqrtf((float)head_size)"
SOFTMAX = "rc_softmax(a.scores[r], a.seen[r]);"
KIND = "shared_classifier ? RC_TOK_EMBEDDINGS : RC_OUTPUT;\n    const rc_projection"
