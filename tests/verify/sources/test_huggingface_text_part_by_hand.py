"""The language model of a multimodal directory by itself, with classes of the test's own in transformers' place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from verify.errors import CannotJudgeError
from verify.sources import huggingface_text_part
from verify.sources.huggingface_text_part import Layout, TextPart, is_tied, text_part

WHERE = Path("config.json")
SAID: dict[str, Any] = {"hidden_size": 8}


class Fixed:
    """A configuration class of one language model."""

    model_type = "gemma3_text"

    def __init__(self, hidden_size: int = 1) -> None:
        """Take what the language model knows."""


def whole(text: Any, tied: bool) -> Any:
    @dataclass
    class Whole:
        sub_configs_defaults: ClassVar[dict[str, Any]] = {"text_config": text}
        other: bool = False
        tie_word_embeddings: bool = tied

    return Whole


def any_model(model_type: str) -> Any:
    return SimpleNamespace(config_class=object, model_type=model_type)


@pytest.fixture(autouse=True)
def transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    of_one = SimpleNamespace(config_class=Fixed)
    mapping = {
        **{"gemma3": whole(of_one, True), "mistral3": whole(any_model("mistral"), True)},
        **{"llava": whole(any_model("llama"), False), "llava_next": whole(any_model("llama"), False)},
        "qwen2_vl": whole(of_one, False),
    }

    @contextmanager
    def quiet() -> Iterator[Any]:
        yield SimpleNamespace(CONFIG_MAPPING=mapping)

    monkeypatch.setattr(huggingface_text_part, "quiet_transformers", quiet)


def part(kind: str, text: Any = SAID, **said: Any) -> TextPart:
    found = text_part(WHERE, {"model_type": kind, "text_config": text, **said})
    assert found is not None
    return found


def test_a_model_of_text_alone_has_no_part() -> None:
    for model_type in (None, "llama", 7, ["llava"]):
        assert text_part(WHERE, {"model_type": model_type, "text_config": {}}) is None


def test_the_class_names_the_language_model_and_else_its_config_or_the_default() -> None:
    settled = {"tie_word_embeddings": True, "hidden_size": 8}
    gemma = {**settled, "model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"]}
    assert part("gemma3", {**SAID, "model_type": "llama"}) == TextPart("gemma3", gemma)
    mistral = {**settled, "model_type": "mistral", "architectures": ["MistralForCausalLM"]}
    assert part("mistral3").said == mistral
    qwen = {**SAID, "model_type": "qwen2", "architectures": ["x"]}
    assert part("mistral3", qwen).said == {**settled, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
    # judged by its model_type later: what stands there may be anything
    for model_type in ("cohere", ["llama"]):
        said = {**SAID, "model_type": model_type}
        assert part("mistral3", said).said == {**settled, "model_type": model_type, "architectures": None}
        assert part("mistral3", {**said, "architectures": ["x"]}).said["architectures"] == ["x"]


def test_a_flat_config_is_that_of_the_language_model() -> None:
    flat = text_part(WHERE, {"model_type": "qwen2_vl", "hidden_size": 8, "vision_config": {}})
    assert flat is not None
    assert flat.said == {
        **{"hidden_size": 8, "model_type": "gemma3_text", "tie_word_embeddings": False},
        "architectures": ["Gemma3ForCausalLM"],
    }
    # text_config goes before what stands beside it
    assert part("qwen2_vl", {"hidden_size": 9}, hidden_size=8).said["hidden_size"] == 9
    for kind, inner in (("llava", None), ("qwen2_vl", []), ("llava", "x")):
        with pytest.raises(CannotJudgeError) as caught:
            part(kind, inner)
        assert str(caught.value) == f"config.json: text_config: expected an object, found {inner}"


@pytest.mark.parametrize(
    ("kind", "of_text", "said", "tied"),
    [
        *(("mistral3", False, {}, True), ("llava", False, {}, False), ("llava", True, {}, True)),
        *(("llava_next", True, {}, False), ("llava_next", True, {"tie_word_embeddings": True}, True)),
        *(("llava", 1, {}, False), ("llava", True, {"tie_word_embeddings": False}, True)),
        *(("qwen2_vl", True, {}, True), ("mistral3", True, {"tie_word_embeddings": False}, False)),
    ],
)
def test_the_whole_ties_and_of_some_kinds_the_text_too(kind: str, of_text: Any, said: Any, tied: bool) -> None:
    assert part(kind, {**SAID, "tie_word_embeddings": of_text}, **said).said["tie_word_embeddings"] is tied


@pytest.mark.parametrize("said", [None, 1, "true"])
def test_a_tie_is_true_or_false(said: Any) -> None:
    with pytest.raises(CannotJudgeError) as caught:
        part("llava", tie_word_embeddings=said)
    assert str(caught.value) == f"config.json: tie_word_embeddings: expected true or false, found {said}"


def test_tokens_of_the_whole_go_before_those_of_the_text() -> None:
    said = {"bos_token_id": 1, "eos_token_id": 2}
    assert {key: part("llava", {**SAID, **said}).said[key] for key in said} == said
    found = part("llava", {**SAID, **said}, bos_token_id=0, eos_token_id=None, pad_token_id=3).said
    assert (found["bos_token_id"], found["eos_token_id"]) == (0, 2)
    assert "pad_token_id" not in found


def names(kind: str, *stored: str) -> dict[str, str]:
    return TextPart(kind, {}).names(Path("model"), list(stored))


def test_names_of_both_versions_are_those_of_the_language_model() -> None:
    for stored, own in (
        ("language_model.model.norm.weight", "model.norm.weight"),
        ("language_model.lm_head.weight", "lm_head.weight"),
        ("model.language_model.norm.weight", "model.norm.weight"),
        ("lm_head.weight", "lm_head.weight"),
    ):
        assert names("llava", stored) == {own: stored}
    assert names("qwen2_vl", "model.norm.weight", "lm_head.weight") == {
        **{"model.norm.weight": "model.norm.weight", "lm_head.weight": "lm_head.weight"},
    }
    assert names("idefics3", "model.text_model.norm.weight") == {"model.norm.weight": "model.text_model.norm.weight"}


def test_a_name_of_neither_part_and_one_twice_are_refused() -> None:
    for stored, message in (
        (
            ["model.norm.weight"],
            "tensors: expected those of the language model and of the vision part of llava, found model.norm.weight",
        ),
        (
            ["lm_head.weight", "language_model.lm_head.weight"],
            "lm_head.weight: expected one such tensor, found lm_head.weight and language_model.lm_head.weight",
        ),
    ):
        with pytest.raises(CannotJudgeError) as caught:
            names("llava", *stored)
        assert str(caught.value) == f"model: {message}"


def test_what_only_images_need() -> None:
    llava = TextPart("llava", {"model_type": "llama"})
    assert all(
        map(llava.is_vision, ("vision_tower.x", "model.vision_tower.x", "multi_modal_projector", "vision_tower"))
    )
    assert not any(map(llava.is_vision, ("vision_towers.x", "x.vision_tower.x", "lm_head.weight", "image_newline")))
    assert TextPart("llava_next", {}).is_vision("image_newline")
    assert TextPart("smolvlm", {}).is_vision("model.connector.x")
    assert [llava.note(number) for number in (0, 1, 2)] == [
        f"text part of llava (llama); {many} left out"
        for many in ("0 vision tensors", "1 vision tensor", "2 vision tensors")
    ]
    assert Layout() == Layout("vision_tower|multi_modal_projector")


def test_equal_matrices_are_tied_and_one_alone_is() -> None:
    held = {"a": torch.ones(2), "b": torch.ones(2), "c": torch.zeros(2)}
    shards: Any = SimpleNamespace(read=held.__getitem__)
    head, embedding = "lm_head.weight", "model.embed_tokens.weight"
    assert is_tied({embedding: "a"}, shards)
    assert is_tied({head: "a"}, shards)
    assert is_tied({head: "a", embedding: "b", "x": "c"}, shards)
    assert is_tied({head: "a", embedding: "b"}, shards)
    assert not is_tied({head: "a", embedding: "c"}, shards)
