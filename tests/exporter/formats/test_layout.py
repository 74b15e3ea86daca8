"""The layouts of v0 to v2: without gap or overlap, with the header of each, and only for what they can express."""

from __future__ import annotations

import struct
from math import prod

import pytest
from helpers.models import LEGACY_FORMATS, config
from helpers.v3_files import SCALINGS
from hypothesis import given
from hypothesis import strategies as st

import exporter
from exporter.config import tensor_shapes
from exporter.formats.layout import (
    LARGEST_GROUP,
    PAYLOADS,
    check_expressible,
    check_group_size,
    choose_group_size,
    lay_out,
)
from verify.testing import configs


@given(configs(), st.sampled_from(LEGACY_FORMATS), st.integers(1, 16))
def test_parts_follow_each_other_and_hold_every_tensor_once(
    model: exporter.ModelConfig, format_name: str, requested: int
) -> None:
    group = choose_group_size({"dim": model.dim, "hidden_dim": model.hidden_dim}, requested, exact=False)
    layout = lay_out(model, format_name, group)
    at = len(layout.header)
    values: dict[str, tuple[int, ...]] = {}
    for part in layout.parts:
        assert part.offset == at
        assert part.nbytes == prod(part.shape) * (1 if part.part == "int8" else 4)
        at += part.nbytes
        if part.part == "scale":
            continue
        assert part.tensor not in values
        values[part.tensor] = part.shape
    assert at == layout.size
    assert {type(n) for part in layout.parts for n in (*part.shape, part.offset, part.nbytes)} == {int}
    shapes = tensor_shapes(model)
    if format_name == "v0":
        table = (model.max_seq_len, model.head_dim // 2)
        shapes |= {"freqs_cos": table, "freqs_sin": table}
    assert values == shapes
    scales = {part.tensor: part.shape for part in layout.parts if part.part == "scale"}
    quantized = {part.tensor for part in layout.parts if part.part == "int8"}
    assert scales == {name: (*shapes[name][:-1], shapes[name][-1] // group) for name in quantized}
    assert quantized == ({n for n, s in shapes.items() if len(s) == 2} if format_name in ("v1", "v2") else set())


@pytest.mark.parametrize("tied", [False, True])
def test_the_headers_are_llama2_c_s(tied: bool) -> None:
    model = config(tied=tied)
    counts = (48, 40, 2, 6, 3, 29, 33)
    assert lay_out(model, "v0", 8).header == struct.pack("<7i", 48, 40, 2, 6, 3, 29 if tied else -29, 33)
    for name, version, group in (("v1", 1, 8), ("v1-fp32", 1, 0), ("v2", 2, 8)):
        header = lay_out(model, name, 8).header
        assert header == struct.pack("<Ii7iBi215x", 0x616B3432, version, *counts, tied, group)
        assert len(header) == 256


def test_v1_has_all_int8_before_all_scales_and_v2_has_them_in_pairs() -> None:
    parts = {
        name: [part.part for part in lay_out(config(), name, 8).parts if part.part != "fp32"] for name in PAYLOADS
    }
    matrices = 2 + 7 * 2
    assert parts == {
        "v0": [],
        "v1": ["int8"] * matrices + ["scale"] * matrices,
        "v1-fp32": [],
        "v2": ["int8", "scale"] * matrices,
    }


WINDOWED = exporter.LayerKind(windowed=True)


@pytest.mark.parametrize("format_name", LEGACY_FORMATS)
@pytest.mark.parametrize(
    ("field", "changes", "expected", "found"),
    [
        ("rope_theta", {"rope_theta": 500000.0}, "10000", "500000"),
        ("norm_eps", {"norm_eps": 1e-6}, "1e-05", "1e-06"),
        ("rope_scaling", {"rope_scaling": SCALINGS["linear"]}, "none", "linear"),
        ("head_dim", {"head_dim": 10}, "8", "10"),
        ("head_dim", {"n_heads": 9, "head_dim": 4}, "5.33333", "4"),
        ("qkv_bias", {"qkv_bias": True}, "false", "true"),
        ("activation", {"activation": "gelu"}, "silu", "gelu"),
        ("norm_place", {"norm_place": "both"}, "before", "both"),
        ("norm_plus_one", {"norm_plus_one": True}, "false", "true"),
        ("qk_norm", {"qk_norm": "head"}, "none", "head"),
        ("rotary_dim", {"rotary_dim": 4}, "0", "4"),
        ("window", {"window": 5, "layers": (WINDOWED,) * 2}, "0", "5"),
        ("query_scale_beta", {"query_scale_beta": 0.1, "query_scale_positions": 9}, "0", "0.1"),
        ("embedding_scale", {"embedding_scale": 12}, "1", "12"),
        ("score_scale", {"score_scale": 0.25}, "0", "0.25"),
        ("residual_scale", {"residual_scale": 0.22}, "1", "0.22"),
        ("logit_divisor", {"logit_divisor": 8.0}, "1", "8"),
        ("score_cap", {"score_cap": 50.0}, "0", "50"),
        ("logit_cap", {"logit_cap": 30.0}, "0", "30"),
        ("local_theta", {"local_theta": 9.0, "layers": (exporter.LayerKind(rope="second"),) * 2}, "0", "9"),
        (
            *("layers", {"layers": (exporter.LayerKind(rope="none"), exporter.LayerKind())}),
            *("layers of one kind", "2 layers of several kinds"),
        ),
    ],
)
def test_what_has_no_field_is_refused_by_name(
    format_name: str, field: str, changes: dict[str, object], expected: str, found: str
) -> None:
    with pytest.raises(exporter.FormatError) as caught:
        check_expressible(config(**changes), format_name)
    assert str(caught.value) == (
        f"{field}: expected {expected}, which every reader of {format_name} assumes, found {found}: "
        f"{format_name} has no field for it, v3 has"
    )


def test_numbers_are_compared_as_float32() -> None:
    check_expressible(config(norm_eps=9.999999747378752e-06, rope_theta=10000.0000001), "v0")


@given(st.lists(st.integers(1, 500), min_size=1, max_size=3), st.integers(1, 600))
def test_the_group_size_is_the_largest_that_divides_every_width(widths: list[int], requested: int) -> None:
    named = {f"w{number}": width for number, width in enumerate(widths)}
    fitting = [g for g in range(1, requested + 1) if not any(width % g for width in widths)]
    assert choose_group_size(named, requested, exact=False) == max(fitting)
    if requested in fitting:
        assert choose_group_size(named, requested, exact=True) == requested
        return
    with pytest.raises(exporter.FormatError) as caught:
        choose_group_size(named, requested, exact=True)
    of_all = " and of ".join(f"{name} = {width}" for name, width in named.items())
    assert str(caught.value) == (
        f"group_size: expected a divisor of {of_all}, found {requested}; the largest that fits is {max(fitting)}"
    )


def test_a_group_s_sum_of_products_stays_within_int32() -> None:
    width = LARGEST_GROUP * 2
    assert choose_group_size({"dim": width}, width, exact=False) == LARGEST_GROUP
    assert LARGEST_GROUP * 127 * 128 < 2**31 <= (LARGEST_GROUP + 1) * 127 * 128


@pytest.mark.parametrize("requested", [0, -1, True, 2.0, "8", None])
def test_a_group_size_is_a_positive_integer(requested: object) -> None:
    with pytest.raises(exporter.FormatError) as caught:
        check_group_size(requested)
    assert str(caught.value) == f"group_size: expected a positive integer, found {requested!r}"
