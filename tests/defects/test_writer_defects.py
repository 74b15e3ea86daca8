"""Every mistake that exporters are known to make, seeded, and caught at its place by the checks that are meant to."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch
from helpers.checkpoints import save, state_dict
from helpers.defects import BY_NAME, WRITER_DEFECTS, Defect
from helpers.defects.judging import judged
from helpers.defects.kinds import TOYS, Case, spread
from helpers.models import BIN_FORMATS, LEGACY_FORMATS, arrays, config, toy_file
from hypothesis import given, settings
from hypothesis import strategies as st

import exporter
import reader_c
import verify
from verify.checks.result import CheckResult
from verify.checks.tensors import check_tensors
from verify.oracle.expected import parts
from verify.sources import open_source


def judge(source: Path, file: Path, **options: object) -> dict[str, CheckResult]:
    report = verify.verify(source, file, depth="quick", **options)  # type: ignore[arg-type]
    return {check.name: check for check in report.checks}


@pytest.mark.parametrize("defect", WRITER_DEFECTS, ids=str)
def test_a_writers_mistake_is_caught_by_every_check_that_is_meant_to(tmp_path: Path, defect: Defect) -> None:
    for case in spread(defect, TOYS):
        found = judged(case, tmp_path)
        assert found.caught(defect) == list(defect.caught_by), case
        assert found.misplaced(defect) == [], (case, found)
        assert found.strays(defect) == [], case
        assert found.diagnosis == defect.diagnosis, case


@pytest.mark.parametrize("format_name", ["v0", "v1-fp32", "v3"])
def test_one_weight_an_ulp_off_is_far_below_what_logits_show(tmp_path: Path, format_name: str) -> None:
    found = judged(Case(BY_NAME["one weight an ulp off"], TOYS[0], format_name), tmp_path)
    assert found.status("tensors") == "fail"
    assert found.status("execution") == found.status("quantization") == "pass"


@pytest.mark.parametrize("name", ["the classifier lost", "qkv_bias dropped", "head_dim taken for dim / n_heads"])
def test_a_file_of_another_shape_is_judged_no_further(tmp_path: Path, name: str) -> None:
    for case in spread(BY_NAME[name], TOYS):
        found = judged(case, tmp_path)
        assert {status.status for check, status in found.checks.items() if check != "config"} == {"skipped"}


@pytest.mark.slow
def test_every_flipped_payload_bit_is_caught_whatever_the_logits_say(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    directory = tmp_path_factory.mktemp("flips")
    source = save(directory, state_dict())
    files = {name: toy_file(directory, name, tied=True).read_bytes() for name in LEGACY_FORMATS}

    # the campaign of attacks flips thousands
    @settings(max_examples=max(20, settings().max_examples // 3))
    @given(st.sampled_from(LEGACY_FORMATS), st.data())
    def flip(format_name: str, data: st.DataObject) -> None:
        content = bytearray(files[format_name])
        start = 28 if format_name == "v0" else 256
        bit = data.draw(st.integers(8 * start, 8 * len(content) - 1))
        content[bit // 8] ^= 1 << bit % 8
        path = directory / "flipped.bin"
        path.write_bytes(content)
        with reader_c.open(path) as model:
            table = [s for n in model.names if n.startswith("freqs") for s in model.spans(n)]
        if any(s.offset <= bit // 8 < s.offset + s.nbytes for s in table):
            return  # tables are judged by their bound: test_file_defects.py
        assert judge(source, path, windows=1)["tensors"].status == "fail"

    flip()


@pytest.mark.parametrize("format_name", LEGACY_FORMATS)
def test_a_nan_in_the_source_cannot_pass(tmp_path: Path, format_name: str) -> None:
    path = toy_file(tmp_path, format_name, tied=True)
    state = state_dict()
    state["norm.weight"][3] = float("nan")
    checks = judge(save(tmp_path, state), path)
    assert checks["tensors"].status == "fail"
    assert checks["execution"].status == checks["quantization"].status == "skipped"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("format_name", [*BIN_FORMATS, "v3-bf16"])
def test_what_is_not_finite_in_the_source_fails_at_its_tensor_though_the_file_holds_the_same(
    tmp_path: Path, format_name: str, value: float
) -> None:
    path, (made, _, storage) = tmp_path / "out.bin", format_name.partition("-b")
    source = exporter.Checkpoint.from_arrays(config(tied=True), arrays(config(tied=True)))
    exporter.export(source, path, format=made, group_size=8, storage=f"b{storage}" if storage else "source")
    healthy = path.read_bytes()
    for name in ("layers.0.attention.wq.weight", "layers.0.attention.wk.weight", "tok_embeddings.weight"):
        state = state_dict()
        state[name].view(-1)[3] = value
        content = bytearray(healthy)
        with reader_c.open(path) as model:
            how = model.storage(name)
            held = parts(state[name], how.storage, how.group_size)
            for span in model.spans(name):
                content[span.offset : span.offset + span.nbytes] = held[span.part].view(torch.uint8).numpy().tobytes()
        changed = tmp_path / "changed.bin"
        changed.write_bytes(content)
        with reader_c.open(changed) as model:
            found = check_tensors(model, open_source(save(tmp_path, state)))
        assert found.differing == ()
        assert (found.verdict.status, found.verdict.where) == ("fail", {"tensor": name})


def test_a_header_that_says_a_shorter_length_stops_there(tmp_path: Path) -> None:
    content = bytearray(toy_file(tmp_path, "v2", tied=True).read_bytes())
    content[32:36] = struct.pack("<i", 1)
    path = tmp_path / "short.bin"
    path.write_bytes(content)
    checks = judge(save(tmp_path, state_dict()), path)
    assert checks["config"].where == {"field": "max_seq_len", "expected": 33, "found": "1"}
    assert checks["execution"].status == "skipped"


@pytest.mark.parametrize("format_name", LEGACY_FORMATS)
def test_another_length_passes_where_it_was_meant(tmp_path: Path, format_name: str) -> None:
    out = tmp_path / "short.bin"
    source = exporter.Checkpoint.from_arrays(config(tied=True), arrays(config(tied=True)))
    exporter.export(source, out, format=format_name, group_size=8, max_seq_len=20)
    checkpoint = save(tmp_path, state_dict())
    assert judge(checkpoint, out)["config"].where["field"] == "max_seq_len"
    meant = judge(checkpoint, out, max_seq_len=20)
    assert {check.status for check in meant.values()} == {"pass"}
