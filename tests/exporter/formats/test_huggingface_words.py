"""config.json, its words alone, and the bytes of the files beside it: written out by hand, without transformers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from helpers.models import arrays, checkpoint, config
from helpers.v3_files import SCALINGS

import exporter
from exporter.config import tensor_shapes
from exporter.formats.huggingface_config import config_json
from exporter.formats.huggingface_files import Part, PlannedFile, StoredTensor, plan_files
from exporter.huggingface_names import hugging_face_name

PLAIN = {
    **{"hidden_size": 48, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 6},
    **{"num_key_value_heads": 3, "head_dim": 8, "vocab_size": 29, "max_position_embeddings": 33},
    **{"hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": None},
    **{"tie_word_embeddings": False, "torch_dtype": "float32"},
}
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": False, "mlp_bias": False}
QWEN = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "use_sliding_window": False}


def words(dtype: Any = "fp32", token_ids: dict[str, object] | None = None, **changes: Any) -> dict[str, Any]:
    return config_json(config(**changes), dtype, token_ids or {})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, {**PLAIN, **LLAMA}),
        ({"tied": True, "head_dim": 10}, {**PLAIN, **LLAMA, "tie_word_embeddings": True, "head_dim": 10}),
        ({"activation": "gelu"}, {**PLAIN, **LLAMA, "hidden_act": "gelu"}),
        ({"activation": "gelu_tanh"}, {**PLAIN, **LLAMA, "hidden_act": "gelu_pytorch_tanh"}),
        ({"qkv_bias": True, "wo_bias": True}, {**PLAIN, **LLAMA, "attention_bias": True}),
        ({"mlp_bias": True}, {**PLAIN, **LLAMA, "mlp_bias": True}),
        (
            {"qkv_bias": True, "wo_bias": True, "mlp_bias": True},
            {**PLAIN, **LLAMA, "attention_bias": True, "mlp_bias": True},
        ),
        ({"qkv_bias": True}, {**PLAIN, **QWEN}),
        # of heads that do not divide dim
        (
            {"qkv_bias": True, "n_heads": 5, "n_kv_heads": 5, "head_dim": 8},
            {**PLAIN, **QWEN, "num_attention_heads": 5, "num_key_value_heads": 5},
        ),
        ({"norm_eps": 1, "rope_theta": 7}, {**PLAIN, **LLAMA, "rms_norm_eps": 1.0, "rope_theta": 7.0}),
    ],
)
def test_every_field_is_said(changes: dict[str, Any], said: dict[str, Any]) -> None:
    found = words(**changes)
    assert found == said
    assert {type(found[key]) for key in ("rms_norm_eps", "rope_theta")} == {float}


def test_types_and_token_ids_are_said() -> None:
    for dtype, name in (("fp32", "float32"), ("fp16", "float16"), ("bf16", "bfloat16")):
        assert words(dtype)["torch_dtype"] == name
    assert words(token_ids={"bos_token_id": 1, "pad_token_id": None}) == {
        **PLAIN,
        **LLAMA,
        "bos_token_id": 1,
        "pad_token_id": None,
    }


@pytest.mark.parametrize(
    ("scaling", "said"),
    [
        ("none", None),
        ("linear", {"rope_type": "linear", "factor": 2.0}),
        ("dynamic", {"rope_type": "dynamic", "factor": 2.0}),
        (
            "llama3",
            {
                **{"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 16},
                **{"low_freq_factor": 1.0, "high_freq_factor": 4.0},
            },
        ),
        (
            "yarn",
            {
                **{"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
                **{"beta_fast": 32.0, "beta_slow": 1.0, "attention_factor": 1.1386, "truncate": True},
            },
        ),
    ],
)
def test_scaling_is_said_in_transformers_words(scaling: str, said: dict[str, Any] | None) -> None:
    assert words(rope_scaling=SCALINGS[scaling])["rope_scaling"] == said


def test_numbers_of_scaling_are_floats_and_counts_are_not() -> None:
    whole = exporter.RopeScaling("yarn", 3, 11, beta_fast=32, beta_slow=1, attention_factor=1, truncate=True)
    found = words(rope_scaling=whole)["rope_scaling"]
    assert {key: type(value).__name__ for key, value in found.items()} == {
        **{"rope_type": "str", "factor": "float", "original_max_position_embeddings": "int"},
        **{"beta_fast": "float", "beta_slow": "float", "attention_factor": "float", "truncate": "bool"},
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rope_scaling": exporter.RopeScaling("dynamic", 2.0, 34)},
            "max_seq_len: expected 34 (original_max_positions), beyond which transformers scales dynamic RoPE, found "
            "33; use v3",
        ),
        (
            {"rope_scaling": exporter.RopeScaling("dynamic", 2.0, 33), "head_dim": 2},
            "head_dim: expected at least 4, which transformers' dynamic RoPE scaling requires, found 2; use v3",
        ),
    ],
)
def test_what_transformers_cannot_express_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(exporter.FormatError) as caught:
        words(**changes)
    assert str(caught.value) == message


def test_what_transformers_can_just_express() -> None:
    words(rope_scaling=exporter.RopeScaling("dynamic", 2.0, 33), head_dim=4)
    words(rope_scaling=exporter.RopeScaling("linear", 2.0), head_dim=2)


NAMES = list(tensor_shapes(config()))
WHOLE = sum(array.nbytes for array in arrays(config()).values())


def planned(shard_bytes: int) -> list[PlannedFile]:
    return plan_files(checkpoint(), config(), shard_bytes, {"bos_token_id": None})


def parts_of(file: PlannedFile) -> list[str]:
    return [part.name for tensor in file.tensors for part in tensor.parts]


def test_one_file_holds_what_fits_it() -> None:
    for shard_bytes in (WHOLE, WHOLE + 1):
        first, whole = planned(shard_bytes)
        assert (first.name, whole.name) == ("config.json", "model.safetensors")
        assert json.loads(first.head) == {**PLAIN, **LLAMA, "bos_token_id": None}
        assert first.head.startswith(b'{\n  "architectures"')
        assert first.head.endswith(b"}\n")
        assert (first.bytes, whole.bytes) == (len(first.head), len(whole.head) + WHOLE)
        assert whole.tensors == tuple(
            StoredTensor(hugging_face_name(name), "fp32", (Part(name, shape),))
            for name, shape in tensor_shapes(config()).items()
        )
    first, index, *shards = planned(WHOLE - 1)
    assert index.name == "model.safetensors.index.json"
    assert [shard.name for shard in shards] == [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    assert parts_of(shards[1]) == NAMES[-1:]
    assert json.loads(index.head) == {
        "metadata": {"total_size": WHOLE},
        "weight_map": {tensor.name: shard.name for shard in shards for tensor in shard.tensors},
    }


def test_a_shard_is_filled_up_to_its_last_byte() -> None:
    """The embedding and the first norm."""
    both = 4 * (29 * 48 + 48)
    for shard_bytes, held in ((both - 1, 1), (both, 2), (both + 4 * 48 * 48 - 1, 2), (both + 4 * 48 * 48, 3)):
        first = planned(shard_bytes)[2]
        assert parts_of(first) == NAMES[:held]
    # so is each one after it: wk and wv are as large as wq
    for shard_bytes, held in ((4 * 48 * 48, 2), (4 * 48 * 48 - 1, 1)):
        third = planned(shard_bytes)[4]
        assert parts_of(third) == NAMES[3 : 3 + held]


def test_a_container_is_a_padded_header_and_tensors_without_gaps() -> None:
    dtypes: dict[str, Any] = {NAMES[0]: "bf16", NAMES[1]: "fp16"}
    source = exporter.Checkpoint(
        config(), tensor_shapes(config()), arrays(config()).__getitem__, where="here", kind="memory", dtypes=dtypes
    )
    whole = plan_files(source, config(), WHOLE, {})[1]
    # wider types first
    assert parts_of(whole) == [*NAMES[2:], *NAMES[:2]]
    assert [tensor.bytes for tensor in whole.tensors[-2:]] == [2 * 29 * 48, 2 * 48]
    length = int.from_bytes(whole.head[:8], "little")
    text = whole.head[8:]
    assert len(text) == length
    assert length % 8 == 0
    assert len(text) - len(text.rstrip(b" ")) < 8
    header = json.loads(text)
    assert b", " not in text
    assert b": " not in text
    assert header.pop("__metadata__") == {"format": "pt"}
    at = 0
    for tensor in whole.tensors:
        assert header[tensor.name] == {
            "dtype": {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + tensor.bytes],
        }
        at += tensor.bytes
    assert list(header) == sorted(header)
    assert whole.bytes == len(whole.head) + at


@pytest.mark.parametrize("long_factors", [(), (3.0, 4.5, 6.0, 8.0)])
def test_longrope_has_two_lists_of_factors_and_one_that_has_no_effect(long_factors: tuple[float, ...]) -> None:
    scaling = exporter.RopeScaling(
        "longrope",
        original_max_positions=33,
        attention_factor=1.25,
        short_factors=(1.0, 1.5, 2.0, 2.5),
        long_factors=long_factors,
    )
    assert words(rope_scaling=scaling)["rope_scaling"] == {
        **{"rope_type": "longrope", "factor": 1.0, "attention_factor": 1.25},
        **{"short_factor": [1.0, 1.5, 2.0, 2.5], "long_factor": list(long_factors or (1.0, 1.5, 2.0, 2.5))},
    }
