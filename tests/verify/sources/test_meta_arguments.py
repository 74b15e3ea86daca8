"""What the verifier takes from params.json of Meta's directories, and what the user has to say instead."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import meta
from helpers.models import arrays

from verify.errors import CannotJudgeError
from verify.sources import Hyperparameters, RopeScaling, open_source
from verify.sources.meta_params import MetaParams
from verify.sources.options import NO_OPTIONS

META_SCALING = RopeScaling("llama3", 8.0, 8192, 1.0, 4.0)


def _written(directory: Path, rows: int = 32, /, **changes: object) -> Path:
    """One shard; 32000 rows of an embedding are what Llama 1 and 2 have."""
    model = dataclasses.replace(meta.MODEL, vocab_size=rows)
    return meta.write(directory, arrays(model), model, **changes)


@pytest.mark.parametrize(
    ("said", "hidden_dim"),
    [
        ({"multiple_of": 256}, 11008),  # 7B
        ({}, 11008),  # by the rule's own multiple
        ({"multiple_of": 1024, "ffn_dim_multiplier": 1.3}, 14336),  # 3 8B
        ({"multiple_of": 256, "ffn_dim_multiplier": 1.0}, 11008),  # Code Llama 7B
        ({"multiple_of": 1}, 10922),  # of 10922.7
        ({"multiple_of": 1, "ffn_dim_multiplier": 1.3}, 14198),  # of 14198.6, not 14199.5
    ],
)
def test_hidden_dim_is_that_of_published_models(tmp_path: Path, said: dict[str, object], hidden_dim: int) -> None:
    params = MetaParams(tmp_path / "params.json", {"dim": 4096, "n_layers": 2, "n_heads": 32, **said}, NO_OPTIONS)
    numbers = Hyperparameters(4096, hidden_dim, 2, 32, 32, 128, 7, 64, False, 1e-5, 10000.0)
    params.hold_against(numbers)
    with pytest.raises(CannotJudgeError, match=f"hidden width of {hidden_dim + 1}, .*found {hidden_dim}$"):
        params.hold_against(dataclasses.replace(numbers, hidden_dim=hidden_dim + 1))


def test_what_params_json_leaves_out(tmp_path: Path) -> None:
    source = open_source(_written(tmp_path, 32000, norm_eps=None, rope_theta=None, vocab_size=-1, max_batch_size=32))
    found = source.hyperparameters
    assert (found.norm_eps, found.rope_theta, found.vocab_size) == (1e-5, 10000.0, 32000)
    assert found.rope_scaling == RopeScaling()
    assert source.notes == (
        "params.json: no rope_theta; the code of Llama 1 and 2 has 10000 (a vocabulary of 32000)",
    )
    scaled = open_source(_written(tmp_path, rope_theta=None, use_scaled_rope=True), rope_scaling_factor=8)
    assert scaled.hyperparameters.rope_theta == 500000.0
    assert scaled.notes == ("params.json: no rope_theta; the code of Llama 3 has 500000 (the key use_scaled_rope)",)


@pytest.mark.parametrize(
    ("said", "vocab_size", "theta", "reason"),
    [
        ({}, 32000, 10000.0, "Llama 1 and 2 has 10000 (a vocabulary of 32000)"),
        ({}, 128256, 500000.0, "Llama 3 has 500000 (a vocabulary of 128256)"),
        *(
            ({key: value}, size, 500000.0, f"Llama 3 has 500000 (the key {key})")
            for key, value in (("use_scaled_rope", False), ("use_scaled_rope", True), ("rope_high_freq_factor", 4))
            for size in (32000, 128256, 32)
        ),
        *(({}, size, None, "found none: say it by --rope-theta X") for size in (31999, 32001, 128255, 128257)),
    ],
)
def test_theta_is_that_of_the_code_which_the_keys_or_the_vocabulary_tell(
    said: dict[str, Any], vocab_size: int, theta: float | None, reason: str
) -> None:
    params = MetaParams(Path("params.json"), said, NO_OPTIONS)
    if theta is None:
        with pytest.raises(CannotJudgeError, match=reason):
            params.rope_theta(vocab_size)
    else:
        assert params.rope_theta(vocab_size) == theta
        assert params.notes == [f"params.json: no rope_theta; the code of {reason}"]


def test_the_upper_factor_beside_a_given_one_is_asked_for(tmp_path: Path) -> None:
    """Only the code of Llama 4 reads rope_scaling_factor, and its default is not Llama 3's."""
    asks = (
        "params.json: rope_high_freq_factor: expected a number beside rope_scaling_factor, found none: only the code "
        "of Llama 4 reads rope_scaling_factor, and has 1 here; that of Llama 3 has 4: write it into params.json"
    )
    with pytest.raises(CannotJudgeError, match=rf"{re.escape(asks)}$"):
        open_source(_written(tmp_path, use_scaled_rope=True, rope_scaling_factor=8))
    unused = open_source(_written(tmp_path, use_scaled_rope=False, rope_scaling_factor=8))
    assert unused.hyperparameters.rope_scaling == RopeScaling()


@pytest.mark.parametrize("count", [1, 2])
def test_a_classifier_that_is_absent_is_asked_for(tmp_path: Path, count: int) -> None:
    states = meta.shards(arrays(meta.MODEL), count)
    for state in states:
        del state["output.weight"]
    meta.save(tmp_path, states, meta.params(meta.MODEL))
    for tied in (None, False):
        with pytest.raises(CannotJudgeError) as caught:
            open_source(tmp_path, tied=tied)
        assert str(caught.value) == (
            f"{tmp_path}/consolidated.00.pth: output.weight: expected a tensor, because Meta's code never ties it, "
            "found none: say --tied (tied=True in Python) to read tok_embeddings.weight in both places"
        )
    source = open_source(tmp_path, tied=True)
    assert source.hyperparameters.tied
    assert torch.equal(source.tensor("output.weight"), source.tensor("tok_embeddings.weight"))
    assert source.notes == ("--tied: output.weight is absent; tok_embeddings.weight was read in both places",)


@pytest.mark.parametrize("equal", [True, False])
def test_an_option_that_contradicts_the_tensors_is_refused(tmp_path: Path, *, equal: bool) -> None:
    meta.write(tmp_path, arrays(dataclasses.replace(meta.MODEL, tied=equal)), meta.MODEL, 2)
    assert open_source(tmp_path, tied=equal).hyperparameters.tied == equal
    option, expected, found = ("untied", "different", "equal") if equal else ("tied", "equal", "different")
    message = f"--{option}: expected {expected} tok_embeddings.weight and output.weight, found {found} ones"
    with pytest.raises(CannotJudgeError, match=rf"{message}$"):
        open_source(tmp_path, tied=not equal)


def test_a_theta_that_nothing_fixes_is_asked_for(tmp_path: Path) -> None:
    _written(tmp_path, rope_theta=None)
    asks = (
        r"params\.json: rope_theta: expected a number, found none: say it by --rope-theta X \(rope_theta= in Python\)"
        "; the code of Llama 1 and 2 has 10000, that of Llama 3 has 500000$"
    )
    with pytest.raises(CannotJudgeError, match=asks):
        open_source(tmp_path)
    assert open_source(tmp_path, rope_theta=7e4).hyperparameters.rope_theta == 7e4
    with pytest.raises(CannotJudgeError, match=r"^--rope-theta: expected a positive finite number, found nan$"):
        open_source(tmp_path, rope_theta=float("nan"))
    _written(tmp_path, rope_theta=5e5)
    assert open_source(tmp_path, rope_theta=5e5).hyperparameters.rope_theta == 5e5
    with pytest.raises(CannotJudgeError, match=r"rope_theta: expected 70000, as --rope-theta says, found 500000\.0"):
        open_source(tmp_path, rope_theta=7e4)


def test_a_scaled_rope_without_a_factor_asks_for_it(tmp_path: Path) -> None:
    _written(tmp_path, use_scaled_rope=True)
    asks = (
        r"params\.json: rope_scaling_factor: expected a number beside use_scaled_rope, found none: say it by "
        r"--rope-scaling-factor X \(rope_scaling_factor= in Python\): 8 for Llama 3\.1 and 3\.3, 32 for Llama 3\.2$"
    )
    with pytest.raises(CannotJudgeError, match=asks):
        open_source(tmp_path)
    for factor in (8, 32.0):
        scaling = open_source(tmp_path, rope_scaling_factor=factor).hyperparameters.rope_scaling
        assert scaling == dataclasses.replace(META_SCALING, factor=float(factor))
    said = {"use_scaled_rope": True, "rope_scaling_factor": 32, "rope_high_freq_factor": 2.5}
    changed = dataclasses.replace(META_SCALING, factor=32.0, high_freq_factor=2.5)
    assert open_source(_written(tmp_path, **said), rope_scaling_factor=32).hyperparameters.rope_scaling == changed
    with pytest.raises(CannotJudgeError, match=r"expected 8, as --rope-scaling-factor says, found 32\.0"):
        open_source(tmp_path, rope_scaling_factor=8)
    _written(tmp_path, **{**said, "use_scaled_rope": None})
    assert open_source(tmp_path).hyperparameters.rope_scaling == RopeScaling()
    with pytest.raises(CannotJudgeError, match="use_scaled_rope: expected true, for --rope-scaling-f"):
        open_source(tmp_path, rope_scaling_factor=8)
