"""transformers as the reference: quiet, whole, and never with weights of its own making."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import huggingface
from safetensors.torch import load_file, save_file

import exporter
import verify
from verify.errors import CannotJudgeError
from verify.oracle import llama
from verify.oracle.logit_sigma import logit_sigma
from verify.oracle.transformers import TransformersOracle
from verify.sources import open_source
from verify.sources.huggingface import HuggingFaceSource

TOKENS = torch.from_numpy(np.random.default_rng(0).integers(0, 29, (3, 20)))
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 16}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return huggingface.save(tmp_path / "model", huggingface.model())


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A model that the oldest formats hold."""
    return huggingface.save(tmp_path / "plain", huggingface.model(head_dim=8, rms_norm_eps=1e-5))


def exported(directory: Path, format_name: str) -> Path:
    source = open_source(directory)
    hyper = source.hyperparameters
    config = exporter.ModelConfig(
        **{
            **{field: getattr(hyper, field) for field in exporter.ModelConfig.__dataclass_fields__},
            "rope_scaling": exporter.config.RopeScaling(),
        }
    )
    weights = {name: source.tensor(name).numpy() for name in hyper.shapes()}
    path = directory / f"{format_name}.bin"
    exporter.export(exporter.Checkpoint.from_arrays(config, weights), path, format=format_name, group_size=8)
    return path


def test_all_positions_of_the_whole_model_in_silence(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def no_network(*_arguments: Any, **_options: Any) -> None:
        raise AssertionError("a socket")

    monkeypatch.setattr(socket, "socket", no_network)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    oracle = TransformersOracle(HuggingFaceSource(directory))
    logits = oracle.logits(TOKENS)
    assert capfd.readouterr() == ("", "")
    assert logits.shape == (3, 20, 29)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, huggingface.logits(huggingface.model(), TOKENS), rtol=0, atol=1e-5)
    import transformers

    assert oracle.version == transformers.__version__


@pytest.mark.parametrize("streamed", [False, True])
def test_nothing_is_opened_but_what_the_source_consists_of(directory: Path, *, streamed: bool) -> None:
    (directory / "generation_config.json").unlink(missing_ok=True)
    (directory.parent / "secret.json").write_text("{}")
    (directory / "generation_config.json").symlink_to("../secret.json")
    source = open_source(directory)
    assert isinstance(source, HuggingFaceSource)
    TransformersOracle(source, streamed=streamed)  # all that is imported late is there
    opened: set[str] | None = set()

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if opened is not None and event == "open" and isinstance(arguments[0], (str, bytes, Path)):
            opened.add(os.path.realpath(os.fsdecode(arguments[0])))

    sys.addaudithook(hook)
    try:
        TransformersOracle(source, streamed=streamed)
        of_test = {path for path in opened or () if path.startswith(str(directory.parent.resolve()))}
    finally:
        opened = None  # a hook stays for as long as the process
    assert of_test <= {str((directory / name).resolve()) for name in source.files}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    made = huggingface.model()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(parameter.to(dtype))
    expected = huggingface.logits(made, TOKENS)
    # the frequencies, which are no parameters, stay float32 above alone
    directory = huggingface.save(tmp_path, made.to(dtype))
    torch.testing.assert_close(
        TransformersOracle(HuggingFaceSource(directory)).logits(TOKENS), expected, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.norm.weight": None}, "found model.norm.weight among its missing_keys"),
        ({"lm_head.weight": None}, "found lm_head.weight among its missing_keys"),
        ({"model.extra": torch.ones(3)}, "found model.extra among its unexpected_keys"),
        ({"model.norm.weight": torch.ones(47)}, "found model.norm.weight among its mismatched_keys"),
    ],
)
def test_what_transformers_would_make_up_is_refused(
    directory: Path, capfd: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    source = HuggingFaceSource(directory)
    state = {**load_file(directory / "model.safetensors"), **changes}
    kept = {name: tensor for name, tensor in state.items() if tensor is not None}
    save_file(kept, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CannotJudgeError, match=message):
        TransformersOracle(source)
    assert capfd.readouterr() == ("", "")


def test_old_buffers_and_a_tied_classifier_are_no_findings(directory: Path) -> None:
    state = load_file(directory / "model.safetensors")
    old = {**state, "model.layers.0.self_attn.rotary_emb.inv_freq": 1e4 ** -(torch.arange(5) / 5)}
    save_file(old, directory / "model.safetensors", metadata={"format": "pt"})
    TransformersOracle(HuggingFaceSource(directory))
    huggingface.rewrite(directory, tie_word_embeddings=True)
    for second in ({}, {"lm_head.weight": state["model.embed_tokens.weight"].clone()}):
        del old["lm_head.weight"]
        old |= second
        save_file(old, directory / "model.safetensors", metadata={"format": "pt"})
        TransformersOracle(HuggingFaceSource(directory))
        old.setdefault("lm_head.weight", torch.zeros(0))


def test_shards_of_a_distributed_checkpoint_are_no_part_of_the_source(directory: Path) -> None:
    state = load_file(directory / "model.safetensors")
    other = {name: tensor * 2 for name, tensor in state.items()}
    save_file(other, directory / "shard-00000-model-00001-of-00001.safetensors", metadata={"format": "pt"})
    logits = TransformersOracle(HuggingFaceSource(directory)).logits(TOKENS)
    torch.testing.assert_close(logits, huggingface.logits(huggingface.model(), TOKENS), rtol=0, atol=1e-5)


def test_what_does_not_load_is_refused_in_one_line(directory: Path) -> None:
    source = HuggingFaceSource(directory)
    with pytest.raises(CannotJudgeError, match="expected logits from transformers, found: "):
        TransformersOracle(source).logits(TOKENS + 29)
    (directory / "model.safetensors").unlink()
    with pytest.raises(CannotJudgeError, match="expected a model that transformers loads, found: ") as caught:
        TransformersOracle(source)
    assert "\n" not in str(caught.value)


def test_without_transformers_it_is_said_what_to_install(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = HuggingFaceSource(directory)
    monkeypatch.setitem(sys.modules, "transformers", None)
    for needs, given in ((TransformersOracle, source), (open_source, directory)):
        with pytest.raises(CannotJudgeError, match=r"^transformers: .*pip install .*\[huggingface\]'$"):
            needs(given)


@pytest.mark.parametrize("architecture", sorted(huggingface.MODEL_TYPES))
def test_transformers_float32_is_rounding_away_from_the_plain_llama(tmp_path: Path, architecture: str) -> None:
    biased = {"attention_bias": True, "mlp_bias": True} if architecture == "LlamaForCausalLM" else {}
    made = huggingface.model(architecture, rope_parameters=YARN, hidden_act="gelu", **biased)
    source = HuggingFaceSource(huggingface.save(tmp_path, made))
    reference = llama.logits(source.hyperparameters, source.tensor, TOKENS)
    sigma = logit_sigma(source.hyperparameters, source.tensor, TOKENS, seed=0)
    sigmas = (TransformersOracle(source).logits(TOKENS) - reference).abs() / sigma
    assert 0.1 < sigmas.max() < 10


@pytest.mark.parametrize("format_name", ["v1-fp32", "v2"])
def test_a_healthy_file_passes_by_both_references(plain: Path, format_name: str) -> None:
    report = verify.verify(plain, exported(plain, format_name), depth="quick", source_kind="huggingface")
    assert report.passed, [check.detail for check in report.checks]
    contents = json.loads(report.to_json())
    assert contents["source"]["kind"] == "huggingface"
    assert "transformers" in contents["environment"]["versions"]


def test_both_sides_of_the_metrics_come_from_transformers(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the logits on both sides are twice as far apart."""
    path = exported(plain, "v2")
    theirs, plainly = TransformersOracle.logits, verify.verify(plain, path, depth="quick").metrics
    monkeypatch.setattr(TransformersOracle, "logits", lambda self, tokens: theirs(self, tokens) * 2)
    doubled = verify.verify(plain, path, depth="quick").metrics
    assert plainly is not None
    assert doubled is not None
    assert doubled.max_abs_logit_error == pytest.approx(2 * plainly.max_abs_logit_error, rel=1e-6)


@pytest.mark.parametrize("format_name", ["v1-fp32", "v2"])
def test_references_that_disagree_fail_the_execution(
    plain: Path, monkeypatch: pytest.MonkeyPatch, format_name: str
) -> None:
    path = exported(plain, format_name)
    theirs = TransformersOracle.logits

    def wrong(self: TransformersOracle, tokens: torch.Tensor) -> torch.Tensor:
        logits = theirs(self, tokens)
        logits[0, 5, 7] += 0.01
        return logits

    monkeypatch.setattr(TransformersOracle, "logits", wrong)
    report = verify.verify(plain, path, depth="quick")
    (execution,) = (check for check in report.checks if check.name == "execution")
    assert execution.status == "fail"
    assert "do not compute the same model from this source" in execution.detail
    assert (execution.where["position"], execution.where["index"]) == (5, 7)
    assert execution.where["found"] == pytest.approx(execution.where["expected"] + 0.01, abs=1e-4)


def test_logits_that_are_not_finite_are_a_finding_too(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = exported(plain, "v1-fp32")
    monkeypatch.setattr(
        TransformersOracle, "logits", lambda _self, tokens: torch.full((*tokens.shape, 29), torch.nan)
    )
    report = verify.verify(plain, path, depth="quick")
    failed = [check.name for check in report.checks if check.status == "fail"]
    assert failed == ["execution", "quantization"]
    json.loads(report.to_json())
