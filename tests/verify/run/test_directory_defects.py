"""Directories with a seeded defect: each is found by the check that it belongs to, with a message that names it."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.hf_targets import DOWN, ORDER, QUERY, Healthy, change_json, change_weights, copy, statuses, verdict
from helpers.reports import LIMITING_POLICY

from verify.report.files import render
from verify.report.saved import read_report

Weights = dict[str, torch.Tensor]


def _flip(state: Weights) -> None:
    state[DOWN].view(torch.int32)[7, 11] ^= 1


def _swap_layers(state: Weights) -> None:
    for name in [name for name in state if ".layers.0." in name]:
        other = name.replace(".layers.0.", ".layers.1.")
        state[name], state[other] = state[other].clone(), state[name].clone()


def _not_permuted(state: Weights) -> None:
    """Rows as llama2.c has them: of each head of 8, 0, 4, 1, 5, ... instead of 0, 1, 2, ..."""
    heads = state[QUERY].reshape(6, 2, 4, -1)
    state[QUERY] = heads.transpose(1, 2).reshape(state[QUERY].shape)


def _nan(state: Weights) -> None:
    state[DOWN][7, 11] = torch.nan


def _narrowed(state: Weights) -> None:
    for name, tensor in state.items():
        state[name] = tensor.to(torch.bfloat16)


def _weights(change: Callable[[Weights], object]) -> Callable[[Path], None]:
    return lambda directory: change_weights(directory, change)


def _config(**changes: Any) -> Callable[[Path], None]:
    return lambda directory: change_json(directory / "config.json", **changes)


def _narrowed_and_said(directory: Path) -> None:
    change_weights(directory, _narrowed)
    change_json(directory / "config.json", torch_dtype="bfloat16")


def _truncated(directory: Path) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def _with_a_gap(directory: Path) -> None:
    """Every offset two bytes later."""
    path = directory / "model.safetensors"
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    for name, entry in header.items():
        if name != "__metadata__":
            entry["data_offsets"] = [at + 2 for at in entry["data_offsets"]]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0\0" + content[8 + length :])


def _twice(directory: Path) -> None:
    shutil.copy(directory / "model.safetensors", directory / "pytorch_model.bin")


DEFECTS: list[tuple[str, Callable[[Path], None], str, str]] = [
    (
        "one bit",
        _weights(_flip),
        "tensors",
        rf"layers\.1\.feed_forward\.w2\.weight fp32 \[7, 11\]: .*; in model\.safetensors: {DOWN} \[7, 11\]$",
    ),
    ("swapped layers", _weights(_swap_layers), "tensors", r"layers\.0\.attention_norm\.weight fp32 \[0\]: "),
    (
        "permutation",
        _weights(_not_permuted),
        "tensors",
        rf"layers\.0\.attention\.wq\.weight fp32 \[1, 0\]: .*: {QUERY} \[4, 0\]$",
    ),
    ("NaN", _weights(_nan), "tensors", r"layers\.1\.feed_forward\.w2\.weight fp32 \[7, 11\]: expected .*, found nan"),
    ("rope_theta", _config(rope_theta=500000.0), "config", r"^rope_theta: expected 10000\.0, found 500000\.0$"),
    ("eps", _config(rms_norm_eps=1e-6), "config", r"^rms_norm_eps: expected 1e-05, found 1e-06$"),
    ("untied", _config(tie_word_embeddings=False), "config", r"^tie_word_embeddings: expected True, found False$"),
    ("activation", _config(hidden_act="gelu"), "config", r"^hidden_act: expected silu, found gelu$"),
    (
        "scaling",
        _config(rope_scaling={"rope_type": "linear", "factor": 2.0}),
        "config",
        r"^rope_type: expected none, found linear; factor: expected 0\.0, found 2\.0$",
    ),
    ("dtype", _config(torch_dtype="bfloat16"), "config", r"^torch_dtype: expected float32, found bfloat16$"),
    ("quantized", _config(quantization_config={"quant_method": "fp8"}), "config", r"config\.json: .*fp8"),
    ("biases", _config(attention_bias=True), "config", r"^qkv_bias: expected False, found True; wo_bias: "),
    ("kv heads", _config(num_key_value_heads=6), "config", r"^num_key_value_heads: expected 3, found 6"),
    (
        "missing tensor",
        _weights(lambda state: state.pop("model.norm.weight")),
        "file",
        r"^model\.norm\.weight: expected \(48,\), as config\.json implies, found no such tensor$",
    ),
    (
        "extra tensor",
        _weights(lambda state: state.update({"model.layers.2.bias": torch.zeros(2)})),
        "file",
        r"^model\.safetensors: model\.layers\.2\.bias: expected no such tensor by config\.json, found it$",
    ),
    (
        "shape",
        _weights(lambda state: state.update({"model.norm.weight": torch.ones(47)})),
        "file",
        r"^model\.norm\.weight: expected \(48,\), as config\.json implies, found \(47,\)$",
    ),
    ("truncated", _truncated, "file", r"^model\.safetensors: size: expected \d+ bytes, where .* ends, found \d+$"),
    (
        "gap",
        _with_a_gap,
        "file",
        r"^model\.safetensors: .*: expected to begin at byte \d+, where the header ends",
    ),
    (
        "an adapter",
        lambda d: (d / "adapter_config.json").write_text("{}"),
        "file",
        r"^adapter_config\.json: expected no weights but those of model\.safetensors, found this file$",
    ),
    ("weights twice", _twice, "file", r"^pytorch_model\.bin: expected no weights but those of model\.safetensors"),
    ("no weights", lambda d: (d / "model.safetensors").unlink(), "file", r"^weights: expected model\.safetensors or"),
]


@pytest.mark.parametrize(("change", "check", "message"), [d[1:] for d in DEFECTS], ids=[d[0] for d in DEFECTS])
def test_a_seeded_defect_is_found_by_its_check(
    tmp_path: Path,
    healthy: Healthy,
    change: Callable[[Path], None],
    check: str,
    message: str,
) -> None:
    source, directory = healthy["llama2c"]
    directory = copy(directory, tmp_path)
    change(directory)
    report = verdict(source, directory)
    first = next(one for one in report.checks if one.status == "fail")
    assert first.name == check
    assert re.search(message, first.detail), first.detail
    assert not report.passed
    # whatever is found, the report can be written and read
    (tmp_path / "report.json").write_text(report.to_json())
    assert read_report(tmp_path / "report.json").reason == report.reason
    assert render(report)
    assert [one.name for one in report.checks] == ORDER


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_narrowed_directory_costs_what_honest_rounding_costs(
    tmp_path: Path, healthy: Healthy, dtype: torch.dtype
) -> None:
    source, directory = healthy["llama2c"]
    directory = copy(directory, tmp_path)
    change_weights(directory, lambda state: state.update({name: x.to(dtype) for name, x in state.items()}))
    change_json(directory / "config.json", torch_dtype=str(dtype).removeprefix("torch."))
    report = verdict(source, directory)
    assert report.passed, report.reason
    storage = next(check for check in report.checks if check.name == "storage")
    assert (storage.bound, storage.limit) == ("statistical", 6.0)
    assert 0 < (storage.observed or 0.0) < 6
    assert storage.detail.startswith("float32 activations: a typical position costs KL ")
    assert "int8" not in storage.detail


# How many of a float32's last bits each type drops, as far as its numbers are normal.
DROPPED_BITS = {torch.bfloat16: 16, torch.float16: 13}


def _towards_zero(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    bits = tensor.contiguous().view(torch.int32) >> DROPPED_BITS[dtype] << DROPPED_BITS[dtype]
    return bits.view(torch.float32).to(dtype)


@pytest.mark.parametrize("dtype", DROPPED_BITS)
def test_a_directory_that_is_rounded_towards_zero_fails_by_its_bits(
    tmp_path: Path, healthy: Healthy, dtype: torch.dtype
) -> None:
    """In one window of 64 tokens, `storage` cannot tell truncation from honest rounding for certain."""
    source, directory = healthy["llama2c"]
    directory = copy(directory, tmp_path)
    change_weights(
        directory, lambda state: state.update({name: _towards_zero(x, dtype) for name, x in state.items()})
    )
    name = str(dtype).removeprefix("torch.")
    change_json(directory / "config.json", torch_dtype=name)
    report = verdict(source, directory)
    assert statuses(report)["config"] == statuses(report)["file"] == "pass"
    assert statuses(report)["tensors"] == "fail"
    assert report.diagnosis is not None
    assert report.diagnosis.signature == {"bfloat16": "cut-to-bf16", "float16": "cut-to-fp16"}[name]


@pytest.mark.parametrize("dtype", DROPPED_BITS)
def test_one_weight_that_is_not_rounded_to_the_nearest_number_fails(
    tmp_path: Path, healthy: Healthy, dtype: torch.dtype
) -> None:
    source, directory = healthy["llama2c"]
    directory = copy(directory, tmp_path)

    def change(state: Weights) -> None:
        exact = state[DOWN]
        differing = _towards_zero(exact, dtype) != exact.to(dtype)
        row, column = (int(i) for i in differing.nonzero()[-1])
        one = _towards_zero(exact, dtype)[row, column]
        state.update({name: x.to(dtype) for name, x in state.items()})
        state[DOWN][row, column] = one

    change_weights(directory, change)
    change_json(directory / "config.json", torch_dtype=str(dtype).removeprefix("torch."))
    failed = [name for name, status in statuses(verdict(source, directory)).items() if status == "fail"]
    assert "tensors" in failed


def test_a_derivation_that_rounds_towards_zero_exceeds_the_bound_of_its_type(
    tmp_path: Path, healthy: Healthy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same mistake in the exporter and in the verifier makes equal bits, which are too far from the source."""

    def truncated(tensor: torch.Tensor, storage: str, _group_size: int) -> dict[str, torch.Tensor]:
        return {storage: _towards_zero(tensor, torch.bfloat16)}

    source, directory = healthy["llama2c"]
    directory = copy(directory, tmp_path)
    change_weights(
        directory, lambda state: state.update({name: _towards_zero(x, torch.bfloat16) for name, x in state.items()})
    )
    change_json(directory / "config.json", torch_dtype="bfloat16")
    monkeypatch.setattr("verify.checks.tensors.parts", truncated)
    tensors = next(check for check in verdict(source, directory).checks if check.name == "tensors")
    assert tensors.status == "fail"
    assert tensors.detail.endswith("beyond the error bound of bf16")


def test_a_narrowed_directory_that_costs_more_than_honest_rounding_fails(
    tmp_path: Path, healthy: Healthy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in deriving what the directory should hold, which `tensors` shares: two more bits are dropped."""

    def truncated(tensor: torch.Tensor, _storage: str, _group_size: int) -> torch.Tensor:
        return (tensor.contiguous().view(torch.int32) & ~0x3FFFF).view(torch.float32)

    source, directory = healthy["llama2c"]
    directory = copy(directory, tmp_path)
    _narrowed_and_said(directory)
    monkeypatch.setattr("verify.run.reference_logits.numbers", truncated)
    storage = next(check for check in verdict(source, directory).checks if check.name == "storage")
    assert storage.status == "fail", storage.detail
    assert storage.detail.startswith("the file costs more than an honest file of its storage: float32 activations")


def test_a_narrowed_directory_costs_something_and_a_policy_may_refuse_it(tmp_path: Path, healthy: Healthy) -> None:
    source, directory = healthy["llama2c"]
    directory = copy(directory, tmp_path)
    _narrowed_and_said(directory)
    by_default = verdict(source, directory)
    assert by_default.passed
    assert by_default.checks[-1].detail.endswith("by float32 activations; no limits: the policy sets none")
    limited = verdict(source, directory, policy=LIMITING_POLICY)
    assert limited.reason.startswith("quantization: kl_mean by float32 activations: limit 1e-07, found ")


SHARDED: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    (
        "another shard",
        lambda index: index["weight_map"].update({DOWN: min(index["weight_map"].values())}),
        rf"index\.json: {DOWN}: expected model-0000\d-of-.*, which holds it, found model-00001-of",
    ),
    (
        "no such shard",
        lambda index: index["weight_map"].update({DOWN: "model-00099-of-00099.safetensors"}),
        r"index\.json: expected model-00099-of-00099\.safetensors, which it names, found no such file",
    ),
    ("no entry", lambda index: index["weight_map"].pop(DOWN), rf"{DOWN}: expected .*, found no entry"),
    (
        "outside",
        lambda index: index["weight_map"].update({DOWN: "../a.safetensors"}),
        r"expected a \.safetensors",
    ),
    (
        "total",
        lambda index: index["metadata"].update({"total_size": 12}),
        r"total_size: expected \d+, the bytes of all tensors, found 12",
    ),
]


@pytest.mark.parametrize(("change", "message"), [d[1:] for d in SHARDED], ids=[d[0] for d in SHARDED])
def test_an_index_that_says_something_else_than_the_shards_is_found(
    tmp_path: Path, healthy: Healthy, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    source, directory = healthy["sharded"]
    directory = copy(directory, tmp_path)
    path = directory / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))
    report = verdict(source, directory)
    assert statuses(report) == {
        "config": "pass",
        "file": "fail",
        "tensors": "skipped",
        "execution": "skipped",
        "storage": "skipped",
        "quantization": "skipped",
    }
    found = next(check.detail for check in report.checks if check.name == "file")
    assert re.search(message, found), found


OF_HUGGINGFACE: list[tuple[str, Callable[[Path], object], str, str]] = [
    (
        "no tokenizer",
        lambda d: (d / "tokenizer.json").unlink(),
        "file",
        "tokenizer.json: expected the source's, found no such file: copy it from the source",
    ),
    (
        "generation_config",
        lambda d: change_json(d / "generation_config.json", eos_token_id=7),
        "file",
        "generation_config.json: expected the source's, sha256 ",
    ),
    (
        "template",
        lambda d: (d / "chat_template.jinja").write_text("{{ other }}"),
        "file",
        "chat_template.jinja: expected the source's, sha256 ",
    ),
    (
        "another tokenizer",
        lambda d: (d / "tokenizer.model").write_bytes(b"x"),
        "file",
        "tokenizer.model: expected no such file, because the source has none, found one",
    ),
    (
        "token ids",
        lambda d: change_json(d / "config.json", eos_token_id=7),
        "config",
        "eos_token_id: expected [4, 5], found 7",
    ),
    (
        "gone token ids",
        lambda d: change_json(d / "config.json", eos_token_id=None),
        "config",
        "eos_token_id: expected [4, 5], found 2",
    ),
]


@pytest.mark.parametrize(
    ("change", "check", "message"), [d[1:] for d in OF_HUGGINGFACE], ids=[d[0] for d in OF_HUGGINGFACE]
)
def test_what_a_hugging_face_source_has_beside_its_weights_must_arrive(
    tmp_path: Path,
    healthy: Healthy,
    change: Callable[[Path], object],
    check: str,
    message: str,
) -> None:
    source, directory = healthy["huggingface"]
    directory = copy(directory, tmp_path)
    change(directory)
    report = verdict(source, directory)
    assert [name for name, status in statuses(report).items() if status == "fail"] == [check]
    assert report.reason.startswith(f"{check}: {message}")


def test_a_diagnosis_says_what_was_done_wrong(tmp_path: Path, healthy: Healthy) -> None:
    source, directory = healthy["llama2c"]
    for number, (change, word) in enumerate(((_swap_layers, "layers"), (_not_permuted, "never permuted"))):
        broken = Path(shutil.copytree(directory, tmp_path / str(number)))
        change_weights(broken, change)
        found = verdict(source, broken).diagnosis
        assert found is not None
        assert word in found.sentence


def test_a_mistake_that_both_uses_of_the_reader_share_is_found(
    healthy: Healthy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verifier's own reader of directories forgets the order of rows, of the source as of the directory."""
    monkeypatch.setattr("verify.sources.huggingface._interleaved", lambda rows, _heads, _rotated: rows)
    report = verdict(*healthy["huggingface"])
    assert statuses(report)["tensors"] == "fail"
    assert "do not compute the same model" in next(c.detail for c in report.checks if c.name == "execution")
