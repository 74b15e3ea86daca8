"""Qwen-VL's config.json by itself: its three positions of a text are one, so its RoPE is that of Qwen 2 and 3."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.huggingface import quiet_transformers

import exporter
from exporter.sources.huggingface_mrope import QWEN2_VL, QWEN3_VL, as_qwen2, as_qwen3, flat_text

SIZES: dict[str, Any] = {"hidden_size": 48, "num_attention_heads": 4}
SECTIONS = {"mrope_section": [1, 2, 3], "mrope_interleaved": True}


def refused(**said: Any) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        as_qwen2({**SIZES, **said})
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "ours"), [("qwen2_vl_text", QWEN2_VL), ("qwen2_5_vl_text", QWEN2_VL), ("qwen3_vl_text", QWEN3_VL)]
)
def test_defaults_are_those_of_transformers(kind: str, ours: dict[str, Any]) -> None:
    with quiet_transformers() as transformers:
        theirs = transformers.CONFIG_MAPPING[kind]()
    made = {**theirs.rope_parameters, **theirs.to_dict()}
    for key, value in ours.items():
        assert made[key] == value, key


def test_a_flat_config_gives_the_language_model_what_is_its_own() -> None:
    own = {**SIZES, "rope_scaling": {"type": "mrope"}, "tie_word_embeddings": True, "torch_dtype": "bfloat16"}
    assert flat_text({**own, "vision_config": {}, "model_type": "qwen2_vl", "image_token_id": 5}) == own


def test_sections_and_their_type_are_taken_out_of_both_spellings() -> None:
    for key in ("rope_scaling", "rope_parameters"):
        assert as_qwen2({**SIZES, key: {"type": "mrope", **SECTIONS}}) == {
            **{"use_sliding_window": False, **SIZES},
            key: {"rope_type": "default"},
        }
        said = {"rope_type": "mrope", "type": "other", "rope_theta": 5.0, **SECTIONS}
        assert as_qwen2({key: said})[key] == {"rope_type": "default", "rope_theta": 5.0}
        yarn = {"rope_type": "yarn", "type": "mrope", "factor": 2.0}
        assert as_qwen2({key: {**yarn, **SECTIONS}})[key] == yarn
        assert as_qwen2({key: {"factor": 2.0}})[key] == {"factor": 2.0}
        assert as_qwen2({key: None})[key] is None
    assert as_qwen2({"other": {"type": "mrope"}})["other"] == {"type": "mrope"}


def test_qwen_2_has_windows_where_it_says_so_and_qwen_3_none() -> None:
    windows = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1, "layer_types": ["x"]}
    assert as_qwen2(windows) == windows
    assert as_qwen3({**windows, "vocab_size": 9}) == {"vocab_size": 9}


@pytest.mark.parametrize(
    "sections", [[2, 4], [1, 2, 3, 0], [1, 2, 3.0], [1, 2, True], [-1, 4, 3], ["1", 2, 3], 6, "abc"]
)
def test_sections_are_three_counts(sections: Any) -> None:
    for key in ("rope_scaling", "rope_parameters"):
        found = f"{sections}" if isinstance(sections, (list, int)) else repr(sections)
        message = f"{key}: mrope_section: expected three integers, found {found}"
        assert refused(**{key: {"mrope_section": sections}}) == message
        with pytest.raises(exporter.CheckpointError, match="mrope_section: expected three integers, found "):
            as_qwen3({key: {"mrope_section": sections}})


def test_sections_of_qwen_2_make_up_a_half_of_a_head() -> None:
    for sections in ([0, 2, 4], [2, 2, 2], [6, 0, 0]):
        assert as_qwen2({**SIZES, "rope_scaling": {"mrope_section": sections}})["rope_scaling"] == {}
    for sections in ([1, 2, 2], [1, 2, 4]):
        assert refused(rope_scaling={"mrope_section": sections}) == (
            f"rope_scaling: mrope_section: expected a sum of 6, a half of a head, found {sections}"
        )
        as_qwen3({**SIZES, "rope_scaling": {"mrope_section": sections}})
        # a message names the sizes that are wrong
        for dim, heads in ((None, 4), ("48", 4), (48, None), (48, "4"), (48, 0), (48, -4)):
            said = {"hidden_size": dim, "num_attention_heads": heads}
            assert as_qwen2({**said, "rope_scaling": {"mrope_section": sections}})["rope_scaling"] == {}
    one_head = {"hidden_size": 12, "num_attention_heads": 1}
    message = "rope_scaling: mrope_section: expected a sum of 6, a half of a head, found [1, 2, 2]"
    assert refused(**one_head, rope_scaling={"mrope_section": [1, 2, 2]}) == message
