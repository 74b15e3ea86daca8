"""The text part of a multimodal directory is the model by which transformers computes a text without images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.huggingface import logits, rewrite
from helpers.models import same_bits
from helpers.multimodal import CASES, TOKENS, language_model, multimodal, save, text_names
from safetensors.torch import load_file, save_file

import exporter
import reader_c
import verify
from exporter.sources.huggingface_text_part import WRAPPERS
from verify.errors import CannotJudgeError
from verify.oracle.transformers import TransformersOracle
from verify.sources.huggingface import HuggingFaceSource
from verify.sources.huggingface_text_part import LAYOUTS
from verify.system.optional_imports import quiet_transformers


def as_text(directory: Path) -> Any:
    """The model of text alone that transformers loads, and that misses nothing."""
    with quiet_transformers() as transformers:
        made, info = transformers.AutoModelForCausalLM.from_pretrained(
            directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
    assert not any(info.values()), info
    return made.eval()


@pytest.mark.parametrize("kind", CASES)
def test_both_roads_take_the_model_that_transformers_runs(tmp_path: Path, kind: str) -> None:
    made = multimodal(kind)
    expected = logits(made, TOKENS)
    for old_names in (True, False):
        directory = save(tmp_path / f"source{old_names}", made, old_names=old_names)
        opened, source = exporter.open_checkpoint(directory), HuggingFaceSource(directory)
        assert opened.family == CASES[kind][0]
        vision = len(load_file(directory / "model.safetensors")) - len(opened.names)
        assert vision > 0
        note = f"text part of {kind} ({opened.family}); {vision} vision tensors left out"
        assert list(opened.notes) == list(source.notes) == [note]
        assert torch.equal(TransformersOracle(source).logits(TOKENS), expected)
        assert all(same_bits(np.asarray(opened.load(name)), source.tensor(name).numpy()) for name in opened.names)
    exporter.export(opened, tmp_path / "text", format="hf")
    back = as_text(tmp_path / "text")
    assert back.config.model_type == opened.family
    assert type(back).__name__ == source.architecture
    state = text_names(made)
    assert back.state_dict().keys() == state.keys()
    assert all(same_bits(back.state_dict()[name].numpy(), tensor.numpy()) for name, tensor in state.items())
    exporter.export(opened, tmp_path / "model.bin", format="v3")
    found = reader_c.Model(tmp_path / "model.bin").forward(TOKENS[0].numpy())
    assert np.abs(found - expected[0].numpy()).max() <= 1e-4 * float(expected.abs().max())


def test_both_roads_know_the_same_wrappers() -> None:
    assert WRAPPERS.keys() == LAYOUTS.keys() == CASES.keys()


@pytest.mark.parametrize("format_name", ["v3", "hf"])
def test_a_release_of_a_text_part_passes_and_says_so(tmp_path: Path, format_name: str) -> None:
    text = {"eos_token_id": 5, "bos_token_id": 2}
    source = save(tmp_path / "source", multimodal("gemma3", text, eos_token_id=[1, 6]))
    report = verify.release(source, tmp_path / "out", format=format_name, depth="quick").report
    assert report.verdict == "pass"
    assert report.source["notes"] == ["text part of gemma3 (gemma3_text); 34 vision tensors left out"]
    if format_name == "hf":
        said = json.loads((tmp_path / "out" / "config.json").read_text())
        assert (said["architectures"], said["eos_token_id"], said["bos_token_id"]) == (
            ["Gemma3ForCausalLM"],
            [1, 6],
            2,
        )


def test_image_tokens_and_token_types_of_a_text_change_nothing() -> None:
    """Gemma 3 attends in both directions between positions of an image alone."""
    made = multimodal("gemma3", image_token_index=5)
    with torch.no_grad():
        plain = made(input_ids=TOKENS).logits
        assert torch.equal(made(input_ids=TOKENS, token_type_ids=torch.zeros_like(TOKENS)).logits, plain)
        image = torch.zeros_like(TOKENS)
        image[0, 3:6] = 1
        assert not torch.equal(made(input_ids=TOKENS, token_type_ids=image).logits, plain)


@pytest.mark.parametrize(
    ("kind", "said", "of_text", "stored", "tied", "noted"),
    [
        ("mistral3", None, False, "another", False, True),  # what transformers 4 wrote of an untied model
        ("mistral3", True, False, "another", False, True),  # and what version 5 makes of it
        ("mistral3", None, False, "none", True, False),
        ("mistral3", True, False, "same", True, False),
        ("mistral3", False, True, "same", False, False),
        ("llava", None, True, "none", True, False),
        ("llava_next", None, True, "another", False, False),
    ],
)
def test_a_classifier_is_tied_where_transformers_ties_it(
    tmp_path: Path, kind: str, said: bool | None, of_text: bool, stored: str, tied: bool, noted: bool
) -> None:
    made = multimodal(kind, {"tie_word_embeddings": False}, tie_word_embeddings=False)
    directory = rewrite(save(tmp_path / "source", made, old_names=False), tie_word_embeddings=said)
    content = json.loads((directory / "config.json").read_text())
    content["text_config"]["tie_word_embeddings"] = of_text
    (directory / "config.json").write_text(json.dumps(content))
    tensors = load_file(directory / "model.safetensors")
    if stored != "another":
        del tensors["lm_head.weight"]
    if stored == "same":
        tensors["lm_head.weight"] = tensors["model.language_model.embed_tokens.weight"].clone()
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    with quiet_transformers() as transformers:
        theirs = transformers.AutoModelForMultimodalLM.from_pretrained(directory, attn_implementation="eager").eval()
    opened, source = exporter.open_checkpoint(directory), HuggingFaceSource(directory)
    assert opened.config.tied == source.hyperparameters.tied == tied
    assert any("not tied" in note for note in opened.notes) == noted
    assert any("not tied" in note for note in source.notes) == noted
    assert torch.equal(TransformersOracle(source).logits(TOKENS), logits(theirs, TOKENS))
    own = theirs.lm_head.weight is language_model(theirs).embed_tokens.weight
    assert own or not tied


def test_tensors_for_images_may_have_any_type(tmp_path: Path) -> None:
    """Old files hold the numbers of positions, as int64."""
    directory = save(tmp_path / "source", multimodal("llava_next"))
    tensors = load_file(directory / "model.safetensors")
    tensors["vision_tower.vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    opened, source = exporter.open_checkpoint(directory), HuggingFaceSource(directory)
    (directory / "model.safetensors").unlink()
    torch.save(tensors, directory / "pytorch_model.bin")
    for again in (exporter.open_checkpoint(directory), HuggingFaceSource(directory)):
        assert again.notes == opened.notes == source.notes


def both(directory: Path) -> tuple[str, str]:
    """What each road says against a directory."""
    with pytest.raises(exporter.CheckpointError) as of_exporter:
        exporter.open_checkpoint(directory)
    with pytest.raises(CannotJudgeError) as of_verifier:
        HuggingFaceSource(directory)
    return str(of_exporter.value), str(of_verifier.value)


@pytest.mark.parametrize(
    ("added", "of_exporter", "of_verifier"),
    [
        (
            "audio_tower.conv.weight",
            "tensors: expected those of the text part (language_model.model., language_model.lm_head., "
            "model.language_model., lm_head.) and of the vision part (vision_tower, multi_modal_projector), found "
            "'audio_tower.conv.weight'",
            "tensors: expected those of the language model and of the vision part of llava, found "
            "audio_tower.conv.weight",
        ),
        (
            "model.language_model.norm.weight",
            "model.norm.weight: expected once, found 'language_model.model.norm.weight' and "
            "'model.language_model.norm.weight'",
            "model.norm.weight: expected one such tensor, found language_model.model.norm.weight and "
            "model.language_model.norm.weight",
        ),
        (
            "language_model.model.layers.0.extra.weight",
            "no such tensor in this model: model.layers.0.extra.weight",
            "tensors: expected those of a Llama alone, found model.layers.0.extra.weight",
        ),
    ],
)
def test_a_tensor_of_neither_part_is_refused(tmp_path: Path, added: str, of_exporter: str, of_verifier: str) -> None:
    directory = save(tmp_path, multimodal("llava"))
    tensors = load_file(directory / "model.safetensors")
    save_file({**tensors, added: torch.ones(3)}, directory / "model.safetensors", {"format": "pt"})
    exporters, verifiers = both(directory)
    assert exporters == f"{directory}: {of_exporter}"
    assert verifiers == f"{directory}: {of_verifier}"


@pytest.mark.parametrize(
    ("changes", "of_exporter", "of_verifier"),
    [
        (
            {"text_config": None},
            "text_config: expected an object, found None",
            "text_config: expected an object, found None",
        ),
        (
            {"tie_word_embeddings": "yes"},
            "tie_word_embeddings: expected true or false, found 'yes'",
            "tie_word_embeddings: expected true or false, found yes",
        ),
        (
            {"quantization_config": {"quant_method": "fp8"}},
            "quantization_config: expected unquantized weights, found fp8: give the unquantized model",
            "quantization_config: expected unquantized weights, found fp8: give the unquantized model",
        ),
    ],
)
def test_what_the_whole_says_is_judged(
    tmp_path: Path, changes: dict[str, Any], of_exporter: str, of_verifier: str
) -> None:
    directory = rewrite(save(tmp_path, multimodal("llava")), **changes)
    exporters, verifiers = both(directory)
    assert exporters == f"{directory / 'config.json'}: {of_exporter}"
    assert verifiers == f"{directory / 'config.json'}: {of_verifier}"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"model_type": "cohere2"}, "text_config: model_type: expected one of "),
        ({"hidden_act": "relu"}, "text_config: hidden_act: expected one of "),
    ],
)
def test_what_the_text_says_is_judged_under_its_name(tmp_path: Path, said: dict[str, Any], message: str) -> None:
    directory = save(tmp_path, multimodal("llava"))
    content = json.loads((directory / "config.json").read_text())
    rewrite(directory, text_config={**content["text_config"], **said})
    for found in both(directory):
        assert found.startswith(f"{directory / 'config.json'}: {message}")


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl"])
def test_a_flat_config_of_the_hub_is_that_of_its_language_model(tmp_path: Path, kind: str) -> None:
    """As version 4 of transformers wrote it: no text_config, and a RoPE whose type is mrope."""
    made = multimodal(kind)
    directory = save(tmp_path / "source", made)
    nested = [exporter.open_checkpoint(directory).config, HuggingFaceSource(directory).hyperparameters]
    content = json.loads((directory / "config.json").read_text())
    text = content.pop("text_config")
    rope = {"type": "mrope", "mrope_section": [1, 1, 0]}
    flat = {key: value for key, value in text.items() if key not in ("model_type", "rope_parameters", "layer_types")}
    content |= {**flat, "rope_theta": 50.0, "rope_scaling": rope, "sliding_window": 32768, "vision_token_id": 7}
    (directory / "config.json").write_text(json.dumps(content))
    opened, source = exporter.open_checkpoint(directory), HuggingFaceSource(directory)
    assert [opened.config, source.hyperparameters] == nested
    assert opened.notes == source.notes
    with quiet_transformers() as transformers:
        theirs = transformers.AutoModelForMultimodalLM.from_pretrained(directory, attn_implementation="eager").eval()
    assert torch.equal(TransformersOracle(source).logits(TOKENS), logits(theirs, TOKENS))


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen3_vl", "gemma3"])
def test_what_text_config_omits_is_what_transformers_class_has(tmp_path: Path, kind: str) -> None:
    made = multimodal(kind, {"vocab_size": 11})
    directory = save(tmp_path / "source", made)
    content = json.loads((directory / "config.json").read_text())
    silent = ("rms_norm_eps", "rope_parameters", "max_position_embeddings", "max_window_layers", "model_type")
    content["text_config"] = {key: value for key, value in content["text_config"].items() if key not in silent}
    (directory / "config.json").write_text(json.dumps(content))
    opened, source = exporter.open_checkpoint(directory), HuggingFaceSource(directory)
    with quiet_transformers() as transformers:
        theirs = transformers.AutoConfig.from_pretrained(directory).text_config
    rope = theirs.rope_parameters.get("full_attention", theirs.rope_parameters)
    expected = (theirs.rms_norm_eps, rope["rope_theta"], theirs.max_position_embeddings)
    for found in (opened.config, source.hyperparameters):
        assert (found.norm_eps, found.rope_theta, found.max_seq_len) == expected


@pytest.mark.parametrize(
    ("section", "of_exporter", "of_verifier"),
    [
        ([1, 1], "expected three integers, found [1, 1]", "expected three counts, found [1, 1]"),
        (
            [1, 1, 1],
            "expected a sum of 2, a half of a head, found [1, 1, 1]",
            "expected a sum of 2, half a head, found [1, 1, 1]",
        ),
    ],
)
def test_sections_that_make_up_no_head_are_refused(
    tmp_path: Path, section: list[int], of_exporter: str, of_verifier: str
) -> None:
    directory = save(tmp_path, multimodal("qwen2_5_vl"))
    content = json.loads((directory / "config.json").read_text())
    content["text_config"]["rope_parameters"]["mrope_section"] = section
    (directory / "config.json").write_text(json.dumps(content))
    exporters, verifiers = both(directory)
    assert exporters.endswith(f"rope_parameters: mrope_section: {of_exporter}")
    assert verifiers.endswith(f"rope_parameters: mrope_section: {of_verifier}")
