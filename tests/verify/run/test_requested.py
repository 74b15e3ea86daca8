"""What a release requested is compared tensor by tensor; a group divides every row, and an int32 holds its sum."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from helpers.models import config, hyperparameters

from verify.run.requested import _LARGEST_GROUP, Requested


def test_a_group_s_sum_of_products_stays_within_int32() -> None:
    assert _LARGEST_GROUP * 127 * 128 < 2**31 <= (_LARGEST_GROUP + 1) * 127 * 128
    width = 6 * _LARGEST_GROUP
    for asked in (_LARGEST_GROUP, _LARGEST_GROUP + 1, 2 * _LARGEST_GROUP, width):
        assert Requested("v3", asked)._group(width) == _LARGEST_GROUP
    assert Requested("v3", _LARGEST_GROUP - 1)._group(width) < _LARGEST_GROUP


@pytest.mark.parametrize(
    ("asked", "widths", "expected"),
    [(64, (64,), 64), (64, (48,), 48), (64, (128, 48), 16), (8, (48, 40), 8), (7, (48, 40), 4), (64, (7, 5), 1)],
)
def test_a_group_divides_every_row(asked: int, widths: tuple[int, ...], expected: int) -> None:
    assert Requested("v2", asked)._group(*widths) == expected


@pytest.mark.parametrize(
    ("asked", "widths", "expected"),
    [
        (64, (128, 64), 64),
        (64, (48, 40), 8),
        (48, (48, 40), 1),
        (48, (48, 96), 48),
        (24, (48, 36), 12),
        (7, (7, 5), 1),
        (1, (3,), 1),
        (_LARGEST_GROUP, (2 * _LARGEST_GROUP,), _LARGEST_GROUP),
        (2 * _LARGEST_GROUP, (2 * _LARGEST_GROUP,), _LARGEST_GROUP),
        (1 << 18, (1 << 18,), 1 << 17),
    ],
)
def test_a_group_of_ajc1_is_halved_until_it_divides_every_row(
    asked: int, widths: tuple[int, ...], expected: int
) -> None:
    assert Requested("ajc1", asked)._halved(*widths) == expected


def test_a_file_of_ajc1_has_the_halved_group() -> None:
    """The largest up to 12 that divides 48, 40 and 6 heads of 8 is 8; halves of 12 are 6 and 3 and 1."""
    assert unlike(Requested("v2", 12), "v2", 8) == {}
    assert unlike(Requested("ajc1", 12), "ajc1", 1) == {}
    assert unlike(Requested("ajc1", 12), "ajc1", 8) == {"group_size": (1, 8)}


HYPER = hyperparameters(config(n_layers=1))
W1, NORM = "layers.0.feed_forward.w1.weight", "norm.weight"


def unlike(requested: Requested, format_name: str, group_size: int = 0, **stored: tuple[str, int]) -> Any:
    """What a file of that format differs in from the request. stored: its storage of w1 and norm, if not fp32."""
    names = {W1: "w1", NORM: "norm"}

    def storage(name: str) -> Any:
        kind, group = stored.get(names.get(name, "others"), ("fp32", 0))
        return SimpleNamespace(storage=kind, group_size=group)

    model: Any = SimpleNamespace(format=format_name, config=SimpleNamespace(group_size=group_size), storage=storage)
    source: Any = SimpleNamespace(hyperparameters=HYPER, dtype=lambda _name: "fp32")
    return requested.unlike(model, source)


@pytest.mark.parametrize("format_name", ["v0", "v1", "v1-fp32", "v2", "v3", "hf"])
def test_another_format_is_all_that_is_said(format_name: str) -> None:
    other = "v2" if format_name != "v2" else "v1"
    assert unlike(Requested(format_name, 8), other, 4) == {"format": (format_name, other)}


@pytest.mark.parametrize("format_name", ["v1", "v2"])
def test_quantized_old_formats_have_one_group_for_all_rows(format_name: str) -> None:
    """The largest up to the request that divides 48, 40 and 6 heads of 8."""
    for asked, expected in ((64, 8), (8, 8), (7, 4), (3, 2), (1, 1)):
        assert unlike(Requested(format_name, asked), format_name, expected) == {}
        for found in (expected + 1, expected * 2, 0):
            assert unlike(Requested(format_name, asked), format_name, found) == {"group_size": (expected, found)}


@pytest.mark.parametrize("format_name", ["v0", "v1-fp32"])
def test_float_formats_have_nothing_more_to_request(format_name: str) -> None:
    assert unlike(Requested(format_name, 64), format_name, 3, w1=("q8_0", 3)) == {}


@pytest.mark.parametrize("format_name", ["v3", "hf"])
def test_each_tensor_has_the_storage_that_was_requested(format_name: str) -> None:
    half = Requested(format_name, 64, {"*": "fp32", "*.w1.*": "bf16"})
    assert unlike(half, format_name, w1=("bf16", 0)) == {}
    assert unlike(half, format_name) == {f"{W1}: storage": ("bf16", "fp32")}
    assert unlike(half, format_name, w1=("fp16", 0), norm=("bf16", 0)) == {
        f"{W1}: storage": ("bf16", "fp16"),
        f"{NORM}: storage": ("fp32", "bf16"),
    }
    assert unlike(Requested(format_name, 64, "source"), format_name) == {}
    assert unlike(Requested(format_name, 64, "fp32"), format_name) == {}


def test_q8_0_has_the_largest_group_of_its_own_rows() -> None:
    quantized = Requested("v3", 16, {"*.w1.*": "q8_0"})
    assert unlike(quantized, "v3", w1=("q8_0", 16)) == {}
    assert unlike(quantized, "v3", w1=("q8_0", 8)) == {f"{W1}: group_size": (16, 8)}
    # another storage is said alone
    assert unlike(quantized, "v3", w1=("bf16", 8)) == {f"{W1}: storage": ("q8_0", "bf16")}
    # only what is Q8_0 has groups
    assert unlike(Requested("v3", 16), "v3", w1=("fp32", 8)) == {f"{W1}: group_size": (0, 8)}


@pytest.mark.parametrize("storage", ["q8_0", "bf16", "fp16"])
def test_vectors_keep_the_source_s_type_unless_fp32_is_requested(storage: str) -> None:
    requested = Requested("v3", 8, {"*": "source", "norm.*": storage})
    assert unlike(requested, "v3") == {}
    assert unlike(requested, "v3", norm=(storage, 0)) == {f"{NORM}: storage": ("fp32", storage)}
    assert Requested("v3", 8, "fp32")._storage(NORM, is_vector=True) == "fp32"
    assert Requested("v3", 8, storage)._storage(NORM, is_vector=True) is None
    assert Requested("v3", 8, storage)._storage(NORM, is_vector=False) == storage


def test_the_last_pattern_that_matches_counts() -> None:
    patterns = {"*": "fp32", "*.w1.*": "q8_0", "layers.0.*": "bf16"}
    assert Requested("v3", 8, patterns)._storage(W1, is_vector=False) == "bf16"
    assert Requested("v3", 8, {"layers.1.*": "bf16"})._storage(W1, is_vector=False) is None
    assert Requested("v3", 8, {"*": "fp32", "*.w1.*": "source"})._storage(W1, is_vector=False) is None


def test_a_router_is_never_quantized() -> None:
    """The exporter leaves it in the source's type; another type that is requested counts."""
    router = "layers.0.feed_forward.router.weight"
    hyper = SimpleNamespace(shapes=lambda: {router: (4, 16)})

    def of_router(storage: str, found: str) -> Any:
        model: Any = SimpleNamespace(
            format="v3", storage=lambda _name: SimpleNamespace(storage=found, group_size=8 * (found == "q8_0"))
        )
        source: Any = SimpleNamespace(hyperparameters=hyper, dtype=lambda _name: "bf16")
        return Requested("v3", 8, storage).unlike(model, source)

    assert of_router("q8_0", "bf16") == {}
    assert of_router("q8_0", "q8_0") == {f"{router}: storage": ("bf16", "q8_0")}
    assert of_router("fp16", "fp16") == {}
    assert of_router("fp16", "bf16") == {f"{router}: storage": ("fp16", "bf16")}
