"""A Hugging Face directory is judged: healthy ones pass, and what cannot be judged is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.changing import write_unseen
from helpers.hf_exports import everything, expressible
from helpers.hf_targets import DOWN, ORDER, SOURCES, Healthy, change_weights, copy, statuses, verdict
from hypothesis import given, settings
from safetensors.torch import load_file

import exporter
import verify
from verify.judge_report import judge
from verify.report.document import digest_of_report
from verify.report.files import render
from verify.report.saved import read_report
from verify.run import directory_engine
from verify.run.directory_engine import DirectoryEngine
from verify.run.options import Options
from verify.testing import assert_roundtrip, checkpoints
from verify.verdict import verify as verify_with

# ---- healthy ones ----


@pytest.mark.parametrize("kind", [*SOURCES, "sharded"])
def test_a_healthy_directory_passes_every_check(healthy: Healthy, kind: str) -> None:
    source, directory = healthy[kind]
    report = verdict(source, directory)
    assert report.passed, report.reason
    assert [check.name for check in report.checks] == ORDER
    assert {check.status for check in report.checks} == {"pass"}
    assert report.environment["versions"]["transformers"]
    assert report.layers == ()
    assert all(tensor.max_abs_error == 0 for tensor in report.tensors)


@settings(max_examples=8)
@given(checkpoints(everything(least_positions=2).filter(expressible)))
def test_any_model_that_transformers_can_hold_passes(checkpoint: exporter.Checkpoint) -> None:
    assert_roundtrip(checkpoint, format="hf")


def test_a_shorter_model_passes_where_it_was_requested(tmp_path: Path, healthy: Healthy) -> None:
    source, _ = healthy["llama2c"]
    exporter.export(exporter.open_checkpoint(source), tmp_path / "out", format="hf", max_seq_len=20)
    assert verdict(source, tmp_path / "out", max_seq_len=20).passed
    report = verdict(source, tmp_path / "out")
    assert report.reason == "config: max_position_embeddings: expected 33, found 20"
    assert statuses(report)["execution"] == "skipped"


def test_shards_of_pickles_are_judged_too(tmp_path: Path, healthy: Healthy) -> None:
    source, directory = healthy["llama2c"]
    directory = copy(directory, tmp_path)
    state = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    torch.save(state, directory / "pytorch_model.bin")
    assert verdict(source, directory).passed
    state[DOWN][7, 11] += 1
    torch.save(state, directory / "pytorch_model.bin")
    assert verdict(source, directory).reason.startswith("tensors: layers.1.feed_forward.w2.weight fp32 [7, 11]")


def test_a_limit_of_memory_holds_for_a_directory(healthy: Healthy) -> None:
    told: list[str] = []
    assert verdict(*healthy["llama2c"], memory=16 << 30, announce=told.append).passed
    assert "of memory expected" in told[0]
    with pytest.raises(verify.CannotJudgeError, match="memory: expected at least"):
        verdict(*healthy["llama2c"], memory=1 << 20)


# ---- the report ----


def test_the_report_has_every_file_and_says_it_again(tmp_path: Path, healthy: Healthy) -> None:
    source, directory = healthy["huggingface"]
    report = verdict(source, directory)
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}
    lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    assert report.file == {
        "path": str(directory),
        "format": "hf",
        "bytes": sum(path.stat().st_size for path in directory.iterdir()),
        "sha256": hashlib.sha256(lines.encode()).hexdigest(),
        "files": digests,
    }
    (tmp_path / "report.json").write_text(report.to_json())
    assert read_report(tmp_path / "report.json").to_json() == report.to_json()
    assert judge(tmp_path / "report.json").passed
    rendered = render(report)
    subjects = json.loads(rendered["attestation.json"])["subject"]
    assert {s["name"]: s["digest"]["sha256"] for s in subjects} == {f"out/{n}": d for n, d in digests.items()}
    page = rendered["report.html"].decode()
    assert "transformers, which runs a directory, records none" in page
    assert "layers.1.feed_forward.w2.weight" in page.replace("<wbr>", "")


def test_a_report_without_operations_is_one_of_a_directory_alone(tmp_path: Path, healthy: Healthy) -> None:

    contents = verdict(*healthy["llama2c"]).to_dict()
    contents["file"]["format"] = "v3"
    contents["digest"] = digest_of_report(contents)
    (tmp_path / "report.json").write_text(json.dumps(contents))
    with pytest.raises(verify.CannotJudgeError, match="checks: expected config, file, tensors, operations"):
        read_report(tmp_path / "report.json")


# ---- the engine ----


def test_logits_that_are_off_are_found_by_execution(healthy: Healthy, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = DirectoryEngine.logits

    def off(self: DirectoryEngine, tokens: torch.Tensor) -> np.ndarray:
        logits = honest(self, tokens).copy()
        logits[..., 5] += np.float32(1e-3)
        return logits

    monkeypatch.setattr(DirectoryEngine, "logits", off)
    report = verdict(*healthy["llama2c"])
    assert statuses(report)["execution"] == "fail"
    assert "logits of transformers on the directory against PyTorch" in report.reason
    assert next(check.where["index"] for check in report.checks if check.name == "execution") == 5


def test_logits_that_are_not_finite_are_found(healthy: Healthy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DirectoryEngine, "logits", lambda _, tokens: np.full((*tokens.shape, 29), np.nan, np.float32))
    report = verdict(*healthy["llama2c"])
    after = {"execution": "fail", "storage": "skipped", "quantization": "fail"}
    assert statuses(report) == {**dict.fromkeys(ORDER[:3], "pass"), **after}


def test_a_directory_that_transformers_cannot_load_fails(healthy: Healthy, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise directory_engine.NotRunError("expected a model that transformers loads, found: a reason")

    monkeypatch.setattr(DirectoryEngine, "__init__", refuse)
    report = verdict(*healthy["llama2c"])
    after = {"execution": "fail", "storage": "skipped", "quantization": "skipped"}
    assert statuses(report) == {**dict.fromkeys(ORDER[:3], "pass"), **after}
    assert report.reason == (
        "execution: transformers on the directory: expected a model that transformers loads, found: a reason"
    )


def test_the_engine_takes_no_tensor_that_is_made_up(tmp_path: Path, healthy: Healthy) -> None:
    directory = copy(healthy["llama2c"][1], tmp_path)
    change_weights(directory, lambda state: state.pop("model.norm.weight"))
    with pytest.raises(directory_engine.NotRunError, match=r"found model\.norm\.weight among its missing_keys"):
        DirectoryEngine(directory)


def test_an_interrupted_run_continues(tmp_path: Path, healthy: Healthy, monkeypatch: pytest.MonkeyPatch) -> None:
    first = verdict(*healthy["llama2c"], resume=tmp_path / "kept")
    # nothing is run again
    monkeypatch.delattr(DirectoryEngine, "logits")
    assert verdict(*healthy["llama2c"], resume=tmp_path / "kept").to_json() == first.to_json()


# ---- what is refused ----


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "README.md"])
def test_a_directory_that_changes_while_it_is_judged_is_no_verdict(
    tmp_path: Path, healthy: Healthy, name: str
) -> None:
    source, directory = healthy["llama2c"]
    directory = copy(directory, tmp_path)

    def change(stage: str, done: int, total: int) -> None:
        if stage == "windows" and done == total:
            path = directory / name
            if path.exists():
                write_unseen(path, path.read_bytes())
            else:
                path.write_text("new")

    with pytest.raises(verify.CannotJudgeError, match=rf"{name}: changed while it was being judged$"):
        verdict(source, directory, progress=change)


def test_a_companion_of_the_source_that_changes_meanwhile_is_no_verdict(tmp_path: Path, healthy: Healthy) -> None:
    source, directory = (Path(shutil.copytree(path, tmp_path / path.name)) for path in healthy["huggingface"])

    def change(stage: str, done: int, total: int) -> None:
        if stage == "windows" and done == total:
            (source / "tokenizer.json").write_text("{}")

    with pytest.raises(verify.CannotJudgeError, match=r"tokenizer\.json: changed while it was being judged$"):
        verdict(source, directory, progress=change)


def test_what_is_no_directory_of_a_known_model_is_refused(tmp_path: Path, healthy: Healthy) -> None:
    source, directory = healthy["llama2c"]
    directory = copy(directory, tmp_path)
    path = directory / "config.json"
    good = path.read_text()
    for content, message in (
        ("{", r"config\.json: expected a JSON object"),
        (json.dumps({**json.loads(good), "model_type": "gpt2"}), "model_type: expected one of llama, mistral, qwen2"),
        (json.dumps({**json.loads(good), "num_hidden_layers": 10**9}), "num_hidden_layers: expected at most 100000"),
        (json.dumps({**json.loads(good), "hidden_size": "x"}), "expected a config that transformers accepts"),
    ):
        path.write_text(content)
        with pytest.raises(verify.CannotJudgeError, match=message):
            verdict(source, directory)
    path.unlink()
    with pytest.raises(verify.CannotJudgeError, match=r"expected a Hugging Face directory with a config\.json"):
        verdict(source, directory)


def test_no_file_outside_a_directory_is_read_for_it(tmp_path: Path, healthy: Healthy) -> None:
    source, directory = healthy["llama2c"]
    directory = copy(directory, tmp_path)
    (tmp_path / "private").write_text("{}")
    (directory / "generation_config.json").symlink_to(tmp_path / "private")
    with pytest.raises(verify.CannotJudgeError, match=r"generation_config\.json: expected a file in its dir"):
        verdict(source, directory)
    (directory / "generation_config.json").unlink()
    (directory / "generation_config.json").write_text("{" + " " * 10_000_000 + "}")
    with pytest.raises(verify.CannotJudgeError, match=r"generation_config\.json: expected a JSON object"):
        verdict(source, directory)


def test_paths_and_options_that_conflict_are_refused(tmp_path: Path, healthy: Healthy) -> None:
    source, directory = healthy["huggingface"]
    with pytest.raises(verify.CannotJudgeError, match="found the source itself"):
        verdict(source, source)
    with pytest.raises(verify.CannotJudgeError, match=r"expected a place outside .*, for the report"):
        verify_with(source, directory, options=Options(report_dir=directory / "report"))
    with pytest.raises(verify.CannotJudgeError, match=r"^engine: expected a \.bin file to judge, found a directory"):
        verdict(source, directory, engine=verify.Engine(command="cat {file} {tokens} {logits}"))
    (tmp_path / "policy.toml").write_text("[hf]\nmay_be_skipped = []\n[hf.operations]\nerror_over_bound = 1.0\n")
    with pytest.raises(verify.CannotJudgeError, match=r"\[hf\]: expected .*, found 'operations'"):
        verdict(source, directory, policy=tmp_path / "policy.toml")
