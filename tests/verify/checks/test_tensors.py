"""Every bit of every tensor is compared, and the first that differs is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.mistake_seeds import patch_parts, to_parts
from helpers.models import BIN_FORMATS, arrays, checkpoint, config, toy_file

import exporter
import reader_c
from verify.checks import tensors
from verify.checks.tensors import FoundTensors, check_tensors
from verify.errors import NotFiniteError
from verify.operations.rope_tables import rope_tables
from verify.oracle import expected
from verify.system.pulse import CHECKED, DERIVED, READ, heard_by
from verify.testing import source_of

NAME, OTHER = "layers.1.feed_forward.w1.weight", "layers.0.attention.wq.weight"


def judged(path: Path) -> FoundTensors:
    with reader_c.open(path) as model:
        return check_tensors(model, source_of(checkpoint()))


def nudged(part: np.ndarray) -> np.ndarray:
    part = part.copy()
    part.view(np.uint8)[3, 2] ^= 1
    return part


@pytest.mark.parametrize("format_name", BIN_FORMATS)
def test_a_healthy_file_has_every_bit(tmp_path: Path, format_name: str) -> None:
    found = judged(toy_file(tmp_path, format_name))
    assert found.verdict.status == "pass"
    assert found.verdict.detail.startswith(f"{len(found.reports)} tensors, every bit as derived from the source")
    assert found.differing == ()
    assert {report.name for report in found.reports} == set(arrays(config()))


def test_one_bit_is_found_and_others_are_counted_in_singular_and_plural(tmp_path: Path) -> None:
    path = toy_file(tmp_path, "v2")
    patch_parts(path, [NAME], arrays(config()), to_parts("int8", change=nudged))
    found = judged(path)
    assert (found.verdict.status, found.verdict.observed, found.differing) == ("fail", 1.0, (NAME,))
    assert found.verdict.detail.startswith(f"{NAME} int8 [3, 2]: expected ")
    assert found.verdict.where["index"] == [3, 2]
    patch_parts(path, [OTHER], arrays(config()), to_parts("int8", change=nudged))
    assert judged(path).verdict.detail.endswith("; 1 other part of tensors also differs")
    patch_parts(path, [OTHER], arrays(config()), to_parts("scale", change=nudged))
    found = judged(path)
    assert found.verdict.detail.endswith("; 2 other parts of tensors also differ")
    assert found.differing == (OTHER, NAME)


def test_a_tensor_on_one_side_is_named_with_its_side(tmp_path: Path) -> None:
    with reader_c.open(toy_file(tmp_path, "v2")) as model:
        tied = source_of(checkpoint(config(tied=True)))
        found = check_tensors(model, tied)
    assert found.verdict.detail == "names: output.weight is only in the file"
    with reader_c.open(toy_file(tmp_path, "v2", tied=True)) as model:
        found = check_tensors(model, source_of(checkpoint()))
    assert found.verdict.detail == "names: output.weight is only in the source"


def test_wrong_tables_of_v0_fail_by_their_bound(tmp_path: Path) -> None:
    path = toy_file(tmp_path, "v0")
    with reader_c.open(path) as model:
        (span,) = model.spans("freqs_cos")
    content = bytearray(path.read_bytes())
    table = np.frombuffer(content[span.offset : span.offset + span.nbytes], "<f4").copy()
    table[7] += 0.01
    content[span.offset : span.offset + span.nbytes] = table.tobytes()
    path.write_bytes(content)
    found = judged(path)
    assert (found.verdict.status, found.verdict.bound) == ("fail", "rigorous")
    assert found.verdict.detail == "RoPE tables: beyond the error bound of float32"


def reported(path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> FoundTensors:
    monkeypatch.setattr(expected, "_BLOCK", block)
    return judged(path)


def spoiled(array: np.ndarray, *places: tuple[int, int]) -> np.ndarray:
    array = array.copy()
    for place in places:
        array.view(f"u{array.itemsize}")[place] ^= 1
    return array


@pytest.mark.parametrize(("format_name", "part"), [("v1-fp32", "fp32"), ("v2", "int8"), ("v3", "fp32")])
@pytest.mark.parametrize("block", [1, 100, 500])
def test_blocks_of_any_size_give_the_same_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_name: str, part: str, block: int
) -> None:
    """Wherever the largest error, scale and first wrong bit are: in the first block, in a later one, in the last."""
    places = ((3, 2), (3, 4), (17, 0), (39, 1))
    for path in (toy_file(tmp_path, format_name), tmp_path / "spoiled.bin"):
        if path.name == "spoiled.bin":
            path.write_bytes(toy_file(tmp_path, format_name).read_bytes())
            change = to_parts(part, change=lambda array: spoiled(array, *places))
            patch_parts(path, [NAME], arrays(config()), change)
        whole = reported(path, 1 << 19, monkeypatch)
        parts = reported(path, block, monkeypatch)
        assert parts.verdict == whole.verdict
        assert parts.differing == whole.differing
        for mine, theirs in zip(parts.reports, whole.reports, strict=True):
            for field in ("name", "shape", "max_abs_error", "bound", "utilisation", "storage", "group_size"):
                assert getattr(mine, field) == getattr(theirs, field)
            assert mine.rms_error == pytest.approx(theirs.rms_error, rel=1e-12, abs=0)
            assert (mine.snr_db or 0.0) == pytest.approx(theirs.snr_db or 0.0, rel=1e-12, abs=0)
    assert whole.verdict.observed == len(places)
    assert whole.verdict.where["index"] == [3, 2]
    assert f"[3, 2]: expected {whole.verdict.where['expected']}, " in whole.verdict.detail
    assert "(4 differ)" in whole.verdict.detail


def test_a_report_has_the_errors_of_its_definition(tmp_path: Path) -> None:
    w = arrays(config())[NAME].astype(np.float64)
    with reader_c.open(toy_file(tmp_path, "v2")) as model:
        stored = {span.part: np.array(model.view(span)) for span in model.spans(NAME)}
    scale = stored["scale"].astype(np.float64).reshape(len(w), -1)
    grouped = stored["int8"].astype(np.float64).reshape(*scale.shape, -1)
    error = np.abs(w.reshape(grouped.shape) - grouped * scale[..., None])
    bound = scale * (0.5 + 128 * 2.0**-24)
    (report,) = (one for one in judged(toy_file(tmp_path, "v2")).reports if one.name == NAME)
    assert report.max_abs_error == error.max()
    assert report.bound == bound.max()
    assert report.utilisation == (error.max(axis=2) / bound).max()
    assert report.rms_error == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-12, abs=0)
    assert report.snr_db == pytest.approx(10 * np.log10(np.mean(w**2) / np.mean(error**2)), rel=1e-12, abs=0)


@pytest.mark.parametrize("table", ["freqs_cos", "freqs_sin"])
@pytest.mark.parametrize(("share", "status"), [(0.98, "pass"), (-0.98, "pass"), (1.02, "fail"), (-1.02, "fail")])
def test_tables_of_v0_may_use_their_bound_and_no_more(tmp_path: Path, table: str, share: float, status: str) -> None:
    path = toy_file(tmp_path, "v0", max_seq_len=2048)
    source = source_of(checkpoint(config(max_seq_len=2048)))
    with reader_c.open(path) as model:
        (span,) = model.spans(table)
    own = rope_tables(source.hyperparameters, 2048)[table == "freqs_sin"]
    exact, bound = own.exact, own.bound
    at = tuple(int(i) for i in torch.unravel_index((bound / exact.abs().clamp(min=0.5)).argmax(), bound.shape))
    wrong = np.float32(float(exact[at]) + share * float(bound[at]))
    # many float32 numbers lie within this bound
    assert abs(float(wrong) - float(exact[at])) / float(bound[at]) == pytest.approx(abs(share), abs=0.01)
    content = bytearray(path.read_bytes())
    place = span.offset + 4 * int(np.ravel_multi_index(at, tuple(exact.shape)))
    content[place : place + 4] = wrong.tobytes()
    path.write_bytes(content)
    with reader_c.open(path) as model:
        found = check_tensors(model, source)
    assert found.verdict.status == status
    if status == "fail":
        assert found.verdict.observed == pytest.approx(abs(share), abs=0.01)
        assert (found.verdict.limit, found.verdict.where) == (1.0, {"tensor": "freqs"})


def test_progress_counts_every_tensor(tmp_path: Path) -> None:
    """Reading, deriving what is quantized, and comparing."""
    heard: list[float] = []
    with reader_c.open(toy_file(tmp_path, "v2")) as model, heard_by(heard.append):
        check_tensors(model, source_of(checkpoint()))
        storages = {name: model.storage(name).storage for name in model.names}
    sizes = {name: array.size for name, array in arrays(config()).items()}
    works = {"q8_0": (READ, DERIVED, CHECKED), "fp32": (READ, CHECKED)}
    shapes = source_of(checkpoint()).hyperparameters.shapes()
    assert shapes.keys() == sizes.keys()
    assert heard == [work * sizes[name] for name in shapes for work in works[storages[name]]]


def test_pulses_of_blocks_add_up_to_those_of_whole_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def heard() -> list[float]:
        works: list[float] = []
        with reader_c.open(toy_file(tmp_path, "v2")) as model, heard_by(works.append):
            check_tensors(model, source_of(checkpoint()))
        return works

    whole = heard()
    monkeypatch.setattr(expected, "_BLOCK", 500)
    blocks = heard()
    assert len(blocks) > 2 * len(whole)
    assert sum(blocks) == pytest.approx(sum(whole), rel=1e-12, abs=0)


def test_a_source_that_is_not_finite_cannot_be_released(tmp_path: Path) -> None:
    """Whatever the file holds: only the place of the first is named, and nothing is diagnosed."""
    right = source_of(checkpoint())

    class Broken:
        hyperparameters, dtype = right.hyperparameters, staticmethod(right.dtype)

        @staticmethod
        def tensor(name: str) -> torch.Tensor:
            if name in (NAME, "norm.weight"):
                raise NotFiniteError(f"{name} [0]: expected finite numbers, found nan")
            return right.tensor(name)

    path = toy_file(tmp_path, "v2")
    patch_parts(path, [OTHER], arrays(config()), to_parts("int8", change=nudged))
    broken: Any = Broken()
    with reader_c.open(path) as model:
        found = check_tensors(model, broken)
    assert (found.verdict.status, found.verdict.observed, found.differing) == ("fail", 2.0, ())
    assert found.verdict.detail == (f"the source cannot be released: {NAME} [0]: expected finite numbers, found nan")
    assert found.verdict.where == {"tensor": NAME}
    assert len(found.reports) == len(arrays(config())) - 2


def test_names_that_only_one_side_has_are_counted(tmp_path: Path) -> None:
    with reader_c.open(toy_file(tmp_path, "v3", n_layers=3)) as model:
        found = check_tensors(model, source_of(checkpoint()))
    assert (found.verdict.status, found.verdict.observed, found.reports) == ("fail", 9.0, ())
    assert found.verdict.detail == "names: layers.2.attention.wk.weight is only in the file"
    assert found.verdict.where == {"tensor": "layers.2.attention.wk.weight"}


@pytest.mark.parametrize("name", ["freqs_cos", "freqs_sin"])
def test_wrong_tables_are_differing_by_both_names(tmp_path: Path, name: str) -> None:
    path = toy_file(tmp_path, "v0")
    with reader_c.open(path) as model:
        (span,) = model.spans(name)
    content = bytearray(path.read_bytes())
    content[span.offset + 3] ^= 0x40
    path.write_bytes(content)
    assert judged(path).differing == ("freqs_cos", "freqs_sin")


@pytest.mark.parametrize(("use", "names"), [(0.5, ()), (1.0, ()), (1.0000001, ("freqs_cos", "freqs_sin"))])
def test_tables_differ_beyond_their_bound_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: float, names: tuple[str, ...]
) -> None:
    monkeypatch.setattr(tensors, "_rope_table_use", lambda *_: use)
    found = judged(toy_file(tmp_path, "v0"))
    assert found.differing == names
    assert (found.verdict.status == "pass") == (not names)


@pytest.mark.parametrize("format_name", BIN_FORMATS)
def test_a_verdict_speaks_of_tables_and_of_rounding_where_there_are_any(tmp_path: Path, format_name: str) -> None:
    detail = judged(toy_file(tmp_path, format_name)).verdict.detail
    assert ("; RoPE tables reach 0." in detail, "RoPE" in detail) == (format_name == "v0",) * 2
    assert ("rounding to storage reaches 0." in detail, "rounding" in detail) == (format_name in ("v1", "v2"),) * 2


def test_of_names_that_only_one_side_has_the_first_is_named_with_its_own_side(tmp_path: Path) -> None:
    with reader_c.open(toy_file(tmp_path, "v2")) as model:
        found = check_tensors(model, source_of(checkpoint(config(tied=True, n_layers=3))))
    assert found.verdict.detail == "names: layers.2.attention.wk.weight is only in the source"
    with reader_c.open(toy_file(tmp_path, "v2", tied=True, n_layers=3)) as model:
        found = check_tensors(model, source_of(checkpoint()))
    assert found.verdict.detail == "names: layers.2.attention.wk.weight is only in the file"


@pytest.mark.parametrize("storage", ["fp16", "bf16"])
def test_halves_have_every_bit_and_the_errors_of_their_rounding(tmp_path: Path, storage: str) -> None:
    path = tmp_path / "halves.bin"
    exporter.export(checkpoint(), path, format="v3", storage=storage)
    found = judged(path)
    assert found.verdict.status == "pass"
    kind = {"fp16": torch.float16, "bf16": torch.bfloat16}[storage]
    (report,) = (one for one in found.reports if one.name == NAME)
    w = torch.from_numpy(arrays(config())[NAME])
    error = (w.to(kind).double() - w.double()).abs()
    assert report.storage == storage
    assert report.max_abs_error == float(error.max())
    assert report.rms_error == pytest.approx(float(error.square().mean().sqrt()), rel=1e-12, abs=0)
    patch_parts(path, [NAME], arrays(config()), to_parts(storage, change=lambda half: spoiled(half, (3, 2))))
    found = judged(path)
    assert (found.verdict.status, found.differing) == ("fail", (NAME,))
    assert found.verdict.where["index"] == [3, 2]
