"""verify() as a whole: what it reports, and what cannot be judged."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from helpers.checkpoints import ARGS, save, state_dict, untied_state_dict
from helpers.models import BIN_FORMATS, arrays, config, toy_file

import reader_c
import verify
from verify.checks.file import check_file
from verify.checks.result import skipped
from verify.report.document import schema
from verify.sources import open_source

ORDER = ["config", "file", "tensors", "operations", "execution", "storage", "quantization"]


@pytest.mark.parametrize("format_name", BIN_FORMATS)
def test_the_report_is_complete_and_valid(tmp_path: Path, format_name: str) -> None:
    source, path = save(tmp_path, state_dict()), toy_file(tmp_path, format_name, tied=True)
    report = verify.verify(source, path, depth="quick")
    assert report.passed
    contents = json.loads(report.to_json())
    jsonschema.validate(contents, schema())
    assert [check["name"] for check in contents["checks"]] == ORDER
    assert contents["file"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert contents["source"]["sha256"] == {"checkpoint.pt": hashlib.sha256(source.read_bytes()).hexdigest()}
    assert contents["metrics"]["positions"] == 6 * 33
    assert (contents["metrics_q8_activations"] is None) == (format_name in ("v0", "v1-fp32", "v3"))
    assert {t["name"] for t in contents["tensors"]} == set(arrays(config(tied=True)))
    for tensor in contents["tensors"]:
        quantized = tensor["storage"] == "q8_0"
        assert quantized == (tensor["bound"] is not None) == (tensor["utilisation"] is not None)
        assert not quantized or 0 < tensor["utilisation"] <= 1
        assert quantized or tensor["max_abs_error"] == 0


def test_every_operation_of_every_layer_is_reported_and_storage_is_accounted_for(tmp_path: Path) -> None:
    source = save(tmp_path, state_dict())
    contents = json.loads(verify.verify(source, toy_file(tmp_path, "v2", tied=True), depth="quick").to_json())
    every = [(layer["activations"], layer["layer"], layer["operation"]) for layer in contents["layers"]]
    operations, by_fast = every[: len(every) // 2], every[len(every) // 2 :]
    assert by_fast == operations
    assert [layer["arithmetic"] for layer in contents["layers"]] == ["mirror"] * len(operations) + ["fast"] * len(
        operations
    )
    assert len(set(operations)) == len(operations)
    for layer in (0, 1):
        of_layer = [operation for kind, number, operation in operations if (kind, number) == ("fp32", layer)]
        assert of_layer[:3] == ["cosine", "sine", "attention_norm"]
        assert of_layer[-3:] == ["gated", "down", "ffn_residual"]
        assert len(of_layer) == 19
        assert ("q8", layer, "down int8") in operations
    assert operations[0] == ("fp32", None, "embedding")
    assert ("q8", None, "logits") in operations
    for layer in contents["layers"]:
        assert 0 <= layer["max_error_over_bound"] <= 1
    assert contents["diagnosis"] is contents["closure"] is None
    shares = sum(share["kl_share"] for share in contents["attribution"])
    assert shares + contents["linearity_residual"]["kl"] == pytest.approx(1)
    assert abs(contents["linearity_residual"]["kl"]) < 0.1
    assert contents["attribution_of"]["kl"] > 0
    lossless = json.loads(verify.verify(source, toy_file(tmp_path, "v0", tied=True), depth="quick").to_json())
    assert (lossless["attribution"], lossless["attribution_of"]) == ([], None)


def test_a_failure_is_explained_as_far_as_it_is_asked_for(tmp_path: Path) -> None:
    """A weight that is off: named by its tensor, by its place in the product, and by its part of the logits."""
    source, path = save(tmp_path, state_dict()), toy_file(tmp_path, "v0", tied=True)
    name = "layers.1.feed_forward.w2.weight"
    with reader_c.open(path) as model:
        (span,) = model.spans(name)
    content = bytearray(path.read_bytes())
    at = span.offset + 4 * (7 * 40 + 11)
    content[at : at + 4] = (np.frombuffer(content, "<f4", 1, at) + np.float32(0.5)).tobytes()
    path.write_bytes(content)
    for depth in ("standard", "full"):
        report = verify.verify(source, path, depth=depth, windows=1)
        found = {check.name: check for check in report.checks}
        assert found["operations"].status == found["execution"].status == "fail"
        where = found["operations"].where
        assert (where["layer"], where["operation"], where["tensor"]) == (1, "down", name)
        assert (where["row"], where["column"]) == (7, 11)
        assert where["delta"] == pytest.approx(0.5, rel=1e-3)
        assert where["explained"] > 0.999
        assert report.diagnosis is not None
        assert report.diagnosis.tensors == (name,)
        contents = json.loads(report.to_json())
        assert (contents["closure"] is None) == (depth == "standard")
    assert report.closure is not None
    assert abs(1 - report.closure.explained) < 1e-3
    first = report.closure.parts[0]
    assert (first.layer, first.operation) == (1, "down")
    assert first.part == pytest.approx(report.closure.difference, rel=1e-2)


def test_a_report_of_a_broken_file_is_valid_json_too(tmp_path: Path) -> None:
    path = toy_file(tmp_path, "v0", tied=True)
    content = bytearray(path.read_bytes())
    content[28:32] = np.float32(np.nan).tobytes()
    path.write_bytes(content)
    report = verify.verify(save(tmp_path, state_dict()), path, depth="quick", windows=1)
    contents = json.loads(report.to_json())
    assert contents["verdict"] == "fail"
    assert contents["checks"][2]["where"]["tensor"] == "tok_embeddings.weight"


def test_the_same_evidence_gives_the_same_report(tmp_path: Path) -> None:
    source, path = save(tmp_path, state_dict()), toy_file(tmp_path, "v2", tied=True)
    first, second = (verify.verify(source, path, depth="quick").to_json() for _ in range(2))
    assert first == second


def test_windows_of_ones_own(tmp_path: Path) -> None:
    source, path = save(tmp_path, state_dict()), toy_file(tmp_path, "v2", tied=True)
    mine = [np.arange(5), np.arange(9)]
    report = verify.verify(source, path, windows=mine, depth="quick")
    assert report.metrics is not None
    assert report.metrics.positions == 14 + 6 * 33
    assert verify.verify(source, path, windows=2).metrics.positions == 4 * 33  # type: ignore[union-attr]


def test_windows_are_judged_alike_alone_and_together(tmp_path: Path) -> None:
    """Batches are for speed: one process and many must come to the same evidence."""
    source, path = save(tmp_path, state_dict()), toy_file(tmp_path, "v2", tied=True)
    together = verify.verify(source, path, windows=[np.arange(9), np.arange(9)[::-1].copy()], depth="quick")
    alone = verify.verify(source, path, windows=[np.arange(9)], depth="quick")
    assert together.metrics is not None
    assert alone.metrics is not None
    assert together.metrics.kl_max >= alone.metrics.kl_max * (1 - 1e-9)


def test_a_file_that_changes_while_it_is_judged_is_no_verdict(tmp_path: Path) -> None:
    source, path = save(tmp_path, state_dict()), toy_file(tmp_path, "v2", tied=True)

    def change(stage: str, done: int, _total: int) -> None:
        if stage == "windows" and not done:
            with path.open("r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(b"\x7f")

    with pytest.raises(verify.CannotJudgeError, match="changed while it was being judged"):
        verify.verify(source, path, depth="quick", progress=change)


def test_a_source_that_changes_while_it_is_read_is_no_verdict(tmp_path: Path) -> None:
    source = save(tmp_path, state_dict())
    opened = open_source(source)
    save(tmp_path, state_dict(seed=1))
    with pytest.raises(verify.CannotJudgeError, match="changed while it was being read"):
        opened.tensor("norm.weight")


@pytest.mark.parametrize("row", [[0.5, 1.9], [True, False], [float("nan"), 1.0]])
def test_tokens_in_memory_must_be_integers(tmp_path: Path, row: list[float]) -> None:
    with pytest.raises(verify.CannotJudgeError, match="expected integers"):
        verify.verify(save(tmp_path, state_dict()), toy_file(tmp_path, "v2", tied=True), windows=[np.array(row)])


def test_float64_that_float32_cannot_hold_is_refused_here_too(tmp_path: Path) -> None:
    opened = open_source(save(tmp_path, {**state_dict(), "norm.weight": torch.full((48,), 0.1, dtype=torch.float64)}))
    with pytest.raises(verify.CannotJudgeError, match="values that float32 can hold"):
        opened.tensor("norm.weight")


def test_int8_activations_are_reported_apart(tmp_path: Path) -> None:
    report = verify.verify(save(tmp_path, state_dict()), toy_file(tmp_path, "v2", tied=True), depth="quick")
    assert report.metrics is not None
    assert report.metrics_q8_activations is not None
    assert report.metrics_q8_activations.kl_mean > 1.2 * report.metrics.kl_mean


def test_a_report_without_checks_or_with_a_skipped_one_is_no_pass(tmp_path: Path) -> None:
    report = verify.verify(save(tmp_path, state_dict()), toy_file(tmp_path, "v2", tied=True), depth="quick")
    aside = skipped("quantization", "policy", "why")
    for checks in ((), (aside,), (*report.checks[:5], aside)):
        assert not dataclasses.replace(report, checks=checks).passed


class _LyingModel:
    """A reader that misreports one thing about a healthy file."""

    def __init__(self, model: reader_c.Model, lies: dict[str, object]) -> None:
        self._model, self._lies = model, lies

    def __getattr__(self, name: str) -> object:
        return self._lies[name] if name in self._lies else getattr(self._model, name)


def test_the_file_check_notices_a_reader_that_is_wrong(tmp_path: Path) -> None:
    source = open_source(save(tmp_path, untied_state_dict()), tied=False)
    with reader_c.open(toy_file(tmp_path, "v2")) as model:

        def shifted(name: str) -> tuple[reader_c.Span, ...]:
            return tuple(dataclasses.replace(span, offset=span.offset + 4) for span in model.spans(name))

        other_length = dataclasses.replace(model.config, max_seq_len=32)
        stories: list[tuple[dict[str, object], str]] = [
            ({}, "without gap or overlap"),
            ({"spans": shifted}, "expected at byte 256, found at 260"),
            ({"names": model.names[:-1]}, "expected to end at byte"),
            ({"config": other_length}, "header: byte 32"),
            ({"content": model.content[:-1]}, "size: expected"),
        ]
        for lies, finding in stories:
            result = check_file(_LyingModel(model, lies), source, 33)  # type: ignore[arg-type]
            assert finding in result.detail
            assert (result.status == "pass") == (not lies)


def test_a_file_is_no_witness_for_itself_and_a_copy_is_one(tmp_path: Path) -> None:
    path = toy_file(tmp_path, "v3")
    link, hard, copy = tmp_path / "link.bin", tmp_path / "hard.bin", tmp_path / "copy.bin"
    link.symlink_to(path)
    hard.hardlink_to(path)
    copy.write_bytes(path.read_bytes())
    for source, file in ((path, path), (path, link), (link, path), (path, hard), (open_source(path), str(path))):
        with pytest.raises(
            verify.CannotJudgeError, match="expected another file than the source, found the source itself"
        ):
            verify.verify(source, file, depth="quick")
    assert verify.verify(path, copy, windows=1, depth="quick").passed


def test_a_file_of_the_source_s_directory_is_no_witness_either(tmp_path: Path) -> None:
    path = toy_file(tmp_path, "v3")
    source = open_source(path)
    source.path, source.files = tmp_path, {"config.json": "", path.name: source.files[path.name]}
    with pytest.raises(verify.CannotJudgeError, match="found the source itself"):
        verify.verify(source, path, depth="quick")


def test_another_model_of_the_same_shape_fails(tmp_path: Path) -> None:
    report = verify.verify(save(tmp_path, state_dict(seed=1)), toy_file(tmp_path, "v2", tied=True), depth="quick")
    assert [c.name for c in report.checks if c.status == "fail"] == [
        "tensors",
        "operations",
        "execution",
        "storage",
    ]


def test_another_models_shape_is_named(tmp_path: Path) -> None:
    report = verify.verify(
        save(tmp_path, state_dict()), toy_file(tmp_path, "v2", tied=True, n_layers=3), depth="quick"
    )
    assert not report.passed
    assert report.checks[0].where == {"field": "n_layers", "expected": 2, "found": "3"}
    assert [c.status for c in report.checks[1:]] == ["skipped"] * 6


@pytest.mark.parametrize(
    ("state", "arguments", "message"),
    [
        ({"norm.weight": None}, {}, "expected norm.weight, found no such tensor"),
        ({"extra": torch.zeros(2)}, {}, "expected tensors of a Llama alone, found extra"),
        ({"layers.1.ffn_norm.weight": None}, {}, "9 tensors in each layer"),
        ({"layers.1.ffn_norm.weight": torch.zeros(3)}, {}, r"expected \(48,\), found \(3,\)"),
        ({"norm.weight": torch.zeros(48, dtype=torch.int32)}, {}, "one dense float tensor"),
        ({}, {"n_heads": 5}, "n_heads"),
        ({}, {"n_kv_heads": 6}, "n_kv_heads: expected 3, as the tensors say, found 6"),
        ({}, {"hidden_dim": 64}, "hidden_dim: expected 40"),
        ({}, {"max_seq_len": 0}, "max_seq_len"),
        ({}, {"rope_scaling": 8}, "found rope_scaling"),
        ({}, {"tied": 1}, "found tied"),
        ({}, {"norm_eps": "abc"}, "norm_eps: expected a number, found abc"),
        ({}, {"norm_eps": [1]}, "norm_eps: expected a number, found a list"),
        ({}, {"norm_eps": 0}, "norm_eps: expected a positive finite number, found 0"),
        ({}, {"dim": torch.zeros(2)}, "dim: expected an integer, found a Tensor"),
        ({1: torch.zeros(2)}, {}, "expected one dense float tensor"),
        ({"norm.weight": torch.zeros(48).to_sparse()}, {}, "expected one dense float tensor"),
        ({"tok_embeddings.weight": torch.zeros(0, 48)}, {}, "expected matrices with rows and columns"),
    ],
)
def test_the_verifiers_own_loader_refuses_what_it_does_not_understand(
    tmp_path: Path, state: dict[str, torch.Tensor | None], arguments: dict[str, object], message: str
) -> None:
    changed = {**state_dict(), **state}
    kept = {name: tensor for name, tensor in changed.items() if tensor is not None}
    with pytest.raises(verify.CannotJudgeError, match=message):
        open_source(save(tmp_path, kept, {**ARGS, **arguments}))


def test_max_seq_len_beyond_the_sources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(verify.CannotJudgeError, match="max_seq_len: expected 1 to the source's 33, found 34"):
        verify.verify(save(tmp_path, state_dict()), toy_file(tmp_path, "v2", tied=True), max_seq_len=34)
