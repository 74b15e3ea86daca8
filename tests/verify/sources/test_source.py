"""What a source must hold: the tensors of a model by name, and which kind takes which option."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.models import config, hyperparameters

from verify.errors import CannotJudgeError
from verify.sources.in_memory import MemorySource
from verify.sources.options import SourceOptions
from verify.sources.source import RopeScaling, Source

MODEL = hyperparameters(config(head_dim=10))
LAYER = {
    "attention_norm.weight": (48,),
    "attention.wq.weight": (60, 48),
    "attention.wk.weight": (30, 48),
    "attention.wv.weight": (30, 48),
    "attention.wo.weight": (48, 60),
    "ffn_norm.weight": (48,),
    "feed_forward.w1.weight": (40, 48),
    "feed_forward.w2.weight": (48, 40),
    "feed_forward.w3.weight": (40, 48),
}
OUTER = {"tok_embeddings.weight": (29, 48), "norm.weight": (48,), "output.weight": (29, 48)}


def of_both_layers(layer: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {f"layers.{number}.{name}": shape for number in (0, 1) for name, shape in layer.items()}


def test_the_tensors_of_a_model_follow_from_its_hyperparameters() -> None:
    assert MODEL.shapes() == of_both_layers(LAYER) | OUTER
    tied = {name: shape for name, shape in OUTER.items() if name != "output.weight"}
    assert dataclasses.replace(MODEL, tied=True).shapes() == of_both_layers(LAYER) | tied


@pytest.mark.parametrize(
    ("switch", "biases"),
    [
        ("qkv_bias", {"attention.wq.bias": (60,), "attention.wk.bias": (30,), "attention.wv.bias": (30,)}),
        ("wo_bias", {"attention.wo.bias": (48,)}),
        (
            "mlp_bias",
            {"feed_forward.w1.bias": (40,), "feed_forward.w2.bias": (48,), "feed_forward.w3.bias": (40,)},
        ),
    ],
)
def test_each_kind_of_bias_has_a_number_for_each_output(switch: str, biases: dict[str, tuple[int, ...]]) -> None:
    model = dataclasses.replace(MODEL, **{switch: True})
    assert model.shapes() == of_both_layers(LAYER | biases) | OUTER


def test_what_is_silent_is_the_plain_llama() -> None:
    assert (MODEL.qkv_bias, MODEL.wo_bias, MODEL.mlp_bias, MODEL.activation) == (False, False, False, "silu")
    assert MODEL.rope_scaling == RopeScaling("none", 0.0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, False)
    for made in (MODEL, MODEL.rope_scaling):
        with pytest.raises(dataclasses.FrozenInstanceError):
            made.type = "x"  # type: ignore[misc,union-attr]


def memory(tied: bool, dtype: Any = None) -> tuple[MemorySource, dict[str, np.ndarray]]:
    model = dataclasses.replace(MODEL, tied=tied)
    held = {name: np.full(shape, number, np.float32) for number, (name, shape) in enumerate(model.shapes().items())}
    return MemorySource(model, held.__getitem__, *([dtype] if dtype else [])), held


def test_a_tied_classifier_in_memory_is_the_embedding() -> None:
    for tied, name in ((True, "tok_embeddings.weight"), (False, "output.weight")):
        source, held = memory(tied, lambda name: "bf16" if name.startswith("tok") else "fp32")
        assert torch.equal(source.tensor("output.weight"), torch.from_numpy(held[name]))
        assert source.dtype("output.weight") == ("bf16" if tied else "fp32")
        assert torch.equal(source.tensor("norm.weight"), torch.from_numpy(held["norm.weight"]))
        source.tensor("norm.weight")[0] = 7.0  # the caller's own
        assert held["norm.weight"][0] != 7.0
        assert source.files.keys() == {*held, "hyperparameters and dtypes"}
    assert memory(True)[0].dtype("norm.weight") == "fp32"
    assert source.tokenizer_path == Path("memory/tokenizer.model")


def test_what_a_model_is_shows_in_its_digests() -> None:
    digests = [
        memory(tied, dtype)[0].files["hyperparameters and dtypes"]
        for tied, dtype in ((True, None), (False, None), (True, lambda _name: "bf16"))
    ]
    assert len(set(digests)) == 3


OF_META, OF_BOTH = "meta", "llama2c or meta"


@pytest.mark.parametrize(
    ("option", "flag", "kinds", "wanted"),
    [
        ({"rope_theta": 1.0}, "--rope-theta", {"meta"}, OF_META),
        ({"rope_scaling_factor": 0.0}, "--rope-scaling-factor", {"meta"}, OF_META),
        ({"adapter": ""}, "--adapter", {"huggingface"}, "huggingface"),
        ({"tied": True}, "--tied", {"llama2c", "meta"}, OF_BOTH),
        ({"tied": False}, "--untied", {"llama2c", "meta"}, OF_BOTH),
        ({"max_seq_len": 3, "follow_links": True}, "", {"llama2c", "meta", "huggingface", "v3", "bin"}, ""),
    ],
)
def test_an_option_is_refused_by_the_kinds_that_do_not_take_it(
    option: dict[str, Any], flag: str, kinds: set[str], wanted: str
) -> None:
    for kind in ("llama2c", "meta", "huggingface", "v3", "bin"):
        if kind in kinds:
            SourceOptions(**option).expect_only_for(kind)
            continue
        with pytest.raises(CannotJudgeError) as caught:
            SourceOptions(**option).expect_only_for(kind)
        assert str(caught.value) == f"{flag}: expected a source of kind {wanted}, found one of kind {kind}"


def test_options_are_silent_unless_they_are_given() -> None:
    silent = SourceOptions()
    assert dataclasses.astuple(silent) == (None, False, None, None, None, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        silent.tied = True  # type: ignore[misc]


@pytest.mark.parametrize("absent", ["expect_unchanged", "tokenizer_path", "tensor", "dtype"])
def test_a_source_without_an_answer_cannot_be_made(absent: str) -> None:
    answers = {"expect_unchanged": None, "tokenizer_path": None, "tensor": None, "dtype": None}
    type("Whole", (Source,), answers)()
    with pytest.raises(TypeError, match=rf"abstract method '?{absent}'?"):
        type("Partial", (Source,), {name: None for name in answers if name != absent})()
