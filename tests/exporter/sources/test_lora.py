"""LoRA adapters: merged weights, judged by their formula and by PEFT, and everything else of PEFT refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import adapters, hf_directories
from helpers.models import same_bits

import exporter

TARGETS = ["q_proj", "v_proj"]


def merged(base: hf_directories.State, adapter: adapters.State, scales: dict[str, float]) -> hf_directories.State:
    """In float64, term by term in the order of ranks, rounded once."""
    made = dict(base)
    for module, scale in scales.items():
        a, b = (adapter[f"base_model.model.{module}.lora_{part}.weight"].double() for part in "AB")
        total = torch.zeros(len(b), a.shape[1], dtype=torch.float64)
        for rank in range(len(a)):
            total += b[:, rank, None] * a[rank]
        made[f"{module}.weight"] = (base[f"{module}.weight"].double() + scale * total).float()
    return made


def check(base: Path, adapter: Path, expected: hf_directories.State) -> exporter.Checkpoint:
    opened = exporter.open_checkpoint(base, adapter=adapter)
    for name, array in hf_directories.expected(expected, opened.config).items():
        assert same_bits(opened.load(name), array), name
    return opened


def modules(tensors: adapters.State) -> list[str]:
    return [name[17 : -len(".lora_A.weight")] for name in tensors if "lora_A" in name]


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rslora", [False, True])
def test_merged_weights_are_those_of_the_formula(
    tmp_path: Path, dtype: torch.dtype, *, pickled: bool, rslora: bool
) -> None:
    state = hf_directories.save(tmp_path / "base", dtype=dtype)
    targets = [name.split(".")[-1] for name in adapters.PROJECTIONS] + ["lm_head"]
    tensors = adapters.state(targets)
    made = adapters.save(tmp_path / "adapter", tensors, pickled=pickled, target_modules=targets, use_rslora=rslora)
    scale = 6 / math.sqrt(4) if rslora else 6 / 4
    opened = check(tmp_path / "base", made, merged(state, tensors, dict.fromkeys(modules(tensors), scale)))
    assert opened.notes == (f"{made}: a LoRA adapter of 15 matrices was merged",)
    assert opened.dtype("layers.0.attention.wq.weight") == "fp32"
    assert opened.dtype("norm.weight") == ("bf16" if dtype == torch.bfloat16 else "fp32")
    weights = made / ("adapter_model.bin" if pickled else "adapter_model.safetensors")
    assert {made / "adapter_config.json", weights} <= set(opened.files)


def test_ranks_and_alphas_of_modules_are_read(tmp_path: Path) -> None:
    state = hf_directories.save(tmp_path / "base")
    ranks = {"model.layers.1.self_attn.q_proj": 7, "model.layers.0.self_attn.v_proj": 2}
    tensors = adapters.state(TARGETS, ranks)
    made = adapters.save(
        tmp_path / "adapter",
        tensors,
        rank_pattern={"1.self_attn.q_proj": 7, r"^model\.layers\.0\.self_attn\.(v_proj|o_proj)": 2},
        alpha_pattern={"v_proj": 5.0, "layers.0.self_attn.v_proj": 99},
    )
    scales = {
        "model.layers.0.self_attn.q_proj": 6 / 4,
        "model.layers.1.self_attn.q_proj": 6 / 7,
        "model.layers.0.self_attn.v_proj": 5 / 2,
        "model.layers.1.self_attn.v_proj": 5 / 4,
    }
    check(tmp_path / "base", made, merged(state, tensors, scales))


def test_all_linear_is_every_projection(tmp_path: Path) -> None:
    hf_directories.save(tmp_path / "base")
    tensors = adapters.state([name.split(".")[-1] for name in adapters.PROJECTIONS])
    made = adapters.save(tmp_path / "adapter", tensors, target_modules="all-linear")
    assert "14 matrices" in exporter.open_checkpoint(tmp_path / "base", adapter=made).notes[0]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # PEFT's own
@pytest.mark.parametrize("rslora", [False, True])
def test_logits_are_those_that_peft_merges(tmp_path: Path, *, rslora: bool) -> None:
    peft = pytest.importorskip("peft")
    import transformers

    state = hf_directories.save(tmp_path / "base")
    targets = ["q_proj", "k_proj", "down_proj", "lm_head"]
    base = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "base")
    options = {"rank_pattern": {"layers.1.self_attn.q_proj": 5}, "alpha_pattern": {"down_proj": 11}}
    config = peft.LoraConfig(
        r=3, lora_alpha=7, target_modules=targets, use_rslora=rslora, task_type="CAUSAL_LM", **options
    )
    model = peft.get_peft_model(base, config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(tmp_path / "adapter")
    theirs = model.merge_and_unload().state_dict()
    opened = exporter.open_checkpoint(tmp_path / "base", adapter=tmp_path / "adapter")
    changed = 0
    for name, array in hf_directories.expected(theirs, opened.config).items():
        np.testing.assert_allclose(opened.load(name), array, rtol=2e-6, atol=2e-5)
    for name, array in hf_directories.expected(state, opened.config).items():
        changed += not same_bits(opened.load(name), array)
    assert changed == 7


def refused(base: Path, adapter: Path, message: str) -> None:
    with pytest.raises(exporter.CheckpointError, match=message) as caught:
        exporter.open_checkpoint(base, adapter=adapter)
    assert "\n" not in str(caught.value)
    assert str(adapter) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type: expected LORA, found 'IA3'"),
        ({"bias": "all"}, "bias: expected none, found 'all'"),
        ({"use_dora": True}, "use_dora: expected null or false in a plain LoRA, found True"),
        (
            {"modules_to_save": ["lm_head"]},
            "modules_to_save: expected null or false in a plain LoRA, found",
        ),
        ({"lora_bias": True}, "lora_bias: expected null or false"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out: expected null or false"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices: expected null or false"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens: expected null or false"),
        ({"target_parameters": ["x"]}, "target_parameters: expected null or false"),
        ({"layers_to_transform": [0]}, "layers_to_transform: expected null or false"),
        ({"layer_replication": [[0, 1]]}, "layer_replication: expected null or false"),
        ({"something new": 1}, "'something new': expected null or false in a plain LoRA, found 1"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights: expected one that leaves the base .*, found 'pissa'"),
        ({"init_lora_weights": []}, r"init_lora_weights: expected one that leaves the base .*, found \[\]"),
        ({"r": 0}, "r: expected a positive integer, found 0"),
        ({"r": ...}, "r: expected a positive integer, found None"),
        ({"lora_alpha": "8"}, "lora_alpha: expected a number, found '8'"),
        ({"use_rslora": "yes"}, "use_rslora: expected true or false, found 'yes'"),
        (
            {"rank_pattern": {"(a+)+": 3}},
            r"rank_pattern: expected names of modules or .*, found '\(a\+\)\+'",
        ),
        ({"rank_pattern": {"(": 3}}, r"rank_pattern: expected a regular expression, found '\('"),
        ({"rank_pattern": {"q_proj": 3.5}}, "rank_pattern: q_proj: expected a positive integer, found 3.5"),
        ({"alpha_pattern": ["x"]}, r"alpha_pattern: expected an object or null, found \['x'\]"),
        (
            {"target_modules": ".*q_proj"},
            "target_modules: expected a list of names .*, found '.*q_proj'",
        ),
        ({"target_modules": None}, "target_modules: expected a list of names of modules, or all-linear, found None"),
        ({"target_modules": [*TARGETS, "k_proj"]}, "k_proj: expected an adapter, as target_modules says, found none"),
        ({"target_modules": ["q_proj"]}, "v_proj: expected none, as target_modules says, found an adapter"),
        (
            {"target_modules": [*TARGETS, "embed_tokens"]},
            "target_modules: expected projections, .*found model.embed",
        ),
        ({"r": 5}, r"q_proj.lora_A.weight: expected shape \(5, 48\), found \(4, 48\)"),
    ],
)
def test_what_is_not_plain_lora_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    hf_directories.save(tmp_path / "base")
    made = adapters.save(tmp_path / "adapter", adapters.state(TARGETS), **changes)
    refused(tmp_path / "base", made, message)


Q = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"{Q}.lora_A.weight": None}, "layers.0.self_attn.q_proj: missing lora_A, which its other half needs"),
        ({f"{Q}.lora_B.weight": None}, "layers.0.self_attn.q_proj: missing lora_B, which its other half needs"),
        (
            {f"{Q}.lora_B.weight": torch.zeros(47, 4)},
            r"q_proj.lora_B.weight: expected shape \(48, 4\), found \(47",
        ),
        (
            {f"{Q}.lora_magnitude_vector": torch.zeros(48)},
            "expected lora_A and lora_B of projections alone, found another",
        ),
        ({f"{Q}.bias": torch.zeros(48)}, "expected lora_A and lora_B of projections alone, found another"),
        ({"odd": torch.zeros(1)}, "odd: expected a name that begins with base_model.model., found another"),
        (
            {
                "base_model.model.model.embed_tokens.lora_A.weight": torch.zeros(4, 48),
                "base_model.model.model.embed_tokens.lora_B.weight": torch.zeros(29, 4),
            },
            "model.embed_tokens: expected an adapter of the base model's projections or of its own lm_head",
        ),
        ({"base_model.model.lm_head.weight": torch.zeros(29, 48)}, "expected the base model's lm_head.weight again"),
    ],
)
def test_the_adapters_tensors_are_exactly_those_it_needs(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    hf_directories.save(tmp_path / "base")
    tensors = {**adapters.state(TARGETS), **changes}
    made = adapters.save(tmp_path / "adapter", {name: value for name, value in tensors.items() if value is not None})
    refused(tmp_path / "base", made, message)


def test_a_tied_classifier_has_no_adapter(tmp_path: Path) -> None:
    hf_directories.save(tmp_path / "base", tie_word_embeddings=True)
    targets = [*TARGETS, "lm_head"]
    made = adapters.save(tmp_path / "adapter", adapters.state(targets), target_modules=targets)
    refused(tmp_path / "base", made, "lm_head: expected an adapter of the base model's projections or of its own lm_")


def test_copies_of_the_base_models_tensors_are_passed_over(tmp_path: Path) -> None:
    state = hf_directories.save(tmp_path / "base")
    tensors = adapters.state([*TARGETS, "lm_head"])
    tensors["base_model.model.lm_head.base_layer.weight"] = state["lm_head.weight"]
    made = adapters.save(tmp_path / "adapter", tensors, target_modules=[*TARGETS, "lm_head"])
    assert "5 matrices" in exporter.open_checkpoint(tmp_path / "base", adapter=made).notes[0]


def test_an_adapters_files_are_held_to_the_same_rules(tmp_path: Path) -> None:
    hf_directories.save(tmp_path / "base")
    made = adapters.save(tmp_path / "adapter", adapters.state(TARGETS))
    opened = exporter.open_checkpoint(tmp_path / "base", adapter=made)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (made / name).rename(tmp_path / "elsewhere")
        (made / name).symlink_to("../elsewhere")
        refused(tmp_path / "base", made, f"{name}: expected a file in this directory, found a link out of it")
        exporter.open_checkpoint(tmp_path / "base", adapter=made, follow_links=True)
        (made / name).unlink()
        (tmp_path / "elsewhere").rename(made / name)
    with pytest.raises(
        exporter.CheckpointError, match=r"adapter_model\.safetensors: changed while it was being read"
    ):
        (made / "adapter_model.safetensors").touch()
        opened.load("layers.0.attention.wq.weight")
    (made / "adapter_model.safetensors").unlink()
    refused(tmp_path / "base", made, "expected one of adapter_model.safetensors, adapter_model.bin in it, found none")
    (made / "adapter_config.json").write_text(json.dumps([1]))
    refused(tmp_path / "base", made, "adapter_config.json: expected a JSON object, found list")
    (made / "adapter_config.json").unlink()
    refused(tmp_path / "base", made, "adapter_config.json: no such file or directory")
