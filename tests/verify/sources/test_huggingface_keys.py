"""Every family reads the keys that all read, and those of its own."""

from __future__ import annotations

import pytest

from verify.sources.huggingface_families import FAMILIES
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


def test_there_is_a_set_for_each_family_and_it_holds_what_all_read() -> None:
    assert READ.keys() == FAMILIES.keys()
    common = {"dtype", "head_dim", "hidden_size", "rms_norm_eps", "rope_parameters", "tie_word_embeddings"}
    for family, keys in READ.items():
        assert common < keys, family
        # each reads its activation, which no key of all of them names
        assert keys & {"hidden_act", "hidden_activation"}, family
