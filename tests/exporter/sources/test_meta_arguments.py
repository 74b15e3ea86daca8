"""What params.json of Meta's directories says and leaves out, and what the user has to say instead."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from helpers import meta
from helpers.models import arrays

import exporter
from exporter.sources.meta_params import params_config, theta
from exporter.sources.options import SourceOptions

META_SCALING = exporter.RopeScaling(
    "llama3", factor=8.0, original_max_positions=8192, low_freq_factor=1.0, high_freq_factor=4.0
)


@pytest.mark.parametrize(
    ("said", "hidden_dim"),
    [
        ({"dim": 4096, "multiple_of": 256}, 11008),  # 7B
        ({"dim": 5120, "multiple_of": 256}, 13824),  # 13B
        ({"dim": 6656}, 17920),  # 30B, by the rule's own multiple
        ({"dim": 8192, "multiple_of": 4096, "ffn_dim_multiplier": 1.3}, 28672),  # 70B
        ({"dim": 4096, "multiple_of": 1024, "ffn_dim_multiplier": 1.3}, 14336),  # 3 8B
        ({"dim": 2048, "multiple_of": 256, "ffn_dim_multiplier": 1.5}, 8192),  # 3.2 1B
        ({"dim": 128, "multiple_of": 1}, 341),  # of 341.3
        ({"dim": 4096, "multiple_of": 1, "ffn_dim_multiplier": 1.3}, 14198),  # of 14198.6, not 14199.5
    ],
)
def test_hidden_dim_is_that_of_published_models(said: dict[str, object], hidden_dim: int) -> None:
    options = SourceOptions(max_seq_len=64)
    made = params_config(Path("params.json"), {"n_heads": 32, "n_layers": 2, "norm_eps": 1e-5, **said}, options)
    assert made.hidden_dim == hidden_dim


def _opened(
    directory: Path, asked: int | None = None, options: dict[str, Any] | None = None, **changes: object
) -> exporter.ModelConfig:
    meta.write(directory, arrays(meta.MODEL), meta.MODEL, 2, **changes)
    return exporter.open_checkpoint(directory, max_seq_len=asked, **(options or {})).config


def test_what_params_json_leaves_out(tmp_path: Path) -> None:
    options = {"rope_theta": 12345}
    found = _opened(tmp_path, None, options, norm_eps=None, rope_theta=None, vocab_size=-1, max_batch_size=32)
    assert (found.norm_eps, found.rope_theta, found.vocab_size) == (1e-5, 12345.0, 32)
    assert found.rope_scaling == exporter.RopeScaling()


GIVEN = "params.json: rope_theta is not given:"


def test_theta_is_known_of_llama_2_and_of_scaled_rope_and_asked_for_otherwise() -> None:
    path = Path("params.json")
    assert theta(path, {}, None, 32000) == (
        10000.0,
        [f"{GIVEN} 10000, as in Meta's code for Llama 1 and 2, whose vocabulary this is"],
    )
    of_llama_3 = f"{GIVEN} 500000, as in Meta's code for Llama 3,"
    assert theta(path, {}, None, 128256) == (500000.0, [f"{of_llama_3} whose vocabulary this is"])
    # the code of Llama 1 and 2 stops at these keys, whatever they say
    for key, value in (("use_scaled_rope", True), ("use_scaled_rope", False), ("rope_high_freq_factor", 4)):
        for vocab_size in (32000, 128256, 32):
            found = theta(path, {key: value}, None, vocab_size)
            assert found == (500000.0, [f"{of_llama_3} which {key} is for"])
    assert theta(path, {"use_scaled_rope": True}, 7.0, 128256) == (7.0, [])
    assert theta(path, {"rope_theta": 5e5}, 500000, 32000) == (5e5, [])
    for said, asked, vocab_size, message in (
        (
            {},
            None,
            32016,
            "32016 tokens are neither Llama 1's and 2's 32000, whose code has 10000, nor Llama 3's 128256, whose "
            "code has 500000: --rope-theta X gives it$",
        ),
        *(({}, None, size, f"{size} tokens are neither ") for size in (31999, 32001, 128255, 128257)),
        ({"rope_theta": 5e5}, 1e4, 32000, "rope_theta: expected 500000 for --rope-theta, as here, found 10000.0$"),
        ({}, -1, 32000, "--rope-theta: expected a positive finite number, found -1"),
    ):
        with pytest.raises(exporter.CheckpointError, match=message):
            theta(path, said, asked, vocab_size)


def test_a_theta_that_nothing_says_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(exporter.CheckpointError, match=r"rope_theta: params\.json does not say it, and 32 tok"):
        _opened(tmp_path, rope_theta=None)


def test_a_scaling_factor_is_never_guessed(tmp_path: Path) -> None:
    message = (
        "rope_scaling_factor: params.json has use_scaled_rope and does not say it; Llama 3.1 and 3.3 have 8, Llama "
    )
    message += "3.2 has 32: --rope-scaling-factor X gives it$"
    with pytest.raises(exporter.CheckpointError, match=message):
        _opened(tmp_path, use_scaled_rope=True)
    found = _opened(tmp_path, None, {"rope_scaling_factor": 32}, use_scaled_rope=True)
    assert found.rope_scaling == dataclasses.replace(META_SCALING, factor=32.0)
    said = {"use_scaled_rope": True, "rope_scaling_factor": 8, "rope_high_freq_factor": 4}
    assert _opened(tmp_path, None, {"rope_scaling_factor": 8.0}, **said).rope_scaling == META_SCALING
    with pytest.raises(exporter.CheckpointError, match=r"expected 8 for --rope-scaling-factor, as here, found 32$"):
        _opened(tmp_path, None, {"rope_scaling_factor": 32}, **said)
    with pytest.raises(exporter.CheckpointError, match="use_scaled_rope: expected true for --rope-scaling-factor"):
        _opened(tmp_path, None, {"rope_scaling_factor": 32})


def test_scaled_rope_has_metas_constants_where_nothing_else_is_said(tmp_path: Path) -> None:
    eight = {"rope_scaling_factor": 8}
    assert _opened(tmp_path, None, eight, use_scaled_rope=True).rope_scaling == META_SCALING
    changed = _opened(tmp_path, use_scaled_rope=True, rope_scaling_factor=32, rope_high_freq_factor=2.5).rope_scaling
    assert (changed.factor, changed.high_freq_factor, changed.low_freq_factor) == (32.0, 2.5, 1.0)
    assert _opened(tmp_path, use_scaled_rope=False, rope_scaling_factor=32).rope_scaling.type == "none"


def test_the_upper_factor_beside_a_given_one_is_never_guessed(tmp_path: Path) -> None:
    """Meta's code for Llama 3 does not read rope_scaling_factor; that for Llama 4 does, and has another default."""
    message = (
        "rope_high_freq_factor: expected a number beside rope_scaling_factor, found none: Meta's code for Llama 3 "
        "has 4, but reads neither key, and that for Llama 4 has 1: add it to params.json"
    )
    with pytest.raises(exporter.CheckpointError, match=rf"params\.json: {re.escape(message)}$"):
        _opened(tmp_path, use_scaled_rope=True, rope_scaling_factor=8)
    assert _opened(tmp_path, use_scaled_rope=False, rope_scaling_factor=8).rope_scaling == exporter.RopeScaling()


def _without_classifier(directory: Path, count: int) -> Path:
    states = meta.shards(arrays(meta.MODEL), count)
    for state in states:
        del state["output.weight"]
    return meta.save(directory, states, meta.params(meta.MODEL))


@pytest.mark.parametrize("count", [1, 2])
def test_a_classifier_that_is_missing_is_asked_for(tmp_path: Path, count: int) -> None:
    path = _without_classifier(tmp_path, count)
    for tied in (None, False):
        with pytest.raises(exporter.CheckpointError) as caught:
            exporter.open_checkpoint(path, tied=tied)
        assert str(caught.value) == (
            f"{path}/consolidated.00.pth: missing output.weight, without which Meta's code computes nothing: --tied "
            "(tied=True in Python) reads tok_embeddings.weight in both places"
        )
    opened = exporter.open_checkpoint(path, tied=True)
    assert opened.config.tied
    assert "output.weight" not in opened.names
    assert opened.notes == ("output.weight is missing: --tied reads tok_embeddings.weight in both places",)


def test_the_user_cannot_tie_or_untie_what_the_tensors_say(tmp_path: Path) -> None:
    for equal, fitting in ((True, "tied"), (False, "untied")):
        whole = arrays(dataclasses.replace(meta.MODEL, tied=equal))
        path = meta.write(tmp_path, whole, meta.MODEL, 2)
        assert exporter.open_checkpoint(path, tied=fitting == "tied").config.tied == equal
        expected, option, found = ("other", "untied", "the same") if equal else ("the", "tied", "others")
        message = (
            f"output.weight: expected {expected} numbers than tok_embeddings.weight's for --{option}, found {found}"
        )
        with pytest.raises(exporter.CheckpointError, match=rf"{re.escape(message)}$"):
            exporter.open_checkpoint(path, tied=not equal)


def test_a_length_is_said_by_one_of_two_and_never_lengthened(tmp_path: Path) -> None:
    assert _opened(tmp_path).max_seq_len == 33
    assert [_opened(tmp_path, asked).max_seq_len for asked in (32, 33)] == [32, 33]
    assert _opened(tmp_path, 4096, max_seq_len=None).max_seq_len == 4096
    for asked, said, message in (
        (None, None, r"params\.json does not say it; --max-seq-len N \(max_seq_len= in Python\) gives it$"),
        (34, 33, "max_seq_len: expected at most 33, as .* says, found 34"),
        (0, None, "^max_seq_len: expected an integer from 1"),
    ):
        with pytest.raises(exporter.CheckpointError, match=message):
            _opened(tmp_path, asked, max_seq_len=said)
