"""Every bit of every tensor is compared, and the first that differs is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.mistake_seeds import patch_parts, to_parts
from helpers.models import BIN_FORMATS, arrays, checkpoint, config, toy_file

import reader_c
from verify.checks import tensors
from verify.checks.tensors import FoundTensors, TensorReport, check_tensors
from verify.testing import source_of

NAME, OTHER = "layers.1.feed_forward.w1.weight", "layers.0.attention.wq.weight"


def judged(path: Path) -> FoundTensors:
    with reader_c.open(path) as model:
        return check_tensors(model, source_of(checkpoint()), lambda *_: None)


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
        found = check_tensors(model, tied, lambda *_: None)
    assert found.verdict.detail == "names: output.weight is only in the file"
    with reader_c.open(toy_file(tmp_path, "v2", tied=True)) as model:
        found = check_tensors(model, source_of(checkpoint()), lambda *_: None)
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


@pytest.mark.parametrize(
    ("share", "text"), [(0.98765432, "0.98765"), (0.9999999, "0.9999999"), (1.0, "1"), (0.0, "0.00000")]
)
def test_a_share_of_a_bound_reads_as_one_only_where_it_is_one(share: float, text: str) -> None:
    report = TensorReport("w", (8, 8), "q8_0", 8, 0.1, 0.2, share, 0.1, 20.0)
    verdict = tensors._verdict([], [report], 0.0)
    assert verdict.status == "pass"
    reached = f"; rounding to storage reaches {text} of its bound" if share else ""
    assert verdict.detail == f"1 tensor, every bit as derived from the source{reached}"
