"""The architecture block and the layer table: the exporter reads and writes what a second writer of v3 does."""

from __future__ import annotations

import struct
import tempfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from helpers.arch_draws import ALTERNATE, EXPERTS, MODELS, architectures
from helpers.arch_files import Arch, patched, random_weights, shapes, write
from helpers.models import same_bits
from hypothesis import given

import exporter
from exporter.formats.v3_fields import V3Error
from exporter.sources.v3 import read_head

SWITCHES = [
    field.name for field in fields(Arch) if field.name not in ("layers", "plain", "scaling", "gate", "rotary_dim")
]


def check(a: Arch) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "source.bin"
        weights = random_weights(a)
        write(path, a, weights)
        opened = exporter.open_checkpoint(path)
        assert {field: getattr(opened.config, field) for field in SWITCHES} == {f: getattr(a, f) for f in SWITCHES}
        assert opened.config.rotated == a.rotated
        kinds = [opened.config.layer(number) for number in range(a.n_layers)]
        assert [(kind.windowed, kind.rope) for kind in kinds] == list(a.kinds)
        assert [kind.experts for kind in kinds] == [a.mixed(layer) for layer in range(a.n_layers)]
        assert list(opened.names) == list(weights)
        assert all(same_bits(np.array(opened.load(name)), weights[name]) for name in weights)
        exporter.export(opened, path.with_name("again.bin"), format="v3", provenance=False)
        assert path.with_name("again.bin").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", MODELS)
def test_each_switch_is_read_and_written_as_a_second_writer_has_it(name: str) -> None:
    check(MODELS[name])


@given(architectures())
def test_models_with_any_switches_are_read_and_written_byte_by_byte(a: Arch) -> None:
    check(a)


WINDOWED = Arch(window=5, layers=ALTERNATE)
BESIDE = replace(EXPERTS, hidden_dim=36, plain=(1,))
POSITIVE = "expected a positive finite number, normal as float32, found {}"


@pytest.mark.parametrize(
    ("a", "at", "kind", "value", "message"),
    [
        (Arch(), 256, "<I", 3, "norm_place at 256: expected 0 to 2, found 3"),
        (Arch(), 260, "<I", 2, "norm_plus_one at 260: expected 0 to 1, found 2"),
        (Arch(), 264, "<I", 3, "qk_norm at 264: expected 0 to 2, found 3"),
        (Arch(), 268, "<I", 0, "rotary_dim at 268: expected 2 to 8, found 0"),
        (Arch(), 268, "<I", 3, "rotary_dim at 268: expected a multiple of 2, found 3"),
        (Arch(), 268, "<I", 10, "rotary_dim at 268: expected 2 to 8, found 10"),
        (Arch(), 272, "<I", 5, "window at 272: expected 0, for there is no windowed layer, found 5"),
        (WINDOWED, 272, "<I", 0, "window at 272: expected more than 0, for there is a windowed layer, found 0"),
        (WINDOWED, 272, "<I", 1 << 31, "window at 272: expected 0 to 2147483647, found 2147483648"),
        (Arch(), 276, "<I", 7, "query_scale_positions at 276: expected 0 to 0, found 7"),
        (
            Arch(query_scale_beta=0.1, query_scale_positions=7),
            *(276, "<I", 0, "query_scale_positions at 276: expected 1 to 2147483647, found 0"),
        ),
        (Arch(), 280, "<d", 0.0, f"embedding_scale at 280: {POSITIVE.format('0.0')}"),
        (Arch(), 288, "<d", -0.0, f"score_scale at 288: {POSITIVE.format('-0.0')}"),
        (Arch(), 296, "<d", float("inf"), f"residual_scale at 296: {POSITIVE.format('inf')}"),
        (Arch(), 304, "<d", -1.0, f"logit_divisor at 304: {POSITIVE.format('-1.0')}"),
        (Arch(), 312, "<d", float("nan"), f"score_cap at 312: {POSITIVE.format('nan')}"),
        (Arch(), 320, "<d", 1e-40, f"logit_cap at 320: {POSITIVE.format('1e-40')}"),
        (Arch(), 328, "<d", -0.1, f"query_scale_beta at 328: {POSITIVE.format('-0.1')}"),
        (
            Arch(),
            *(
                336,
                "<d",
                5.0,
                "local_theta at 336: expected 0, for there is no layer with the second RoPE, found 5.0",
            ),
        ),
        (EXPERTS, 344, "<I", 1, "n_experts at 344: expected 0 or at least 2, found 1"),
        (EXPERTS, 344, "<I", 1 << 16, "n_experts at 344: expected 0 to 65535, found 65536"),
        (EXPERTS, 344, "<I", 6, "tensor count at 152: expected 78, found 69"),
        (EXPERTS, 348, "<I", 0, "n_active_experts at 348: expected 1 to 5, found 0"),
        (EXPERTS, 348, "<I", 6, "n_active_experts at 348: expected 1 to 5, found 6"),
        (Arch(), 348, "<I", 1, "n_active_experts at 348: expected 0 to 0, found 1"),
        (EXPERTS, 352, "<I", 0, "expert_hidden_dim at 352: expected 1 to 2147483647, found 0"),
        (Arch(), 352, "<I", 1, "expert_hidden_dim at 352: expected 0 to 0, found 1"),
        (EXPERTS, 356, "<I", 2, "experts_normalized at 356: expected 0 to 1, found 2"),
        (Arch(), 356, "<I", 1, "experts_normalized at 356: expected 0 to 0, found 1"),
        (EXPERTS, 40, "<I", 8, "flags at 40: expected no bit 3, for experts have no biases, found 8"),
        (
            EXPERTS,
            *(
                12,
                "<i",
                36,
                "hidden_dim at 12: expected expert_hidden_dim = 20, for every layer has experts, found 36",
            ),
        ),
        (EXPERTS, 512, "<I", 14, "layer at 512: expected 0 to 13, found 14"),
        (EXPERTS, 512, "<I", 26, "layer at 512: expected 0 to 13, found 26"),
        (BESIDE, 516, "<I", 6, "RoPE of a layer at 516: expected 0 to 2, found 3"),
        (BESIDE, 516, "<I", 10, "tensor count at 152: expected 69, found 56"),
        (Arch(), 360, "<B", 1, "architecture padding at 360: expected 0, found 1"),
        (Arch(), 511, "<B", 9, "architecture padding at 511: expected 0, found 9"),
        (Arch(), 512, "<I", 6, "layer at 512: expected 0 to 5, found 6"),
        (Arch(), 516, "<I", 10, "layer at 516: expected 0 to 5, found 10"),
        (Arch(), 524, "<B", 2, "layer table padding at 524: expected 0, found 2"),
        (Arch(), 200, "<B", 1, "header padding at 200: expected 0, found 1"),
    ],
)
def test_a_wrong_switch_is_named_with_its_place(
    tmp_path: Path, a: Arch, at: int, kind: str, value: float, message: str
) -> None:
    path = tmp_path / "a.bin"
    write(path, a, random_weights(a))
    path.write_bytes(patched(path.read_bytes(), (at, kind, value)))
    with pytest.raises(V3Error) as caught:
        read_head(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_second_rope_needs_its_theta(tmp_path: Path) -> None:
    path, a = tmp_path / "a.bin", Arch(local_theta=50.0, layers=((False, "second"),) * 3)
    write(path, a, random_weights(a))
    path.write_bytes(patched(path.read_bytes(), (336, "<d", 0.0)))
    with pytest.raises(V3Error) as caught:
        read_head(path)
    assert str(caught.value) == (
        f"{path}: local_theta at 336: expected more than 0, for there is a layer with the second RoPE, found 0.0"
    )


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(V3Error) as caught:
        read_head(path)
    return str(caught.value).removeprefix(f"{path}: ")


def test_a_model_has_experts_where_a_layer_has_them(tmp_path: Path) -> None:
    path, a = tmp_path / "a.bin", replace(EXPERTS, plain=(0, 1, 2))
    write(path, a, random_weights(a))
    assert refused(path, path.read_bytes()) == (
        "n_experts at 344: expected 0, for there is no layer with experts, found 5"
    )


def test_a_file_that_claims_more_layers_than_it_has_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write(path, EXPERTS, random_weights(EXPERTS))
    content = path.read_bytes()
    layers, table = 2**20, 512 + 4 * 2**20
    changed = bytearray(content)
    struct.pack_into("<i", changed, 16, layers)
    assert refused(path, bytes(changed)) == f"file size: expected at least {table}, found {len(content)}"
    assert refused(path, bytes(changed) + bytes(table)) == (
        f"head size at 136: expected at least {table}, found {struct.unpack_from('<Q', content, 136)[0]}"
    )


def entry_at(a: Arch, name: str) -> int:
    return a.table_at + 192 * list(shapes(a)).index(name)


def test_a_router_is_not_quantized(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write(path, EXPERTS, random_weights(EXPERTS))
    at = entry_at(EXPERTS, "layers.1.feed_forward.router.weight")
    content = patched(path.read_bytes(), (at + 68, "<I", 8), (at + 104, "<I", 4))
    assert refused(path, content) == f"storage of a router at {at + 68}: expected one number an element, found q8_0"


@pytest.mark.parametrize("matrix", ["w1", "w2", "w3"])
def test_experts_of_a_layer_are_stored_alike(tmp_path: Path, matrix: str) -> None:
    path = tmp_path / "a.bin"
    name = f"layers.2.feed_forward.experts.3.{matrix}.weight"
    at, weights = entry_at(EXPERTS, name), random_weights(EXPERTS)
    write(path, EXPERTS, weights, lambda own: ("bf16" if own == name else "fp16", 0))
    assert refused(path, path.read_bytes()) == (
        f"storage of an expert at {at + 68}: expected fp16, as expert 0 has, found bf16"
    )
    write(path, EXPERTS, weights, lambda own: ("q8_0", 2 if own == name else 4))
    assert refused(path, path.read_bytes()) == (
        f"group_size of an expert at {at + 104}: expected 4, as expert 0 has, found 2"
    )
    alike = {"w1": ("q8_0", 4), "w2": ("bf16", 0), "w3": ("q8_0", 2)}
    write(path, EXPERTS, weights, lambda own: alike.get(own.split(".")[-2], ("fp32", 0)))
    assert read_head(path).plan.config.n_experts == 5
