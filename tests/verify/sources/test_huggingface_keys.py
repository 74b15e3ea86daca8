"""Every family reads the keys that all read, and those of its own."""

from __future__ import annotations

import pytest

from verify.sources.huggingface_keys import READ

OWN = {
    "llama": {"attention_bias", "attention_chunk_size", "mlp_bias"},
    "mistral": {"attention_chunk_size", "num_heads"},
    "qwen2": {"max_window_layers", "mlp_layer_types", "num_heads", "use_sliding_window"},
}


@pytest.mark.parametrize("family", OWN)
def test_a_family_reads_what_all_read_and_more(family: str) -> None:
    assert OWN[family] | {"hidden_size", "rope_parameters", "vocab_size"} <= READ[family]
    assert not READ[family] & set().union(*OWN.values()) - OWN[family]
