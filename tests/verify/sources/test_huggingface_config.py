"""What a config.json means to the verifier: what transformers reads of it, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import huggingface

from verify.errors import CannotJudgeError
from verify.oracle import llama
from verify.oracle.transformers import TransformersOracle
from verify.sources import LayerKind, RopeScaling
from verify.sources.huggingface import HuggingFaceSource
from verify.sources.options import SourceOptions
from verify.system.optional_imports import quiet_transformers

TOKENS = torch.arange(40).view(2, 20) % 29


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return huggingface.save(tmp_path_factory.mktemp("model"), huggingface.model())


@pytest.fixture
def directory(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def say(directory: Path, **changes: Any) -> Path:
    """config.json with these changes; ... takes a key away, None is null."""
    path = directory / "config.json"
    said = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in said.items() if value is not ...}))
    return directory


def refused(directory: Path, message: str, **options: Any) -> str:
    with pytest.raises(CannotJudgeError, match=message) as caught:
        HuggingFaceSource(directory, SourceOptions(**options))
    assert str(directory) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def by_transformers(directory: Path) -> torch.Tensor:
    """Logits of the directory as transformers alone understands it."""
    with quiet_transformers() as transformers:
        made = transformers.AutoModelForCausalLM.from_pretrained(
            directory, dtype=torch.float32, attn_implementation="eager", trust_remote_code=False
        )
    # a tuple is more than transformers' own forward pass can do with
    made.config.return_dict = True
    return huggingface.logits(made, TOKENS)


def taken(directory: Path, **options: Any) -> HuggingFaceSource:
    """The source, once both references compute from it what transformers computes from the directory."""
    source = HuggingFaceSource(directory, SourceOptions(**options))
    theirs = by_transformers(directory)
    for logits in (
        TransformersOracle(source).logits(TOKENS),
        TransformersOracle(source, streamed=True).logits(TOKENS),
        llama.logits(source.hyperparameters, source.tensor, TOKENS).float(),
    ):
        torch.testing.assert_close(logits, theirs, rtol=0, atol=2e-5)
    return source


ROPES: list[tuple[dict[str, Any], RopeScaling]] = [
    ({"rope_theta": 5e5}, RopeScaling()),
    ({"rope_theta": 5e5, "rope_scaling": None}, RopeScaling()),
    ({"rope_theta": 5e5, "rope_scaling": {}}, RopeScaling()),
    ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "rope_theta": 1e4}, RopeScaling()),
    ({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 4}}, RopeScaling("linear", 4.0)),
    ({"rope_theta": 5e5, "rope_parameters": {"type": "linear", "factor": 4.0}}, RopeScaling("linear", 4.0)),
    (
        {"rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "type": "yarn", "factor": 4.0}},
        RopeScaling("linear", 4.0),
    ),
    (
        {
            "rope_theta": 5e5,
            "rope_scaling": {"rope_type": "linear", "factor": 4.0},
            "rope_parameters": {"rope_type": "default", "rope_theta": 7.0},
        },
        RopeScaling("linear", 4.0),
    ),
    ({"rope_theta": 5e5, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, RopeScaling("dynamic", 2.0, 33)),
    (
        {
            "rope_theta": 5e5,
            "rope_scaling": {"type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 16},
        },
        RopeScaling("dynamic", 2.0, 33),
    ),
    (
        {
            "rope_theta": 5e5,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 16,
            },
        },
        RopeScaling("llama3", 8.0, 16, 1.0, 4.0),
    ),
    (
        {
            "rope_theta": 5e5,
            "original_max_position_embeddings": 8,
            "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        },
        RopeScaling("llama3", 8.0, 8, 1.0, 4.0),
    ),
    (
        {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 5e5}},
        RopeScaling("yarn", 4.0, 33, 0.0, 0.0, 32.0, 1.0, 0.1 * 1.3862943611198906 + 1, True),
    ),
    (
        {
            "rope_theta": 5e5,
            "rope_scaling": {
                "type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 8,
                "attention_factor": 1.5,
                "beta_fast": 20,
                "beta_slow": 2,
                "truncate": False,
                "finetuned": True,
            },
        },
        RopeScaling("yarn", 4.0, 8, 0.0, 0.0, 20.0, 2.0, 1.5, False),
    ),
    (
        {
            "rope_theta": 5e5,
            "rope_scaling": {
                "type": "yarn",
                "factor": None,
                "original_max_position_embeddings": 11,
                "attention_factor": None,
                "beta_fast": 0,
                "truncate": None,
            },
        },
        RopeScaling("yarn", 3.0, 11, 0.0, 0.0, 32.0, 1.0, 0.1 * 1.0986122886681098 + 1, False),
    ),
]


@pytest.mark.parametrize(("rope", "expected"), ROPES)
def test_rope_in_the_old_spelling_and_the_new(directory: Path, rope: dict[str, Any], expected: RopeScaling) -> None:
    hyper = taken(say(directory, **{"rope_parameters": ..., **rope})).hyperparameters
    assert hyper.rope_theta == 5e5
    assert hyper.rope_scaling == expected


@pytest.mark.parametrize(
    ("said", "note"),
    [
        ({"rope_theta": 5e5}, "config.json: the rope_theta among RoPE's parameters decides, as in transformers"),
        (
            {"rope_scaling": {"type": "linear", "factor": 1.5, "finetuned": True, "\n": None}},
            "config.json: of RoPE's parameters, ignored, as transformers ignores it: finetuned",
        ),
        (
            {"rope_scaling": {"type": "linear", "factor": 1.5}},
            "config.json: rope_scaling decides over rope_parameters, as in transformers",
        ),
        (
            {"rope_parameters": {"type": "yarn", "rope_type": "default"}},
            "config.json: rope_type default decides over type, as in transformers",
        ),
        (
            {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 16}},
            "config.json: of RoPE's parameters, ignored, as transformers ignores it: original_max_position_embed"
            "dings",
        ),
        (
            {"partial_rotary_factor": 0.5},
            "config.json: of RoPE's parameters, ignored, as transformers ignores it: partial_rotary_factor",
        ),
        (
            {"auto_map": {"AutoModelForCausalLM": "evil.Model"}},
            "config.json: auto_map names remote code, which is not used",
        ),
        (
            {"rope_interleaved": True, "max_sequence_length": 9, "alpha": 1, "beta": None, "gamma": False},
            "config.json: ignored, as transformers ignores it: alpha, max_sequence_length, rope_interleaved",
        ),
        ({"pruned_heads": {"0": [1]}}, "config.json: ignored, as transformers ignores it: pruned_heads"),
        ({"pretraining_tp": 2}, "config.json: ignored, as transformers ignores it: pretraining_tp"),
        (
            {"architectures": ["LLaMAForCausalLM"]},
            "config.json: architectures says LLaMAForCausalLM; model_type llama decides, as in transformers",
        ),
        (
            {"architectures": None},
            "config.json: architectures says none; model_type llama decides, as in transformers",
        ),
        (
            {"architectures": ["LlamaForCausalLM", "LlamaModel"]},
            "config.json: architectures says LlamaForCausalLM, LlamaModel; model_type llama decides, as in "
            "transformers",
        ),
    ],
)
def test_what_transformers_passes_over_is_noted(directory: Path, said: dict[str, Any], note: str) -> None:
    assert note in taken(say(directory, **said)).notes


INERT = {
    **{"use_bfloat16": False, "tf_legacy_loss": False, "pruned_heads": {}, "tie_encoder_decoder": False},
    **{"cross_attention_hidden_size": None, "unk_token_id": 0, "_model_name_or_path": "a/b"},
    **{"gradient_checkpointing": True, "keys_to_ignore_at_inference": ["a"], "internal_version": "2"},
    **{"torch_dtype": "bfloat16", "rope_interleaved": False, "temperature": 0.6, "use_mrope": False},
    **{"return_dict": True, "output_attentions": True, "output_hidden_states": True, "attention_dropout": 0.5},
    **{"is_decoder": False, "pretraining_tp": 1, "pad_token_id": -1, "anything": None, "layer_types": None},
    **{"id2label": {"0": "a"}, "num_labels": 1, "is_encoder_decoder": None, "per_layer_config": None},
    **{"use_cache": False, "quantization_config": None},
}


def test_keys_without_effect_are_not_worth_a_note(directory: Path) -> None:
    assert taken(say(directory, **INERT)).notes == ()


def test_defaults_are_the_classs_own(directory: Path) -> None:
    say(directory, rope_parameters=..., rms_norm_eps=..., hidden_act=..., num_key_value_heads=...)
    refused(directory, "num_key_value_heads: expected 3, as the tensors say, found 6")
    hyper = taken(say(directory, num_key_value_heads=3)).hyperparameters
    assert (hyper.norm_eps, hyper.rope_theta, hyper.activation) == (1e-6, 10000.0, "silu")


def test_without_a_model_type_one_known_architecture_decides(directory: Path) -> None:
    source = HuggingFaceSource(say(directory, model_type=..., architectures=["LLaMAForCausalLM"]))
    assert source.notes == ("config.json: no model_type; it was taken from the architecture LLaMAForCausalLM",)
    logits = llama.logits(source.hyperparameters, source.tensor, TOKENS).float()
    torch.testing.assert_close(TransformersOracle(source).logits(TOKENS), logits, rtol=0, atol=2e-5)


FAMILIES = (
    "model_type: expected one of llama, mistral, qwen2, qwen3, smollm3, gemma2, gemma3_text, gemma, granite, "
    "olmo2, olmo3, phi3, exaone4, seed_oss, ministral, ministral3, mixtral, qwen3_moe, olmoe, "
    "flex_olmo, cwm, helium, ernie4_5, found "
)
UNSUPPORTED = r"\(transformers reads it for llama, and this project does not support other values\)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "cohere", "architectures": ["Cohere"]}, rf"{FAMILIES}cohere \(Cohere\)$"),
        ({"model_type": ["llama"]}, rf"{FAMILIES}\['llama'\]"),
        ({"model_type": None, "architectures": None}, f"{FAMILIES}no model_type and the architectures none$"),
        ({"model_type": None, "architectures": [["LlamaForCausalLM"]]}, f"{FAMILIES}no model_type and"),
        ({"layer_types": [["full_attention"]]}, "expected a config that transformers accepts, found: "),
        ({"layer_types": ["full_attention"]}, "config that transformers accepts, found: .*num_hidden_layers"),
        ({"layer_types": ["sliding_attention"] * 2}, "sliding_window: expected a positive integer.*found None"),
        ({"layer_types": ["chunked_attention"] * 2}, "layer_types: expected full_attention or sliding_attention"),
        ({"rope_parameters": {"rope_type": ["yarn"], "factor": 2.0}}, "found"),
        ({"rope_parameters": [1]}, "config that transformers accepts, found: .*rope_parameters"),
        ({"rope_parameters": {"full_attention": {"factor": 2.0}}}, "rope_parameters: expected one set of parameters"),
        ({"num_key_value_heads": True}, "found"),
        ({"head_dim": 10.0}, "found"),
        ({"is_causal": False}, f"config.json: is_causal: expected True {UNSUPPORTED}, found False$"),
        ({"is_causal": None}, f"is_causal: expected True {UNSUPPORTED}, found None$"),
        ({"is_encoder_decoder": True}, f"is_encoder_decoder: expected False {UNSUPPORTED}, found True$"),
        ({"per_layer_config": {"0": {}}}, f"per_layer_config: expected none {UNSUPPORTED}, found"),
        ({"attribute_map": {"a": "b"}}, "attribute_map: expected none "),
        ({"attention_chunk_size": 8}, f"attention_chunk_size: expected none {UNSUPPORTED}, found 8$"),
        ({"transformers_weights": "x.safetensors"}, "transformers_weights: expected none "),
        ({"configuration_files": ["config.4.json"]}, "configuration_files: expected none "),
        (
            {"quantization_config": {"quant_method": "fp8"}},
            "quantization_config: expected unquantized weights, found fp8: give the unquantized model$",
        ),
        ({"quantization_config": {"bits": 4, "quant_method": "gptq"}}, "weights, found gptq of 4 bits: give"),
        ({"quantization_config": {"load_in_8bit": True}}, "weights, found bitsandbytes of 8 bits: give"),
        ({"quantization_config": {}}, "weights, found an unnamed method: give"),
        ({"hidden_size": 54}, "hidden_size: expected 48, as the tensors say, found 54"),
        ({"num_hidden_layers": 3}, "num_hidden_layers: expected 2, as the tensors say, found 3"),
        ({"num_hidden_layers": 10_000_000}, "num_hidden_layers: expected at most 21, .*, found 10000000"),
        ({"vocab_size": 30}, "vocab_size: expected 29, the rows of the embedding, found 30$"),
        ({"pad_token_id": 29}, "pad_token_id: expected none, or -29 to 28, found 29"),
        ({"intermediate_size": 41}, "intermediate_size: expected 40"),
        ({"head_dim": 8}, "head_dim: expected 10"),
        ({"num_attention_heads": 4}, "wq.weight: expected rows of 4 heads of even size, found 60"),
        ({"num_attention_heads": 0}, "found"),
        ({"num_attention_heads": "six"}, "expected a config that transformers accepts"),
        ({"initializer_range": 5}, "expected a config that transformers accepts, found: .*initializer_range"),
        ({"hidden_act": "relu"}, "hidden_act: expected one of silu.* found relu"),
        (
            {"dtype": ..., "torch_dtype": "torch.float16"},
            "config that transformers accepts, found: .*torch.float16",
        ),
        ({"dtype": 5}, "dtype: expected the name of a PyTorch dtype, found 5"),
        ({"rms_norm_eps": 0.0}, "rms_norm_eps: expected a positive finite number, found 0.0"),
        ({"rms_norm_eps": 1}, "expected a config that transformers accepts, found: .*rms_norm_eps"),
        ({"rms_norm_eps": float("nan")}, "expected a JSON object, found: NaN, which is not a JSON number"),
        ({"attention_bias": True}, r"layers.0.attention.wk.bias: expected \(30,\), found no such tensor"),
        ({"rope_parameters": {"rope_type": "longrope", "factor": 2.0}}, "found"),
        ({"rope_parameters": {"rope_type": "mrope", "factor": 2.0}}, "rope_type: expected one of default"),
        ({"rope_parameters": {"rope_type": None}}, "rope_type: expected one of default.* found None"),
        ({"rope_parameters": {"rope_type": "linear", "factor": -2.0}}, "factor: expected a positive"),
        ({"rope_parameters": {"rope_type": "linear"}}, "config that transformers accepts, found: .*factor"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 0.0}}, "rope_theta: expected a positive"),
        ({"rope_parameters": ..., "rope_theta": None}, "rope_theta: expected a positive finite number, found None"),
        (
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0}, "partial_rotary_factor": 0.5},
            r"partial_rotary_factor: expected 1 \(transformers reads it for rope_type linear\), found 0.5",
        ),
        (
            {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "truncate": 1}},
            "truncate: expected true or false, found 1",
        ),
        (
            {
                "rope_parameters": {
                    "rope_type": "llama3",
                    "rope_theta": 1e4,
                    "factor": 2.0,
                    "low_freq_factor": 4.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 16,
                }
            },
            "high_freq_factor: expected more than low_freq_factor = 4, found 4.0",
        ),
    ],
)
def test_configs_of_another_model_are_refused(
    directory: Path, capfd: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    refused(say(directory, **{"sliding_window": 32, **changes} if changes.get("model_type") else changes), message)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_config_that_is_none(directory: Path, content: bytes) -> None:
    (directory / "config.json").write_bytes(content)
    refused(directory, r"config.json: expected (a )?JSON")


def test_dynamic_scaling_of_two_numbers_is_none_of_transformers(tmp_path: Path) -> None:
    made = huggingface.model(hidden_size=12, head_dim=2)
    directory = huggingface.save(tmp_path / "model", made)
    say(directory, rope_parameters={"rope_type": "dynamic", "factor": 2.0})
    refused(directory, "rope_scaling: expected dynamic that transformers can compute, found .*zero")


def test_qwens_head_size_is_a_key_that_its_class_does_not_have(tmp_path: Path) -> None:
    directory = huggingface.save(tmp_path / "model", huggingface.model("Qwen2ForCausalLM"))
    assert taken(directory).hyperparameters.head_dim == 10
    refused(say(directory, head_dim=None), "head_dim: expected 10, as the tensors say, found None")
    refused(say(directory, head_dim=...), "head_dim: expected 10, as the tensors say, found 8")


# ---- sliding windows ----


def test_a_window_is_exact_for_as_many_tokens(tmp_path: Path) -> None:
    directory = huggingface.save(tmp_path / "model", huggingface.model("MistralForCausalLM"))
    assert taken(say(directory, sliding_window=33)).hyperparameters.max_seq_len == 33
    say(directory, sliding_window=20)
    for length in (None, 21):
        windowed = taken(directory, max_seq_len=length).hyperparameters
        assert (windowed.max_seq_len, windowed.window) == (length or 33, 20)
        assert windowed.layers == (LayerKind(windowed=True),) * 2
    for length in (20, 7):
        source = taken(directory, max_seq_len=length)
        assert source.hyperparameters.max_seq_len == length
        assert (source.hyperparameters.window, source.hyperparameters.layers) == (0, ())
        assert source.notes == (f"config.json: sliding_window 20 is no limit within max_seq_len {length}",)
    for length in (0, 34, True):
        expected = f"max_seq_len: expected 1 to max_position_embeddings = 33, found {length}"
        refused(directory, expected, max_seq_len=length)
    assert taken(say(directory, sliding_window=33), max_seq_len=7).hyperparameters.max_seq_len == 7
    refused(say(directory, sliding_window=0), "sliding_window: expected a positive integer below .* found 0")
    # taken away, it is the class's own 4096
    say(directory, sliding_window=..., max_position_embeddings=5000)
    assert taken(directory).hyperparameters.window == 4096
    refused(say(directory, layer_types=["full_attention"] * 2), "layer_types: expected none .*Ministral")


def test_qwens_windows_are_those_of_its_layers(tmp_path: Path) -> None:
    directory = huggingface.save(tmp_path / "model", huggingface.model("Qwen2ForCausalLM"))
    say(directory, layer_types=..., use_sliding_window=True, sliding_window=20)
    assert taken(say(directory, max_window_layers=2)).hyperparameters.max_seq_len == 33
    windowed = taken(say(directory, max_window_layers=1)).hyperparameters
    assert (windowed.window, windowed.layers) == (20, (LayerKind(), LayerKind(windowed=True)))
    assert taken(directory, max_seq_len=20).hyperparameters.layers == ()
    assert taken(say(directory, use_sliding_window=False)).hyperparameters.max_seq_len == 33
    say(directory, use_sliding_window=True, layer_types=["full_attention"] * 2)
    assert taken(directory).hyperparameters.max_seq_len == 33
    say(directory, use_sliding_window=False, layer_types=["sliding_attention"] * 2)
    refused(directory, "sliding_window: expected a positive integer.* found None")


def test_llamas_window_is_one_of_its_cache(directory: Path) -> None:
    refused(say(directory, sliding_window=20), "found 20: --max-seq-len 20 or less")
    assert taken(directory, max_seq_len=20).hyperparameters.max_seq_len == 20
    assert taken(say(directory, layer_types=["full_attention"] * 2)).hyperparameters.max_seq_len == 33
