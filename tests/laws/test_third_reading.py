"""Both roads against a third reading: what a source's own code makes of it, and the logits that this code computes.

Where that code fixes a meaning, both roads take it; where it fixes none, both refuse. The third reading of Hugging
Face directories is transformers: test_configs.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import checkpoints, meta, third_reading
from helpers.models import arrays, config
from helpers.third_reading import Reading, StopsError
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

import exporter
import verify
from verify.errors import CannotJudgeError
from verify.oracle import llama
from verify.sources import Source, open_source

pytestmark = pytest.mark.usefixtures("one_thread")

# the fixture concerns speed alone, so all draws may share it
_LAW = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
_ABSENT: Any = object()
# model.py has defaults for these, which are Llama 7B's: a checkpoint without them is one that somebody put together.
_ASKED_FOR = ("dim", "n_layers", "n_heads", "vocab_size", "max_seq_len")


def models(vocab_sizes: tuple[int, ...] = (3, 8), shards: int = 1) -> st.SearchStrategy[exporter.ModelConfig]:
    """Small ones whose sizes that many shards divide."""

    @st.composite
    def draw_model(draw: st.DrawFn) -> exporter.ModelConfig:
        kv = shards * draw(st.sampled_from([1, 2]))
        heads = kv * draw(st.sampled_from([1, 2, 3]))
        return exporter.ModelConfig(
            dim=heads * draw(st.sampled_from([2, 4])),
            hidden_dim=1,
            n_layers=draw(st.integers(1, 2)),
            n_heads=heads,
            n_kv_heads=kv,
            vocab_size=draw(st.sampled_from(vocab_sizes)),
            max_seq_len=draw(st.integers(6, 9)),
            tied=draw(st.booleans()),
            norm_eps=draw(st.sampled_from([1e-5, 1e-6, 0.125])),
        )

    return draw_model()


def some(values: dict[str, tuple[Any, ...]]) -> st.SearchStrategy[dict[str, Any]]:
    """One value for each key, or no such key."""
    drawn = st.fixed_dictionaries({key: st.sampled_from(each) for key, each in values.items()})
    return drawn.map(lambda found: {key: value for key, value in found.items() if value is not _ABSENT})


def both(path: Path, **options: Any) -> Source | tuple[str, str]:
    """What both roads read, which must be the same, or why both refuse."""
    refusals, config, source = [], None, None
    try:
        config = exporter.open_checkpoint(path, **options).config
    except exporter.CheckpointError as error:
        refusals.append(str(error))
    try:
        source = open_source(path, **options)
    except CannotJudgeError as error:
        refusals.append(str(error))
    assert len(refusals) in (0, 2), (refusals, config, source and source.hyperparameters)
    if source is None or config is None:
        return refusals[0], refusals[1]
    assert dataclasses.asdict(config) == dataclasses.asdict(source.hyperparameters)
    return source


def check_logits(source: Source, expected: Reading) -> None:
    hyper = source.hyperparameters
    assert (hyper.hidden_dim, hyper.n_kv_heads) == (expected.hidden_dim, expected.n_kv_heads)
    tokens = [token % hyper.vocab_size for token in (1, 2, 0, 7, 2, 5)]
    found = llama.logits(hyper, source.tensor, torch.tensor([tokens]))[0].numpy()
    logits = expected.logits(tokens)
    assert np.abs(found - logits).max() <= 1e-9 * np.abs(logits).max()


# ---- llama2.c ----

_LLAMA2C_SILENCE = some(
    {
        "multiple_of": (_ABSENT, 1, 3, 16, 256),
        "hidden_dim": (_ABSENT, None, "said"),
        "norm_eps": (_ABSENT, "said"),
        "n_kv_heads": (_ABSENT, None, "said"),
        "dropout": (_ABSENT, 0.0),
        "max_seq_len": ("said", "said", "said", _ABSENT),
        "vocab_size": ("said", "said", "said", _ABSENT),
    }
)


@_LAW
@given(models(), _LLAMA2C_SILENCE, st.sampled_from([None, True, False]), st.integers(0, 99))
@example(exporter.ModelConfig(8, 1, 1, 2, 2, 8, 8, tied=False), {"multiple_of": 3, "max_seq_len": "said"}, None, 0)
@example(exporter.ModelConfig(8, 1, 1, 2, 2, 8, 8, tied=True), {"hidden_dim": None, "vocab_size": "said"}, None, 0)
def test_a_pt_means_what_model_py_makes_of_it(
    model: exporter.ModelConfig, silence: dict[str, Any], asked: bool | None, seed: int
) -> None:
    multiple = silence.get("multiple_of", 256)
    model = dataclasses.replace(model, hidden_dim=third_reading.hidden_dim(model.dim, multiple))
    mine = arrays(model, seed)
    state = {name: torch.from_numpy(array) for name, array in mine.items()}
    state.setdefault("output.weight", state["tok_embeddings.weight"])
    arguments = {key: getattr(model, key) for key in ("dim", "n_layers", "n_heads")} | {
        key: getattr(model, key) if value == "said" else value for key, value in silence.items()
    }
    with tempfile.TemporaryDirectory() as directory:
        path = checkpoints.save(Path(directory), state, arguments)
        found = both(path, tied=asked)
        try:
            expected = third_reading.of_llama2c(arguments, state)
        except StopsError:
            expected = None
        if isinstance(found, tuple):
            event("refused")
            asks = expected is None or not arguments.keys() >= set(_ASKED_FOR)
            opposed = (asked is None and not model.tied) or (asked is False and model.tied)
            assert asks or opposed, found
        elif asked is False:
            event("untied")
            check_logits(found, dataclasses.replace(_present(expected), tensors=_apart(state)))
        else:
            event("as model.py")
            check_logits(found, _present(expected))


def _present(reading: Reading | None) -> Reading:
    assert reading is not None
    return reading


def _apart(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """What a program without ties reads."""
    return {name: tensor.double().numpy() for name, tensor in state.items()}


@pytest.mark.parametrize("order", [1, -1])
def test_pytorch_loads_the_classifier_last_whatever_the_order(order: int) -> None:
    """Why --tied takes output.weight: load_state_dict goes by the modules, not by the file."""
    state = checkpoints.untied_state_dict()
    state = dict(list(state.items())[::order])
    assert torch.equal(third_reading.loaded_by_model_py(state), state["output.weight"])
    assert not torch.equal(state["output.weight"], state["tok_embeddings.weight"])


@pytest.mark.parametrize("format_name", ["v0", "v1-fp32", "v2"])
def test_the_file_that_upstreams_exporter_writes_passes_with_the_option_that_says_so(
    tmp_path: Path, format_name: str
) -> None:
    """It writes one matrix, which it finds equal to itself, and the flag of a shared classifier."""
    state = checkpoints.untied_state_dict()
    source = checkpoints.save(tmp_path, state)
    model = config(tied=True)
    loaded = {name: tensor.numpy() for name, tensor in state.items() if name != "output.weight"}
    loaded["tok_embeddings.weight"] = third_reading.loaded_by_model_py(state).numpy()
    theirs = tmp_path / "theirs.bin"
    exporter.export(exporter.Checkpoint.from_arrays(model, loaded), theirs, format=format_name, group_size=8)
    with pytest.raises(CannotJudgeError, match="found two that differ: say --tied"):
        verify.verify(source, theirs, depth="quick")
    report = verify.verify(source, theirs, depth="quick", tied=True)
    assert report.passed
    assert any(note.startswith("--tied: ") for note in report.source["notes"])
    untied = verify.verify(source, theirs, depth="quick", tied=False)
    assert [check.name for check in untied.checks if check.status == "fail"] == ["config"]
    ours = tmp_path / "ours.bin"
    exporter.export(exporter.open_checkpoint(source, tied=True), ours, format=format_name, group_size=8)
    assert ours.read_bytes() == theirs.read_bytes()


# ---- Meta ----

_META_SILENCE = some(
    {
        "multiple_of": (_ABSENT, 4, 16, 256),
        "ffn_dim_multiplier": (_ABSENT, _ABSENT, 1.3, 0.4, 2),
        "norm_eps": (_ABSENT, "said"),
        "n_kv_heads": (_ABSENT, "said", "said"),
        "vocab_size": (_ABSENT, -1, "said"),
        "rope_theta": (_ABSENT, _ABSENT, 10000.0, 500000, 7.25),
        "use_scaled_rope": (_ABSENT, False, True),
        "rope_high_freq_factor": (_ABSENT, _ABSENT, 4),
        "max_batch_size": (_ABSENT, 32),
    }
)
# The tokens that the tokenizer of each generation has, without which its code does not run.
_TOKENS = {2: 32000, 3: 128256}


def readings(params: dict[str, Any], whole: dict[str, torch.Tensor]) -> list[Reading]:
    """By each generation of Meta's code that reads these keys; of two, by the one whose vocabulary it is."""
    found = {}
    for generation in _TOKENS:
        with contextlib.suppress(StopsError):
            found[generation] = third_reading.of_meta(params, whole, generation)
    rows = whole["tok_embeddings.weight"].shape[0]
    own = [generation for generation in found if _TOKENS[generation] == rows]
    return [found[generation] for generation in (own if len(found) == 2 and own else found)]


def check_params(model: exporter.ModelConfig, silence: dict[str, Any], shards: int, axis: int, seed: int) -> str:
    """Both roads read params.json as the only code that reads it, or both ask for theta. Returns which. axis: along
    which embeddings are cut."""
    hidden = third_reading.hidden_dim(model.dim, silence.get("multiple_of", 256), silence.get("ffn_dim_multiplier"))
    mine = arrays(dataclasses.replace(model, hidden_dim=hidden), seed)
    params = {key: getattr(model, key) for key in ("dim", "n_layers", "n_heads")} | {
        key: getattr(model, key) if value == "said" else value for key, value in silence.items()
    }
    whole = {name: torch.from_numpy(array) for name, array in mine.items()}
    whole.setdefault("output.weight", whole["tok_embeddings.weight"])
    factor = 8.0 if params.get("use_scaled_rope") else None
    with tempfile.TemporaryDirectory() as directory:
        path = meta.save(Path(directory) / "source", meta.shards(mine, shards, embedding_axis=axis), params)
        refused = both(path)
        assert isinstance(refused, tuple)  # no length is said
        found = both(path, max_seq_len=8, rope_scaling_factor=factor)
        expected = readings(params, whole)
        if isinstance(found, tuple):
            doubtful = len({reading.theta for reading in expected}) != 1
            assert doubtful, found
            assert not expected or all("--rope-theta X" in refusal for refusal in found)
            return "refused"
        assert len({(reading.theta, reading.factor) for reading in expected}) == 1
        check_logits(found, expected[0])
        return f"theta {expected[0].theta:g}, factor {expected[0].factor:g}"


@pytest.mark.parametrize("shards", [1, 2])
@_LAW
@given(st.data(), _META_SILENCE, st.sampled_from([0, 1]), st.integers(0, 99))
def test_a_params_json_means_what_metas_code_makes_of_it(
    shards: int, data: st.DataObject, silence: dict[str, Any], axis: int, seed: int
) -> None:
    event(check_params(data.draw(models((8, 8, 32000, 128256), shards)), silence, shards, axis, seed))


@pytest.mark.parametrize("vocab_size", [8, 32000, 128256])
@pytest.mark.parametrize("key", [{}, {"use_scaled_rope": False}, {"use_scaled_rope": True}], ids=str)
def test_a_silent_theta_is_that_of_the_only_code_that_reads_the_file(key: dict[str, Any], vocab_size: int) -> None:
    model = exporter.ModelConfig(8, 1, 1, 2, 2, vocab_size, 8, tied=False)
    check_params(model, {**key, "multiple_of": 4}, 1, 0, 0)
