"""config.json in one place: lengths, tokens, labels and sizes from both sides, and messages of bounded length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.hf_configs import SIZES, noted, read, refused

import exporter
from exporter.sources.huggingface_config import read_description


def message(kind: str = "llama", *, asked: Any = None, **changes: Any) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        read(kind, asked=asked, **changes)
    return str(caught.value).partition("config.json: ")[2]


def test_a_length_is_the_users_up_to_the_files() -> None:
    for asked in (1, 2, 32, 33):
        assert read(asked=asked, max_position_embeddings=33).max_seq_len == asked
    assert read(max_position_embeddings=33).max_seq_len == 33
    for asked in (0, -1, 34, True, 2.0, "2"):
        assert message(asked=asked, max_position_embeddings=33) == (
            f"max_seq_len: expected 1 to max_position_embeddings = 33, found {asked!r}"
        )


def test_a_padding_token_is_one_of_the_vocabulary_counted_from_either_end() -> None:
    for token in (None, -29, -1, 0, 28):
        assert read(pad_token_id=token)
    for token in (-30, 29):
        assert message(pad_token_id=token) == (
            "pad_token_id: expected null or a token of the 29 that vocab_size says, as transformers requires, found "
            f"{token}"
        )


def test_labels_are_numbered() -> None:
    for labels in (None, {}, {"0": "a", "17": "b"}):
        assert read(id2label=labels)
    for labels, found in (
        ({"a": "b"}, "{'a': 'b'}"),
        ({"0": "a", "x": "b"}, "{'0': 'a', 'x': 'b'}"),
        (["0"], "['0']"),
    ):
        assert message(id2label=labels) == f"id2label: expected null or an object of numbered labels, found {found}"


def test_attentions_are_returned_by_one_implementation_alone() -> None:
    for key in ("attn_implementation", "_attn_implementation"):
        assert read(**{key: "sdpa"}, output_attentions=False)
        for name in (None, "eager"):
            assert read(**{key: name}, output_attentions=True)
        assert message(**{key: "sdpa"}, output_attentions=True) == (
            "output_attentions: expected false with attn_implementation 'sdpa', as transformers requires, found True"
        )


def test_a_head_is_a_part_of_the_model() -> None:
    for kind, heads, head_dim in (("mistral", 1, 64), ("mistral", 16, 4), ("mistral", 15, 4), ("llama", 16, 4)):
        assert read(kind, num_attention_heads=heads, num_key_value_heads=heads).head_dim == head_dim
    for heads in (0, -4):
        assert message("mistral", num_attention_heads=heads) == (
            f"num_attention_heads: expected 1 to {2**31 - 1}, found {heads}"
        )
    assert message("mistral", hidden_size=-64) == f"hidden_size: expected 1 to {2**31 - 1}, found -64"
    refused("num_attention_heads: expected a divisor of hidden_size = 64", num_attention_heads=15)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": True}, "bitsandbytes, 4 bits"),
        ({"quant_method": "bitsandbytes"}, "bitsandbytes"),
        ({"quant_method": "gptq", "load_in_4bit": True}, "gptq"),
        ({"quant_method": "x" * 81}, "x" * 80),
        ({"quant_method": "a\nb"}, r"{'quant_method': 'a\nb'}"),
    ],
)
def test_a_quantized_model_is_named_by_its_method(said: object, found: str) -> None:
    assert message(quantization_config=said) == (
        f"quantization_config: expected unquantized weights, found {found}: give the unquantized model"
    )


def test_a_message_is_cut_after_400_characters() -> None:
    expected = "rope_scaling: mrope_section: expected a sum of 1, a half of a head, found [1"
    assert message("qwen2_vl", rope_scaling={"mrope_section": [10**500, 1, 1]}) == expected.ljust(400, "0")


def described(directory: Path, **raw: Any) -> Any:
    (directory / "config.json").write_text(json.dumps(raw))
    return read_description(directory / "config.json", None)


def test_a_text_part_is_read_where_it_stands(tmp_path: Path) -> None:
    text = {**SIZES, "num_key_value_heads": 32}
    found = described(tmp_path, model_type="llava", text_config={**text, "zoo": 1, "hidden_size": 96, "head_dim": 2})
    assert found.text.kind == "llava"
    assert (found.family.model_type, found.config.dim) == ("llama", 96)
    assert found.notes == ("config.json: text_config: ignored, as transformers ignores it: zoo",)
    flat = described(tmp_path, model_type="qwen2_vl", **SIZES, use_sliding_window=True, sliding_window=None)
    assert flat.notes == (
        "config.json: defaults of transformers' class for the text, where config.json says nothing: rope_theta = "
        "1000000.0, max_window_layers = 80, num_key_value_heads = 8, rms_norm_eps = 1e-05",
    )
    plain = described(tmp_path, model_type="llama", **SIZES, zoo=1)
    assert (plain.text, plain.notes) == (None, ("config.json: ignored, as transformers ignores it: zoo",))
    for raw, where in (
        ({"model_type": "llava", "text_config": {**text, "hidden_act": "relu"}}, "text_config: "),
        ({"model_type": "qwen2_vl", **text, "hidden_act": "relu"}, ""),
        ({"model_type": "llama", **text, "hidden_act": "relu"}, ""),
    ):
        with pytest.raises(exporter.CheckpointError) as caught:
            described(tmp_path, **raw)
        assert str(caught.value) == (
            f"{tmp_path / 'config.json'}: {where}hidden_act: expected one of silu, swish, gelu, gelu_new, "
            "gelu_pytorch_tanh, found 'relu'"
        )
    # the whole may be quantized, too, which its text does not say
    with pytest.raises(exporter.CheckpointError) as caught:
        described(tmp_path, model_type="llava", text_config=text, quantization_config={"quant_method": "awq"})
    assert str(caught.value) == (
        f"{tmp_path / 'config.json'}: quantization_config: expected unquantized weights, found awq: give the "
        "unquantized model"
    )
    assert noted(text_config=None)[1] == []
