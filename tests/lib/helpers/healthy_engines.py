"""Healthy engines of users that round otherwise than the reader: other compiler flags, other orders of sums."""

from __future__ import annotations

from helpers.defects.engine import Patch

_GROUPS = "for (int64_t g = 0; g < groups; g++) {\n                const int32_t sum"
_GROUP = "value += (float)sum * rc_load_f32(scales + g * (int64_t)sizeof(float)) * scale[t * groups + g];"
_DOT = "const int32_t sum = dot_int8(q + t * w->cols + g * size, row + g * size, size);"
_ROUND = "half_away(x[j] / s)"
_SQUARES = "float scale = 0.0f;\n    for (int64_t j = 0; j < dim; j++)\n        scale += x[j] * x[j];"
_SOFTMAX_SUM = "float sum = 0.0f;\n    for (int64_t i = 0; i < n; i++) {\n        x[i] = expf(x[i] - largest);"
_DIVIDED = "x[i] /= divisor;"
_SCORE = "sum[r].at[l] / root :"
_SIGMOID = "return 1.0f / (1.0f + expf(-x));"

HEALTHY = {
    "-O2": Patch((), "-O2"),
    "-O3 -march=native": Patch((), "-O3 -march=native -ffp-contract=fast"),
    "-O3 -march=native -ffast-math": Patch((), "-O3 -march=native -ffast-math"),
    "-Ofast": Patch((), "-Ofast -ffast-math"),
    "groups from the last to the first": Patch(
        ((_GROUPS, _GROUPS.replace("g = 0; g < groups; g++", "g = groups - 1; g >= 0; g--")),)
    ),
    "scales multiplied first": Patch(
        (
            (
                _GROUP,
                "value += (float)sum * (rc_load_f32(scales + g * (int64_t)sizeof(float)) * scale[t * groups + g]);",
            ),
        )
    ),
    "weights dequantized, sums of floats": Patch(
        (
            (_DOT, ""),
            (
                _GROUP,
                "for (int64_t j = 0; j < size; j++) value += (float)row[g * size + j] * rc_load_f32(scales + g * 4)"
                " * ((float)q[t * w->cols + g * size + j] * scale[t * groups + g]);",
            ),
        )
    ),
    "multiplied by the reciprocal of the scale": Patch(((_ROUND, "half_away(x[j] * (1.0f / s))"),)),
    "sums of squares and of exponentials in double": Patch(
        (
            (
                _SQUARES,
                "double exact = 0.0;\n    for (int64_t j = 0; j < dim; j++)\n        exact += (double)x[j] * x[j];"
                " float scale = (float)exact;",
            ),
            (_SOFTMAX_SUM, _SOFTMAX_SUM.replace("float sum = 0.0f", "double sum = 0.0")),
        )
    ),
    "reciprocals in attention": Patch(
        ((_SCORE, "sum[r].at[l] * (1.0f / root) :"), (_DIVIDED, "x[i] *= 1.0f / divisor;"))
    ),
    "functions in double": Patch(((_SIGMOID, "return (float)(1.0 / (1.0 + exp(-(double)x)));"),)),
}
