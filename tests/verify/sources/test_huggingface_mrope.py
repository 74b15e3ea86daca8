"""Multimodal RoPE of a text, with classes of the test's own in the place of transformers'."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from verify.errors import CannotJudgeError
from verify.sources.huggingface_mrope import flat, of_one_position

WHERE = Path("config.json")
HEADS = {"hidden_size": 40, "num_attention_heads": 2}  # half a head: 10 pairs


@dataclass
class Theirs:
    """A language model beside images."""

    default_theta: ClassVar[float] = 5e6
    hidden_size: int = 64
    shared: int = 1
    only_theirs: int = 2
    differs: int = 3
    rope_parameters: Any = None


@dataclass
class Ours:
    """The family that computes the same of a text."""

    hidden_size: int = 64
    shared: int = 1
    only_ours: int = 4
    differs: int = 5
    rope_parameters: Any = "ours"


TRANSFORMERS = SimpleNamespace(
    CONFIG_MAPPING={"qwen2_vl_text": Theirs, "qwen2_5_vl_text": Theirs, "qwen3_vl_text": Theirs},
    Qwen2Config=Ours,
    Qwen3Config=Ours,
)


def of_text(model_type: str = "qwen2_vl_text", **said: Any) -> dict[str, Any]:
    return of_one_position(WHERE, TRANSFORMERS, model_type, said)[1]


def test_defaults_that_differ_are_written_and_keys_of_ours_alone_are_left_out() -> None:
    filled = {"differs": 3, "rope_theta": 5e6}
    assert of_one_position(WHERE, TRANSFORMERS, "qwen2_vl_text", {}) == ("qwen2", filled)
    assert of_one_position(WHERE, TRANSFORMERS, "qwen3_vl_text", {}) == ("qwen3", filled)
    # theirs alone, nobody's, and one that both have; not ours, which their layers do not know
    said = {"only_theirs": 7, "nobodys": 8, "differs": 9}
    assert of_text(**said, only_ours=6) == {**said, "rope_theta": 5e6}


@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_a_theta_that_stands_anywhere_is_the_one(key: str) -> None:
    rope = {"rope_type": "default", "rope_theta": 7.0}
    assert of_text(**{key: rope}) == {"differs": 3, key: rope}
    assert of_text(rope_theta=6.0) == {"differs": 3, "rope_theta": 6.0}
    silent = {"rope_type": "default"}
    assert of_text(**{key: silent}) == {"differs": 3, key: silent, "rope_theta": 5e6}
    assert of_text(**{key: None})["rope_theta"] == 5e6


@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_sections_go_and_mrope_is_the_default_rope(key: str) -> None:
    for sections in ([2, 4, 4], [10, 0, 0]):
        rope = {"type": "mrope", "mrope_section": sections, "mrope_interleaved": True, "rope_theta": 7.0}
        assert of_text(**HEADS, **{key: rope})[key] == {"rope_type": "default", "rope_theta": 7.0}
        assert of_text(**HEADS, **{key: {**rope, "rope_type": "mrope"}})[key] == {
            **{"rope_type": "default", "rope_theta": 7.0},
        }
    # rope_type decides over type, which stays
    scaled = {"type": "mrope", "rope_type": "linear", "factor": 2.0}
    assert of_text(**{key: scaled})[key] == scaled


@pytest.mark.parametrize("sections", [[2, 4], [2, 4, 4, 0], [2, 4, 4.0], [True, 5, 4], [-1, 5, 6], "244", {}, 10])
def test_sections_are_three_counts(sections: Any) -> None:
    for model_type in ("qwen2_5_vl_text", "qwen3_vl_text"):
        with pytest.raises(CannotJudgeError) as caught:
            of_text(model_type, **HEADS, rope_scaling={"mrope_section": sections})
        assert str(caught.value) == (
            f"config.json: rope_scaling: mrope_section: expected three counts, found {sections}"
        )


def test_sections_of_qwen2_fill_half_a_head() -> None:
    """Three heads of 14: 43 // 3 // 2 is 7."""
    for heads, half in ((HEADS, 10), ({"hidden_size": 43, "num_attention_heads": 3}, 7)):
        for off in (-1, 1):
            sections = [1, 2, half - 3 + off]
            with pytest.raises(CannotJudgeError) as caught:
                of_text(**heads, rope_parameters={"mrope_section": sections})
            assert str(caught.value) == (
                f"config.json: rope_parameters: mrope_section: expected a sum of {half}, half a head, found "
                f"{sections}"
            )
            # Qwen 3-VL interleaves them, and takes what fits
            assert of_text("qwen3_vl_text", **heads, rope_parameters={"mrope_section": sections})
        assert of_text(**heads, rope_parameters={"mrope_section": [1, 2, half - 3]})["rope_parameters"] == {}


def test_a_flat_config_hands_on_what_the_language_models_class_takes() -> None:
    class Language:
        def __init__(self, hidden_size: int = 1, text_config: Any = None) -> None:
            """Take what the language model knows, and a key that names itself."""

    whole = SimpleNamespace(sub_configs_defaults={"text_config": SimpleNamespace(config_class=Language)})
    transformers = SimpleNamespace(CONFIG_MAPPING={"qwen2_vl": whole})
    kept: dict[str, Any] = {
        "hidden_size": 2,
        "rope_theta": 3.0,
        "torch_dtype": "float16",
        "tie_word_embeddings": True,
    }
    kept |= {"rope_scaling": None, "rope_parameters": {}}
    said = {**kept, "vision_config": {}, "text_config": {}, "model_type": "qwen2_vl"}
    assert flat(transformers, "qwen2_vl", said) == kept
