"""The table of mistakes with numbers and parts: what seeds each, and the name that it must get."""

from __future__ import annotations

import numpy as np
from ml_dtypes import bfloat16

from helpers import mistake_seeds as m
from helpers.mistake_tables import FLOATS, FP32, GROUP, QUANTIZED, STORED


def half(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float16).astype(np.float32)


def brain(array: np.ndarray) -> np.ndarray:
    return array.astype(bfloat16).astype(np.float32)


def cut(array: np.ndarray) -> np.ndarray:
    return (array.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def cut_to_fp16(array: np.ndarray) -> np.ndarray:
    near = array.astype(np.float16)
    return np.where(np.abs(half(array)) > np.abs(array), np.nextafter(near, np.float16(0)), near).astype(np.float32)


def exact_halves_up(quotient: np.ndarray) -> np.ndarray:
    return np.floor(quotient.astype(np.float64) + 0.5)


def over_128(groups: np.ndarray) -> np.ndarray:
    return np.abs(groups).max(axis=1, keepdims=True) / np.float32(128)


def asymmetric(groups: np.ndarray, within: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 from the least to the largest number of each group of `within`."""
    low = within.min(axis=1, keepdims=True)
    scale = (within.max(axis=1, keepdims=True) - low) / np.float32(255)
    zero = -128 - np.rint(low / scale)
    return np.clip(np.rint(groups / scale) + zero, -128, 127), scale


def signed(groups: np.ndarray, divisor: int) -> tuple[np.ndarray, np.ndarray]:
    extreme = np.take_along_axis(groups, np.abs(groups).argmax(axis=1)[:, None], 1)
    scale = extreme / np.float32(divisor)
    return np.clip(np.rint(groups / scale), -128, 127), scale


def first_500(array: np.ndarray) -> np.ndarray:
    return np.where(np.arange(array.size).reshape(array.shape) < 500, array, array.dtype.type(0))


def without_tail(array: np.ndarray, columns: int) -> np.ndarray:
    return np.hstack([array[:, :-columns], np.zeros_like(array[:, -columns:])])


def flip(array: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed.view(np.uint8).flat[77] ^= 4
    return changed


def nudge(array: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed.view(np.uint8)[3, 9] ^= 0x55
    return changed


def nudge_three(array: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed.view(np.uint8)[3:6, 9] ^= 0x55
    return changed


# name -> what seeds it, the mistake's name, and the storages that it shows in
IN_PARTS: dict[str, tuple[m.InParts, str, tuple[str, ...]]] = {
    "scales in fp16": (
        m.to_parts("scale", change=half),
        "scales-rounded-to-fp16",
        QUANTIZED,
    ),
    "scales in bf16": (
        m.to_parts("scale", change=brain),
        "scales-rounded-to-bf16",
        QUANTIZED,
    ),
    "divided by fp16 scales": (
        m.requantized(lambda g: (np.rint(g / half(m.scale_of(g))).clip(-127, 127), half(m.scale_of(g)))),
        "scales-rounded-to-fp16",
        QUANTIZED,
    ),
    "halves away from zero": (
        m.requantized(lambda g: (np.trunc(g / m.scale_of(g) + np.copysign(0.5, g)), m.scale_of(g))),
        "halves-rounded-away-from-zero",
        QUANTIZED,
    ),
    "divided by bf16 scales": (
        m.requantized(lambda g: (np.rint(g / brain(m.scale_of(g))).clip(-127, 127), brain(m.scale_of(g)))),
        "scales-rounded-to-bf16",
        QUANTIZED,
    ),
    "exact halves away from zero": (
        m.requantized(lambda g: (np.copysign(exact_halves_up(np.abs(g / m.scale_of(g))), g), m.scale_of(g))),
        "halves-rounded-away-from-zero",
        QUANTIZED,
    ),
    "exact halves up": (
        m.requantized(lambda g: (exact_halves_up(g / m.scale_of(g)), m.scale_of(g))),
        "halves-rounded-up",
        QUANTIZED,
    ),
    "halves up": (
        m.requantized(lambda g: (np.floor(g / m.scale_of(g) + 0.5), m.scale_of(g))),
        "halves-rounded-up",
        QUANTIZED,
    ),
    "floor": (m.requantized(lambda g: (np.floor(g / m.scale_of(g)), m.scale_of(g))), "rounded-down", QUANTIZED),
    "trunc": (
        m.requantized(lambda g: (np.trunc(g / m.scale_of(g)), m.scale_of(g))),
        "rounded-towards-zero",
        QUANTIZED,
    ),
    "half added, then truncated": (
        m.requantized(lambda g: (np.trunc(g / m.scale_of(g) + np.float32(0.5)), m.scale_of(g))),
        "half-added-then-truncated",
        QUANTIZED,
    ),
    "negative numbers truncated": (
        m.requantized(
            lambda g: (np.where(g < 0, np.trunc(g / m.scale_of(g)), np.rint(g / m.scale_of(g))), m.scale_of(g))
        ),
        "half-added-then-truncated",
        QUANTIZED,
    ),
    "a zero point": (m.requantized(lambda g: asymmetric(g, g)), "zero-point-dropped", QUANTIZED),
    "a zero point in a range with zero": (
        m.requantized(lambda g: asymmetric(g, np.pad(g, ((0, 0), (0, 1))))),
        "zero-point-dropped",
        QUANTIZED,
    ),
    "a signed scale over -128": (m.requantized(lambda g: signed(g, -128)), "signed-scales", QUANTIZED),
    "a signed scale over -127": (m.requantized(lambda g: signed(g, -127)), "signed-scales", QUANTIZED),
    "int8 one place late": (m.to_parts("int8", change=lambda q: np.roll(q, 1)), "int8-displaced", QUANTIZED),
    "int8 one place early": (m.to_parts("int8", change=lambda q: np.roll(q, -1)), "int8-displaced", QUANTIZED),
    "int8 one place late in its row": (
        m.to_parts("int8", change=lambda q: np.roll(q, 1, axis=1)),
        "int8-displaced",
        QUANTIZED,
    ),
    "int8 minus two": (
        m.to_parts("int8", change=lambda q: np.clip(q.astype(int) - 2, -128, 127).astype(np.int8)),
        "int8-offset",
        QUANTIZED,
    ),
    "int8 plus one, wrapped": (m.to_parts("int8", change=lambda q: q + np.int8(1)), "int8-offset", QUANTIZED),
    "negated": (m.to_parts("fp32", "fp16", change=np.negative), "scaled", FLOATS),
    "over 128": (
        m.requantized(lambda g: (np.rint(g / over_128(g)).clip(-128, 127), over_128(g))),
        "divided-by-128",
        QUANTIZED,
    ),
    "over 128, clamped to 127": (
        m.requantized(lambda g: (np.rint(g / over_128(g)).clip(-127, 127), over_128(g))),
        "divided-by-128",
        QUANTIZED,
    ),
    "times the reciprocal, halves away": (
        m.requantized(lambda g: (np.copysign(exact_halves_up(np.abs(g * (1 / m.scale_of(g)))), g), m.scale_of(g))),
        "multiplied-by-reciprocal",
        QUANTIZED,
    ),
    "times the reciprocal": (
        m.requantized(lambda g: (np.rint(g * (1 / m.scale_of(g))), m.scale_of(g))),
        "multiplied-by-reciprocal",
        QUANTIZED,
    ),
    "in double": (
        m.requantized(lambda g: (np.rint(g / m.scale_of(g.astype(float))), m.scale_of(g.astype(float)))),
        "quantized-in-double",
        QUANTIZED,
    ),
    "a scale a row": (m.with_peaks(lambda w: np.abs(w).max(axis=1, keepdims=True)), "one-scale-a-row", QUANTIZED),
    "one scale": (m.with_peaks(lambda w: np.abs(w).max(keepdims=True)), "one-scale", QUANTIZED),
    "magnitudes for scales": (
        m.requantized(lambda g: (np.rint(g / m.scale_of(g)), np.abs(g).max(axis=1))),
        "scales-not-divided",
        QUANTIZED,
    ),
    "reciprocals for scales": (m.to_parts("scale", change=lambda s: 1 / s), "scales-inverted", QUANTIZED),
    "scales a group late": (
        m.to_parts("scale", change=lambda s: np.roll(s, 1)),
        "scales-shifted-by-a-group",
        QUANTIZED,
    ),
    "scales a group early, the last one lost": (
        m.to_parts("scale", change=lambda s: np.append(s.ravel()[1:], np.float32(7)).reshape(s.shape)),
        "scales-shifted-by-a-group",
        QUANTIZED,
    ),
    "scales a row late": (
        m.to_parts("scale", change=lambda s: np.roll(s, s.shape[1])),
        "scales-shifted-by-a-row",
        QUANTIZED,
    ),
    "scales a row early": (
        m.to_parts("scale", change=lambda s: np.roll(s, -s.shape[1])),
        "scales-shifted-by-a-row",
        QUANTIZED,
    ),
    "int8 of zero": (m.to_parts("int8", change=np.zeros_like), "zeros", QUANTIZED),
    "the last scale of each row dropped": (
        m.to_parts("scale", change=lambda s: without_tail(s, 1)),
        "row-tails-zero",
        QUANTIZED,
    ),
    "scales of zero": (m.to_parts("scale", change=np.zeros_like), "scales-zero", QUANTIZED),
    "int8 negated": (m.to_parts("int8", change=np.negative), "int8-negated", QUANTIZED),
    "int8 unsigned": (
        m.to_parts("int8", change=lambda q: q.view(np.uint8) + np.uint8(128)),
        "int8-unsigned",
        QUANTIZED,
    ),
    "the last group dropped": (
        m.to_parts("int8", change=lambda q: without_tail(q, GROUP)),
        "row-tails-zero",
        QUANTIZED,
    ),
    "the last columns dropped": (
        m.to_parts("fp32", "fp16", change=lambda w: without_tail(w, GROUP)),
        "row-tails-zero",
        FLOATS,
    ),
    "big-endian": (m.to_parts("fp32", "fp16", "bf16", "scale", change=np.ndarray.byteswap), "big-endian", STORED),
    "rounded to bf16": (
        m.to_parts("fp32", change=brain),
        "rounded-to-bf16",
        FP32,
    ),
    "rounded to fp16": (m.to_parts("fp32", change=half), "rounded-to-fp16", FP32),
    "cut to fp16": (m.to_parts("fp32", change=cut_to_fp16), "cut-to-fp16", FP32),
    "fp16 cut": (
        m.from_weights("fp16", lambda w: cut_to_fp16(w).astype(np.float16)),
        "cut-to-fp16",
        ("v3-fp16",),
    ),
    "bf16 cut": (m.from_weights("bf16", lambda w: cut(w).view(np.uint32) >> 16), "cut-to-bf16", ("v3-bf16",)),
    "fp16 in bf16's place": (
        m.from_weights("bf16", lambda w: w.astype(np.float16).view(np.uint16)),
        "halves-mixed-up",
        ("v3-bf16",),
    ),
    "bf16 in fp16's place": (
        m.from_weights("fp16", lambda w: w.astype(bfloat16).view(np.float16)),
        "halves-mixed-up",
        ("v3-fp16",),
    ),
    "cut to bf16": (m.to_parts("fp32", change=cut), "cut-to-bf16", FP32),
    "cut short": (
        m.to_parts("fp32", "fp16", change=first_500),
        "cut-short",
        FLOATS,
    ),
    "a flipped bit": (m.to_parts("fp32", "int8", "fp16", "bf16", change=flip), "bit-flipped", STORED),
    "a weight": (m.to_parts("fp32", "int8", "fp16", "bf16", change=nudge), "few-elements", STORED),
    "three weights": (m.to_parts("fp32", "int8", "fp16", "bf16", change=nudge_three), "few-elements", STORED),
}
