"""The text part of a multimodal config.json: what is taken of it, its defaults, and which tensors are its own."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.huggingface import quiet_transformers

import exporter
from exporter.sources.huggingface_text_part import FLAT, TEXT_SIZES, WRAPPERS, TextPart, text_config, text_part

SIZES = {
    **{"hidden_size": 48, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 6},
    "vocab_size": 29,
}
OF_QWEN2_VL = {
    **{"use_sliding_window": False, "rope_theta": 1000000.0, "max_window_layers": 80, "num_key_value_heads": 8},
    "rms_norm_eps": 1e-5,
}
DEFAULTS = "defaults of transformers' class for the text, where config.json says nothing: "


def part(kind: str, text: dict[str, Any] | None = None, **whole: Any) -> TextPart:
    found = text_part({"model_type": kind, "text_config": {**SIZES, **(text or {})}, **whole})
    assert found
    assert found.kind == kind
    return found


def refused(raw: dict[str, Any]) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        text_part(raw)
    return str(caught.value)


def test_defaults_of_wrappers_and_of_sizes_are_those_of_transformers() -> None:
    with quiet_transformers() as transformers:
        for kind, wrapper in WRAPPERS.items():
            made = transformers.CONFIG_MAPPING[kind]
            assert made.tie_word_embeddings is wrapper.tied
            of_text = made.sub_configs_defaults["text_config"]
            assert wrapper.fixed == hasattr(of_text.config_class, "model_type")
            if wrapper.sizes is None:
                assert of_text.model_type == wrapper.text
        for family, sizes in TEXT_SIZES.items():
            theirs = transformers.CONFIG_MAPPING[family]()
            assert {key: getattr(theirs, key) for key in sizes} == sizes


def test_a_model_of_text_alone_has_no_part() -> None:
    for raw in ({"model_type": "llama", "text_config": {}}, {}, {"model_type": ["llava"]}, {"model_type": 7}):
        assert text_part(raw) is None
        assert text_config(raw) is raw


def test_a_part_is_a_config_json_of_the_text_alone() -> None:
    raw = {"model_type": "llava", "text_config": {**SIZES, "rope_theta": 5.0}, "vision_config": {}}
    expected = {
        **{**SIZES, "rope_theta": 5.0},
        **{"model_type": "llama", "tie_word_embeddings": False, "architectures": None},
    }
    assert text_part(raw) == TextPart("llava", expected)
    assert text_config(raw) == expected
    told = {"model_type": "mistral", "architectures": ["X"]}
    assert part("llava", told).config == {
        **SIZES,
        **{"model_type": "mistral", "tie_word_embeddings": False, "architectures": None},
    }
    # where the class of the text is fixed, its own model_type does not count
    assert part("gemma3", told).config["model_type"] == "gemma3_text"


@pytest.mark.parametrize(
    ("kind", "text", "family"),
    [
        *((kind, {}, "llama") for kind in ("llava", "llava_next", "llava_next_video", "video_llava", "vipllava")),
        *((kind, {}, "llama") for kind in ("idefics3", "smolvlm")),
        *((kind, {}, "qwen2") for kind in ("internvl", "llava_onevision")),
        ("mistral3", {}, "mistral"),
        ("mistral3", {"model_type": "ministral3"}, "ministral3"),
        ("lighton_ocr", {}, "qwen3"),
        ("gemma3", {}, "gemma3_text"),
    ],
)
def test_sizes_that_are_missing_are_those_of_the_class_with_a_note(
    kind: str, text: dict[str, Any], family: str
) -> None:
    found = text_part({"model_type": kind, "text_config": {**text, "vocab_size": 29}})
    sizes = {**TEXT_SIZES[family], "vocab_size": 29}
    assert found
    assert {key: found.config[key] for key in sizes} == sizes
    assert found.config["model_type"] == family
    listed = ", ".join(f"{key} = {value}" for key, value in sizes.items() if key != "vocab_size")
    assert found.notes == (DEFAULTS + listed,)


def test_a_text_of_an_unknown_class_has_no_defaults() -> None:
    for model_type in ("gpt2", ["llama"], None):
        found = text_part({"model_type": "llava", "text_config": {"model_type": model_type}})
        assert found == TextPart(
            "llava", {"model_type": model_type, "tie_word_embeddings": False, "architectures": None}
        )


def test_qwen2_vl_may_be_flat_and_has_defaults_of_its_own() -> None:
    assert FLAT == ("qwen2_vl", "qwen2_5_vl")
    for kind in FLAT:
        flat = text_part({"model_type": kind, **SIZES, "vision_config": {}, "image_token_id": 5})
        assert flat == part(kind)
        assert flat.config == {
            **SIZES,
            **OF_QWEN2_VL,
            **{"model_type": "qwen2", "tie_word_embeddings": False, "architectures": None},
        }
        listed = ", ".join(f"{key} = {OF_QWEN2_VL[key]}" for key in list(OF_QWEN2_VL)[1:])
        assert flat.notes == (DEFAULTS + listed,)
        # theta may stand among RoPE's parameters, in either spelling
        for key in ("rope_scaling", "rope_parameters"):
            said = part(kind, {key: {"rope_theta": 7.0}})
            assert "rope_theta" not in said.config
            assert "rope_theta" not in said.notes[0]
            for other in ({}, None, ["rope_theta"]):
                assert part(kind, {key: other}).config["rope_theta"] == 1000000.0
            within = {key: {"max_window_layers": 3, "rope_theta": 7.0}}
            assert part(kind, within).config["max_window_layers"] == 80


@pytest.mark.parametrize(
    ("raw", "found"),
    [({"model_type": "llava"}, "None"), ({"model_type": "qwen3_vl", **SIZES}, "None"), ({"text_config": 7}, "7")],
)
def test_other_models_have_a_text_config(raw: dict[str, Any], found: str) -> None:
    assert refused({"model_type": "qwen2_vl", **raw}) == f"text_config: expected an object, found {found}"


def test_tokens_that_begin_and_end_a_text_stand_beside_text_config_or_in_it() -> None:
    within = {"bos_token_id": 2, "eos_token_id": 5}
    assert part("llava", within).config.items() >= within.items()
    whole: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": [1, 6]}
    assert part("llava", within, **whole).config.items() >= whole.items()
    assert part("llava", within, bos_token_id=None, eos_token_id=None).config.items() >= within.items()


BOTH = {"llava", "llava_onevision", "qwen2_vl", "qwen2_5_vl"}


@pytest.mark.parametrize("kind", WRAPPERS)
def test_a_classifier_is_tied_where_the_whole_says_so_or_for_some_the_text(kind: str) -> None:
    default = kind in ("gemma3", "mistral3", "internvl", "lighton_ocr")
    for said in (None, False, True, 1):
        text = {} if said is None else {"tie_word_embeddings": said}
        assert part(kind, text).config["tie_word_embeddings"] is (default or (kind in BOTH and said is True))
        assert part(kind, text, tie_word_embeddings=True).config["tie_word_embeddings"] is True
        tied = part(kind, text, tie_word_embeddings=False).config["tie_word_embeddings"]
        assert tied is (kind in BOTH and said is True)
    for wrong, found in ((1, "1"), (None, "None"), ("true", "'true'")):
        raw = {"model_type": kind, "text_config": SIZES, "tie_word_embeddings": wrong}
        assert refused(raw) == f"tie_word_embeddings: expected true or false, found {found}"


@pytest.mark.parametrize(
    ("kind", "vision"),
    [
        ("llava", "vision_tower multi_modal_projector"),
        ("llava_next", "vision_tower multi_modal_projector image_newline"),
        ("video_llava", "image_tower video_tower multi_modal_projector"),
        ("idefics3", "vision_model connector"),
        ("lighton_ocr", "vision_encoder vision_projection"),
        ("qwen2_vl", "visual"),
        ("qwen3_vl", "visual"),
    ],
)
def test_tensors_for_images_are_known_by_their_module(kind: str, vision: str) -> None:
    found = part(kind)
    for module in vision.split():
        assert found.leaves_out(f"{module}.x.weight")
        assert found.leaves_out(f"model.{module}")
        assert not found.leaves_out(f"x.{module}.weight")
        assert not found.leaves_out(f"{module}s.weight")
    assert not found.leaves_out("model.norm.weight")


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        ("llava", ("language_model.model.", "language_model.lm_head.")),
        ("llava", ("model.language_model.", "lm_head.")),
        ("idefics3", ("model.text_model.", "lm_head.")),
        ("qwen2_vl", ("model.", "lm_head.")),
        ("qwen2_vl", ("model.language_model.", "lm_head.")),
        ("qwen3_vl", ("model.language_model.", "lm_head.")),
    ],
)
def test_tensors_of_the_text_have_the_names_of_its_own_class(kind: str, theirs: tuple[str, str]) -> None:
    model, head = theirs
    assert part(kind).named("here", [f"{model}norm.weight", f"{head}weight"]) == {
        "model.norm.weight": f"{model}norm.weight",
        "lm_head.weight": f"{head}weight",
    }


def test_a_tensor_of_no_part_and_two_of_one_name_are_refused() -> None:
    for kind, names, message in (
        (
            "smolvlm",
            ["lm_head.weight", "audio.weight"],
            "tensors: expected those of the text part (model.text_model., lm_head.) and of the vision part "
            "(vision_model, connector), found 'audio.weight'",
        ),
        (
            "idefics3",
            ["model.text_model.norm.weight", "lm_head.weight", "lm_head.weight"],
            "lm_head.weight: expected once, found 'lm_head.weight' and 'lm_head.weight'",
        ),
        (
            "qwen2_vl",
            ["model.norm.weight", "model.language_model.norm.weight"],
            "model.norm.weight: expected once, found 'model.norm.weight' and 'model.language_model.norm.weight'",
        ),
    ):
        with pytest.raises(exporter.CheckpointError) as caught:
            part(kind).named("here", names)
        assert str(caught.value) == f"here: {message}"


@pytest.mark.parametrize(
    ("count", "tensors"), [(0, "0 vision tensors"), (1, "1 vision tensor"), (2, "2 vision tensors")]
)
def test_what_was_taken_is_told(count: int, tensors: str) -> None:
    assert part("llava").described(count) == f"text part of llava (llama); {tensors} left out"
