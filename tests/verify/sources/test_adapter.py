"""A base model with a LoRA adapter: what PEFT computes, or a refusal by name."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import huggingface
from safetensors.torch import load_file, save_file

from verify.errors import CannotJudgeError
from verify.oracle import llama
from verify.oracle.transformers import TransformersOracle
from verify.sources import open_source
from verify.sources.huggingface import HuggingFaceSource
from verify.system.optional_imports import quiet_transformers

TOKENS = torch.arange(40).view(2, 20) % 29
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
Q = "base_model.model.model.layers.1.self_attn.q_proj"
WQ = "layers.1.attention.wq.weight"


def adapted(
    directory: Path, architecture: str = "LlamaForCausalLM", model: dict[str, Any] | None = None, **lora: Any
) -> tuple[Path, Path, torch.Tensor]:
    """A base and an adapter on disk, as PEFT writes it, and PEFT's logits of the merged model."""
    with quiet_transformers(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from peft import LoraConfig, PeftModel, get_peft_model

        said = {"task_type": "CAUSAL_LM", "target_modules": ALL, "r": 4, "lora_alpha": 6, **lora}
        made = get_peft_model(huggingface.model(architecture, **(model or {})), LoraConfig(**said))
        generator = torch.Generator().manual_seed(1)
        for name, parameter in made.named_parameters():
            if ".lora_" in name:
                parameter.data = torch.randn(parameter.shape, generator=generator) / math.sqrt(parameter.shape[1]) / 2
        made.save_pretrained(directory / "adapter")
        base = huggingface.save(directory / "base", huggingface.model(architecture, **(model or {})))
        loaded = PeftModel.from_pretrained(huggingface.model(architecture, **(model or {})), directory / "adapter")
        return base, directory / "adapter", huggingface.logits(loaded.merge_and_unload().eval(), TOKENS)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, torch.Tensor]:
    return adapted(tmp_path_factory.mktemp("saved"))


@pytest.fixture
def adapter(saved: tuple[Path, Path, torch.Tensor], tmp_path: Path) -> Path:
    """One to damage."""
    import shutil

    return Path(shutil.copytree(saved[1], tmp_path / "adapter"))


def say(adapter: Path, **changes: Any) -> None:
    path = adapter / "adapter_config.json"
    said = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in said.items() if value is not ...}))


def change(adapter: Path, **tensors: torch.Tensor | None) -> None:
    """Tensors by what stands behind layer 1's q_proj; None takes one away."""
    path = adapter / "adapter_model.safetensors"
    state = {**load_file(path), **{name.replace("Q", Q): tensor for name, tensor in tensors.items()}}
    save_file({name: tensor for name, tensor in state.items() if tensor is not None}, path)


@pytest.mark.parametrize(
    ("architecture", "model", "lora"),
    [
        ("LlamaForCausalLM", {}, {}),
        ("LlamaForCausalLM", {"tie_word_embeddings": True}, {"use_rslora": True}),
        ("LlamaForCausalLM", {"attention_bias": True}, {"target_modules": ["q_proj"], "layers_to_transform": [1]}),
        ("LlamaForCausalLM", {}, {"target_modules": ["lm_head", "model.layers.0.mlp.up_proj"], "lora_alpha": 2.5}),
        ("MistralForCausalLM", {}, {"target_modules": "all-linear", "init_lora_weights": "gaussian"}),
        ("Qwen2ForCausalLM", {}, {"target_modules": r".*\.(q_proj|v_proj)"}),
        (
            "LlamaForCausalLM",
            {},
            {
                "rank_pattern": {
                    "q_proj": 2,
                    r"^model\.layers\.1\.mlp\.up_proj": 3,
                    "up_proj": 5,
                    r"layers\.\d+\.x": 9,
                },
                "alpha_pattern": {r"0.mlp.*": 12, "k_proj": 1, "self_attn.k_proj": 7, "proj": 100},
                "use_rslora": True,
            },
        ),
    ],
)
def test_the_merged_model_is_pefts(
    tmp_path: Path, architecture: str, model: dict[str, Any], lora: dict[str, Any]
) -> None:
    base, adapter, theirs = adapted(tmp_path, architecture, model, **lora)
    source = open_source(base, adapter=adapter)
    assert isinstance(source, HuggingFaceSource)
    plain = TransformersOracle(HuggingFaceSource(base)).logits(TOKENS)
    assert (plain - theirs).abs().max() > 0.01
    for logits in (
        TransformersOracle(source).logits(TOKENS),
        TransformersOracle(source, streamed=True).logits(TOKENS),
        llama.logits(source.hyperparameters, source.tensor, TOKENS).float(),
    ):
        torch.testing.assert_close(logits, theirs, rtol=0, atol=3e-5)


def test_sums_run_from_the_first_rank_to_the_last(saved: tuple[Path, Path, torch.Tensor]) -> None:
    base, adapter, _ = saved
    source, plain = open_source(base, adapter=adapter), open_source(base)
    state = load_file(adapter / "adapter_model.safetensors")
    name = "base_model.model.model.layers.1.mlp.down_proj"
    a, b = (state[f"{name}.lora_{which}.weight"].tolist() for which in "AB")
    before, after = (each.tensor("layers.1.feed_forward.w2.weight") for each in (plain, source))
    for row in range(0, 48, 7):
        for column in range(0, 40, 3):
            total = b[row][0] * a[0][column]
            for rank in range(1, 4):
                total += b[row][rank] * a[rank][column]
            whole = total * (6 / 4) + before[row, column].item()
            assert after[row, column].item() == torch.tensor(whole, dtype=torch.float64).float().item()


def test_what_a_merged_source_says_of_itself(saved: tuple[Path, Path, torch.Tensor]) -> None:
    base, adapter, _ = saved
    source = open_source(base, adapter=str(adapter))
    assert source.notes == ("a LoRA adapter was merged into 14 matrices",)
    assert list(source.files) == [
        *("adapter/adapter_config.json", "adapter/adapter_model.safetensors", "config.json", "model.safetensors")
    ]
    half = huggingface.save(base.parent / "half", huggingface.model().to(torch.bfloat16))
    merged = open_source(half, adapter=adapter)
    assert (merged.dtype(WQ), merged.dtype("tok_embeddings.weight")) == ("fp32", "bf16")


def test_a_pickled_adapter_and_one_beside_its_base(saved: tuple[Path, Path, torch.Tensor], adapter: Path) -> None:
    base = saved[0]
    expected = open_source(base, adapter=adapter).tensor(WQ)
    torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    assert torch.equal(open_source(base, adapter=adapter).tensor(WQ), expected)
    huggingface.save(adapter, huggingface.model())
    with pytest.raises(CannotJudgeError, match="expected a model or an adapter, found both"):
        open_source(adapter)
    source = open_source(adapter, adapter=adapter)
    assert isinstance(source, HuggingFaceSource)
    assert torch.equal(source.tensor(WQ), expected)
    torch.testing.assert_close(TransformersOracle(source).logits(TOKENS), saved[2], rtol=0, atol=3e-5)


def test_a_change_of_the_adapter_is_noticed(saved: tuple[Path, Path, torch.Tensor], adapter: Path) -> None:
    source = open_source(saved[0], adapter=adapter)
    (adapter / "adapter_model.safetensors").touch()
    with pytest.raises(CannotJudgeError, match=r"adapter_model\.safetensors: changed while it was being read"):
        source.tensor(WQ)


UNSUPPORTED = r"expected nothing \(this project does not support it\), found "


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type: expected LORA, found IA3"),
        ({"peft_type": ...}, "peft_type: expected LORA, found None"),
        ({"use_dora": True}, f"use_dora: {UNSUPPORTED}True"),
        ({"modules_to_save": ["lm_head"]}, f"modules_to_save: {UNSUPPORTED}"),
        ({"lora_bias": True}, f"lora_bias: {UNSUPPORTED}"),
        ({"fan_in_fan_out": True}, f"fan_in_fan_out: {UNSUPPORTED}"),
        ({"trainable_token_indices": [1]}, f"trainable_token_indices: {UNSUPPORTED}"),
        ({"target_parameters": ["a"]}, f"target_parameters: {UNSUPPORTED}"),
        ({"alora_invocation_tokens": [1]}, f"alora_invocation_tokens: {UNSUPPORTED}"),
        ({"exclude_modules": ["a"]}, f"exclude_modules: {UNSUPPORTED}"),
        ({"layer_replication": [[0, 1]]}, f"layer_replication: {UNSUPPORTED}"),
        ({"something_new": 1}, f"something_new: {UNSUPPORTED}1"),
        ({"bias": "all"}, "bias: expected none, found all"),
        (
            {"init_lora_weights": "pissa"},
            "init_lora_weights: expected one that leaves the base as it is, found p",
        ),
        ({"use_rslora": 1}, "use_rslora: expected true or false, found 1"),
        ({"r": 0}, "r: expected a positive integer below"),
        ({"r": ...}, "r: expected a positive integer below .* found None"),
        ({"lora_alpha": -1}, "lora_alpha: expected a positive finite number, found -1"),
        ({"rank_pattern": {"q_proj": "2"}}, "rank_pattern: expected a positive integer"),
        ({"rank_pattern": [1]}, "rank_pattern: expected an object, found list"),
        ({"rank_pattern": {"(a+)+": 1}}, "rank_pattern: expected patterns of at most 2 simple repeats"),
        ({"alpha_pattern": {".*.*.*": 1}}, "alpha_pattern: expected patterns of at most 2 simple repeats"),
        ({"alpha_pattern": {"(": 1}}, r"alpha_pattern: expected regular expressions, found \($"),
        ({"r": 5}, r"down_proj.lora_A.weight: expected \(5, 40\), found \(4, 40\)"),
        ({"target_modules": ["k_proj"]}, "lora_.*: expected a module that adapter_config.json selects, found"),
        ({"target_modules": 3}, "target_modules: expected names of modules, found 3"),
        ({"target_modules": [*ALL, "lm_head"]}, "lm_head.lora_A.weight: expected a matrix, found no such tensor"),
        ({"layers_to_transform": 0}, "layers.1.*: expected a module that adapter_config.json selects"),
        ({"layers_to_transform": "0"}, "layers_to_transform: expected numbers of layers, found 0"),
    ],
)
def test_every_other_kind_of_adapter_is_refused(
    saved: tuple[Path, Path, torch.Tensor], adapter: Path, said: dict[str, Any], message: str
) -> None:
    say(adapter, **said)
    with pytest.raises(CannotJudgeError, match=message) as caught:
        open_source(saved[0], adapter=adapter)
    assert str(adapter) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {"Q.lora_A.weight": None, "Q.lora_B.weight": None},
            "q_proj.lora_A.weight: expected a matrix, found no",
        ),
        ({"Q.lora_A.weight": None}, r"q_proj.lora_A.weight: expected \(4, 48\), found no such tensor"),
        ({"Q.lora_B.weight": None}, r"q_proj.lora_B.weight: expected \(60, 4\), found no such tensor"),
        ({"Q.lora_B.weight": torch.zeros(4, 60)}, r"q_proj.lora_B.weight: expected \(60, 4\), found \(4, 60\)"),
        ({"Q.lora_C.weight": torch.zeros(1)}, "q_proj.lora_C.weight: expected A or B of a projection or the"),
        ({"Q.base_layer.weight": torch.zeros(1)}, "expected A or B of a projection or the classifier, found another"),
        ({"base_model.model.model.embed_tokens.lora_embedding_A": torch.zeros(1)}, "lora_embedding_A: expected A or"),
        ({"base_model.model.model.norm.lora_A.weight": torch.zeros(1)}, "norm.lora_A.weight: expected A or B of a"),
        ({"base_model.model.model.layers.2.mlp.up_proj.lora_A.weight": torch.zeros(1)}, "expected A or B"),
        ({"base_model.model.lm_head.weight": torch.zeros(29, 48)}, "lm_head: expected the classifier of the base"),
    ],
)
def test_tensors_that_do_not_fit_the_base_are_refused(
    saved: tuple[Path, Path, torch.Tensor], adapter: Path, tensors: dict[str, torch.Tensor | None], message: str
) -> None:
    change(adapter, **tensors)
    with pytest.raises(CannotJudgeError, match=message):
        open_source(saved[0], adapter=adapter)


@pytest.mark.parametrize("which", ["lora_A", "lora_B"])
def test_a_nan_in_an_adapter_is_told(saved: tuple[Path, Path, torch.Tensor], adapter: Path, which: str) -> None:
    tensor = load_file(adapter / "adapter_model.safetensors")[f"{Q}.{which}.weight"]
    tensor[2, 3] = torch.nan
    change(adapter, **{f"Q.{which}.weight": tensor})
    source = open_source(saved[0], adapter=adapter)
    with pytest.raises(CannotJudgeError, match=rf"{which}.weight: expected finite numbers, found nan at row 2, col"):
        source.tensor(WQ)


def test_a_tied_classifier_takes_no_adapter(tmp_path: Path) -> None:
    base, adapter, _ = adapted(tmp_path, "LlamaForCausalLM", None, target_modules=["lm_head"])
    tied = huggingface.save(tmp_path / "tied", huggingface.model(tie_word_embeddings=True))
    with pytest.raises(CannotJudgeError, match=r"lm_head.*: expected no adapter of a classifier that is the"):
        open_source(tied, adapter=adapter)
    assert open_source(base, adapter=adapter).notes == ("a LoRA adapter was merged into 1 matrices",)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: (path / "adapter_config.json").unlink(), "adapter_config.json: no such file or directory"),
        (lambda path: (path / "adapter_model.safetensors").unlink(), "expected one of adapter_model.safetensors, "),
        (lambda path: (path / "adapter_config.json").write_text("[]"), "adapter_config.json: expected a JSON object"),
        (lambda path: (path / "adapter_model.safetensors").write_bytes(b""), "expected safetensors, found: "),
    ],
)
def test_half_an_adapter_is_none(
    saved: tuple[Path, Path, torch.Tensor], adapter: Path, prepare: Callable[[Path], object], message: str
) -> None:
    prepare(adapter)
    with pytest.raises(CannotJudgeError, match=message):
        open_source(saved[0], adapter=adapter)


def test_the_parts_of_a_merge_make_the_tensor(saved: tuple[Path, Path, torch.Tensor]) -> None:
    source = open_source(saved[0], adapter=saved[1])
    assert source.has_adapter
    assert not open_source(saved[0]).has_adapter
    merges = {name: merge for name in source.hyperparameters.shapes() if (merge := source.merge(name)) is not None}
    assert len(merges) == 14
    for name, merge in merges.items():
        made = merge.base.double() + merge.scale * (merge.b @ merge.a)
        assert torch.allclose(made.float(), source.tensor(name), rtol=1e-6, atol=1e-7)
        assert torch.equal(merge.b, merge.raw_b) == (name.split(".")[-2] not in ("wq", "wk"))
        assert (merge.alpha, merge.scale) == (6, 1.5)
