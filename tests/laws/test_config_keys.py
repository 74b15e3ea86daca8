"""The tables of keys that both roads judge a config.json by are those of the installed transformers."""

from __future__ import annotations

import pytest
from helpers.config_keys import FAMILIES, recorded

from exporter.sources import huggingface_keys as exporters
from verify.sources import huggingface_keys as verifiers


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tables_list_what_transformers_reads(family: str) -> None:
    read = recorded(family)
    advice = "run python tests/campaigns/config_keys.py, and say what a new key means"
    assert exporters.READ[family] == read, advice
    assert verifiers.READ[family] == read, advice


def test_the_record_notes_whatever_way_a_key_is_read() -> None:
    read = recorded("qwen2")
    # an attribute of the model's own code, of a mask's, one that only a cache reads, one asked of the JSON object
    assert {"hidden_act", "is_causal", "kv_sharing_modes", "auto_map", "use_sliding_window"} <= read
    # keywords that a constructor takes out
    assert {"torch_dtype", "rope_scaling", "rope_theta", "num_labels"} <= read
    # nothing of the class reads them, though it stores them
    assert not {"unk_token_id", "_model_name_or_path", "max_sequence_length", "transformers_version"} & read
