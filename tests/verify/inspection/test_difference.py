"""How two files differ: what is alike whatever its format, and each kind of difference with its numbers."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import run
from helpers.models import arrays, config
from helpers.qwen3c import qwen3c_config, qwen3c_file

import exporter
import reader_c
from verify.inspection import numbers
from verify.inspection.difference import compare
from verify.testing import random_arrays


def exported(path: Path, changes: dict[str, np.ndarray] | None = None, **options: object) -> Path:
    checkpoint = exporter.Checkpoint.from_arrays(config(), {**arrays(config()), **(changes or {})})
    exporter.export(checkpoint, path, **{"format": "v3", "overwrite": True, **options})  # type: ignore[arg-type]
    return path


def test_the_same_numbers_are_alike_in_every_format_that_holds_them(tmp_path: Path) -> None:
    paths = [exported(tmp_path / f"{name}.bin", format=name) for name in ("v0", "v1-fp32", "v3")]
    for a in paths:
        for b in paths:
            found = compare(a, b)
            assert found.alike
            assert found.same_bytes == (a == b)
            assert [one.field for one in found.fields] == ([] if a == b else ["format"])
    quantized = [exported(tmp_path / f"{name}.bin", format=name, group_size=8) for name in ("v1", "v2")]
    assert compare(*quantized).alike


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_a_file_of_qwen3_c_s_is_compared_row_by_row_although_its_rows_stand_in_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(numbers, "BLOCK", block)
    model = qwen3c_config()
    mine = random_arrays(model, 0)
    a, b = qwen3c_file(tmp_path / "a.bin", model, mine), tmp_path / "b.bin"
    export = {"format": "v3", "storage": "q8_0", "group_size": 8, "overwrite": True}
    exporter.export(exporter.Checkpoint.from_arrays(model, mine), b, **export)  # type: ignore[arg-type]
    for pair in ((a, b), (b, a)):
        found = compare(*pair)
        assert found.alike
        assert [one.field for one in found.fields] == ["format"]
    name = "layers.1.attention.wk.weight"
    mine[name] = mine[name].copy()
    mine[name][5] *= 2
    exporter.export(exporter.Checkpoint.from_arrays(model, mine), b, **export)  # type: ignore[arg-type]
    for pair in ((a, b), (b, a)):
        (one,) = compare(*pair).tensors
        assert (one.name, one.numbers) == (name, 36 * 48)
        assert 40 < one.differing <= 48


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_the_numbers_of_a_difference_are_those_of_numpy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(numbers, "BLOCK", block)
    name = "layers.1.feed_forward.w2.weight"
    a, b = exported(tmp_path / "a.bin"), exported(tmp_path / "b.bin", storage={name: "q8_0"}, group_size=4)
    (found,) = compare(a, b).tensors
    with reader_c.open(a) as first, reader_c.open(b) as second:
        x, y = first.tensor(name), second.tensor(name).dequantize()
    error = x.astype(np.float64) - y
    assert (found.name, found.numbers, found.differing) == (name, x.size, np.count_nonzero(x != y))
    assert found.largest == np.abs(error).max()
    assert found.rms == pytest.approx(math.sqrt(np.square(error).mean()), rel=1e-12)
    assert found.relative == pytest.approx(
        math.sqrt(np.square(error).sum() / np.square(x, dtype="f8").sum()), rel=1e-12
    )
    assert found.b == "48 x 40 q8_0 in groups of 4"


def test_one_bit_is_a_difference_and_a_zero_s_sign_too(tmp_path: Path) -> None:
    norm = arrays(config())["norm.weight"].copy()
    norm[0] = 0.0
    a = exported(tmp_path / "a.bin", {"norm.weight": norm})
    norm = norm.copy()
    norm[0] = -0.0
    (found,) = compare(a, exported(tmp_path / "b.bin", {"norm.weight": norm})).tensors
    assert (found.differing, found.largest, found.rms) == (1, 0.0, 0.0)


def test_what_is_not_finite_in_one_file_alone_is_infinitely_far(tmp_path: Path) -> None:
    a, b = exported(tmp_path / "a.bin", format="v0"), tmp_path / "b.bin"
    content = bytearray(a.read_bytes())
    with reader_c.open(a) as model:
        at = model.spans("norm.weight")[0].offset
    content[at : at + 4] = np.float32(np.nan).tobytes()
    b.write_bytes(content)
    (found,) = compare(a, b).tensors
    assert (found.differing, found.largest) == (1, math.inf)
    assert compare(b, b).alike
    result = run("diff", a, b, "--json")
    assert (result.returncode, json.loads(result.stdout)["tensors"][0]["largest"]) == (1, "inf")


def test_another_model_has_other_fields_shapes_and_tensors(tmp_path: Path) -> None:
    other = dataclasses.replace(config(), hidden_dim=24, n_layers=1, rope_theta=500000.0)
    checkpoint = exporter.Checkpoint.from_arrays(other, arrays(other))
    exporter.export(checkpoint, tmp_path / "b.bin", format="v3")
    found = compare(exported(tmp_path / "a.bin"), tmp_path / "b.bin")
    assert not found.alike
    assert {one.field: (one.a, one.b) for one in found.fields} == {
        "hidden_dim": ("40", "24"),
        "n_layers": ("2", "1"),
        "rope_theta": ("10000.0", "500000.0"),
    }
    by_name = {one.name: one for one in found.tensors}
    assert by_name["layers.1.ffn_norm.weight"].b is None
    assert by_name["layers.0.feed_forward.w1.weight"].largest is None


def test_the_command_answers_with_its_status_and_last_line(tmp_path: Path) -> None:
    a, b = exported(tmp_path / "a.bin"), exported(tmp_path / "b.bin", format="v0")
    same = run("diff", a, b)
    assert same.returncode == 0
    assert same.stdout.splitlines()[-1] == "alike: the same model, number by number, as v3 and v0 (21 tensors)"
    assert run("diff", a, a).stdout == "alike: the files are the same, byte for byte (21 tensors)\n"
    norm = arrays(config())["norm.weight"] + np.float32(0.5)
    changed = run("diff", a, exported(tmp_path / "c.bin", {"norm.weight": norm}))
    assert changed.returncode == 1
    assert changed.stdout.splitlines()[-1] == "different: 0 fields, 1 tensor of 21"
    assert changed.stdout.splitlines()[1].startswith("norm.weight  48 fp32  48 fp32  48 of 48   0.5      0.5  ")
    assert not [line for line in changed.stdout.splitlines() if line != line.rstrip()]
    quiet = run("diff", a, tmp_path / "c.bin", "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (1, "", "")
    assert run("diff", a, tmp_path / "none.bin").returncode == 2
