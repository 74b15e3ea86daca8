"""verify.testing: what it draws, what its assertion says, and by which road it judges."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import arrays, config, same_bits
from helpers.reports import LIMITING_POLICY
from hypothesis import find, given, settings
from hypothesis import strategies as st

import exporter
import exporter.payload
import verify
from exporter.encode import Encoded
from exporter.encode import encode as encode_rightly
from verify.demo import CHECKPOINT
from verify.testing import assert_roundtrip, checkpoints, configs, source_of, token_windows, weights

EVERYTHING = checkpoints(
    configs(least_positions=2, head_sizes=True, scalings=True, biases=True, activations=True, numbers=True)
)
# Each draw is a whole verdict.
FEW = settings(max_examples=max(8, settings().max_examples // 3))
QUIETLY = settings(database=None, max_examples=2000, deadline=None)


@pytest.mark.slow
@FEW
@given(checkpoints(), st.sampled_from(["v0", "v1-fp32", "v3"]))
def test_a_drawn_model_survives_what_loses_nothing(checkpoint: exporter.Checkpoint, format_name: str) -> None:
    report = assert_roundtrip(checkpoint, format=format_name)
    assert report.to_json()
    assert report.source["kind"] == "memory"


@pytest.mark.slow
@FEW
@given(EVERYTHING)
def test_a_drawn_model_of_any_kind_survives_v3(checkpoint: exporter.Checkpoint) -> None:
    assert_roundtrip(checkpoint)


@pytest.mark.parametrize("part", ["attention.wv", "attention.wo", "feed_forward.w2", "output", "norm"])
def test_numbers_below_float32s_normal_ones_are_no_failure(part: str) -> None:
    """What is lost there is no share of a number, and a square of it is nothing at all."""
    model = config()
    mine = arrays(model)
    for name in mine:
        if part in name:
            mine[name] *= np.float32(2.0**-130)
    assert_roundtrip(exporter.Checkpoint.from_arrays(model, mine))


def test_a_path_is_judged_by_the_verifiers_own_reading_of_it() -> None:
    report = assert_roundtrip(CHECKPOINT, format="v2", group_size=32)
    assert report.passed
    assert (report.source["kind"], report.file["format"]) == ("llama2c", "v2")


def test_what_the_exporter_read_from_a_file_is_no_source() -> None:
    with pytest.raises(verify.CannotJudgeError, match="expected the source's path") as caught:
        assert_roundtrip(exporter.open_checkpoint(CHECKPOINT))
    assert "\n" not in str(caught.value)


def wrongly(change: Callable[[np.ndarray], np.ndarray]) -> Callable[..., Encoded]:
    """An encoder that changes the first layer's wq."""

    def encode(values: np.ndarray, storage: str, group_size: int, where: str, *progress: Any) -> Encoded:
        wrong = change(values.copy()) if where.endswith("layers.0.attention.wq.weight") else values
        return encode_rightly(wrong, storage, group_size, where, *progress)

    return encode


def test_a_broken_export_is_refused_with_the_place_and_the_likely_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = exporter.Checkpoint.from_arrays(config(), arrays(config()))
    assert_roundtrip(checkpoint)
    monkeypatch.setattr(exporter.payload, "encode", wrongly(lambda values: np.flip(values, 0).copy()))
    with pytest.raises(AssertionError) as caught:
        assert_roundtrip(checkpoint)
    message = str(caught.value)
    assert "tensors: layers.0.attention.wq.weight" in message
    assert "tensor layers.0.attention.wq.weight, part fp32, index [0, 0]" in message
    assert "\nmost likely: layers.0.attention.wq.weight " in message


def test_the_smallest_broken_model_is_what_hypothesis_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake with the order of heads needs two of them, and nothing else."""

    def is_refused(checkpoint: exporter.Checkpoint) -> bool:
        monkeypatch.setattr(
            exporter.payload, "encode", wrongly(lambda values: np.roll(values, checkpoint.config.head_dim, 0))
        )
        try:
            assert_roundtrip(checkpoint)
        except AssertionError:
            return True
        return False

    found = find(checkpoints(), is_refused, settings=QUIETLY).config
    assert (found.dim, found.hidden_dim, found.n_layers, found.n_heads, found.n_kv_heads) == (4, 1, 1, 2, 1)
    assert (found.max_seq_len, found.vocab_size) == (2, 1)


def test_a_policy_of_ones_own_decides(tmp_path: Path) -> None:
    strict = tmp_path / "strict.toml"
    strict.write_text(LIMITING_POLICY.read_text().replace("kl_mean = 0.03", "kl_mean = 1e-9"))
    with pytest.raises(AssertionError, match="\nquantization: kl_mean"):
        assert_roundtrip(CHECKPOINT, format="v2", policy=strict)


def has_group(wanted: Callable[[np.ndarray], np.ndarray]) -> Callable[[exporter.Checkpoint], bool]:
    """Whether two neighbours in a matrix's row are so."""

    def check(checkpoint: exporter.Checkpoint) -> bool:
        for name in checkpoint.names:
            values = np.abs(checkpoint.load(name))
            if values.ndim == 2 and values.shape[1] > 1 and (wanted(values[:, :-1]) & wanted(values[:, 1:])).any():
                return True
        return False

    return check


def has_outlier(checkpoint: exporter.Checkpoint) -> bool:
    for name in checkpoint.names:
        values = np.abs(checkpoint.load(name))
        if values.ndim == 2 and values.shape[1] >= 4:
            ratio = values.max(axis=1) > 200 * np.sort(values, axis=1)[:, -2]
            if (ratio & (values.min(axis=1) > 0)).any():
                return True
    return False


@pytest.mark.parametrize(
    "awkward",
    [
        lambda c: c.config.n_heads == 3 * c.config.n_kv_heads > 3,
        lambda c: c.config.hidden_dim == 37,
        lambda c: c.config.tied and c.config.vocab_size > 1,
        lambda c: not c.config.tied,
        lambda c: c.config.head_dim == 10,
        lambda c: c.dtype("norm.weight") == "fp16",
        lambda c: c.dtype("norm.weight") == "bf16",
        has_group(lambda values: values == 0),
        has_group(lambda values: (values > 0) & (values < 2.0**-126)),
        has_outlier,
    ],
)
def test_checkpoints_reach_the_awkward_ones(awkward: Callable[[exporter.Checkpoint], bool]) -> None:
    find(checkpoints(), awkward, settings=QUIETLY)


def test_checkpoints_shrink_to_the_smallest_model() -> None:
    smallest = find(checkpoints(), lambda _: True, settings=QUIETLY)
    model = smallest.config
    assert (model.dim, model.hidden_dim, model.n_layers, model.n_heads, model.n_kv_heads) == (2, 1, 1, 1, 1)
    assert (model.vocab_size, model.max_seq_len, model.tied) == (1, 2, False)
    assert {smallest.dtype(name) for name in smallest.names} == {"fp32"}


@given(weights(4))
def test_weights_are_finite_rows_of_whole_groups(drawn: np.ndarray) -> None:
    assert drawn.dtype == np.float32
    assert drawn.shape[1] % 4 == 0
    assert np.isfinite(drawn).all()


@pytest.mark.slow
@FEW
@given(EVERYTHING, st.data())
def test_token_windows_are_what_verify_takes(checkpoint: exporter.Checkpoint, data: st.DataObject) -> None:
    windows = data.draw(token_windows(checkpoint.config))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.bin"
        exporter.export(checkpoint, path, format="v3", provenance=False)
        report = verify.verify(source_of(checkpoint), path, windows=windows)
    assert report.passed, report.reason


def test_a_model_of_one_position_has_no_windows() -> None:
    with pytest.raises(ValueError, match="max_seq_len: expected at least 2, to have a next token, found 1"):
        find(token_windows(config(max_seq_len=1)), lambda _: True, settings=QUIETLY)


@given(EVERYTHING)
def test_a_source_in_memory_holds_the_very_bits_and_lends_none(checkpoint: exporter.Checkpoint) -> None:
    source = source_of(checkpoint)
    said: dict[str, Any] = vars(source.hyperparameters)
    assert {name: said[name] for name in vars(checkpoint.config) if name != "rope_scaling"} == {
        name: value for name, value in vars(checkpoint.config).items() if name != "rope_scaling"
    }
    assert vars(said["rope_scaling"]) == vars(checkpoint.config.rope_scaling)
    assert source.hyperparameters.shapes() == {name: checkpoint.shape(name) for name in checkpoint.names}
    for name in checkpoint.names:
        source.tensor(name).fill_(7)
        assert same_bits(source.tensor(name).numpy(), checkpoint.load(name))


def test_without_hypothesis_one_line_says_what_to_install() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import verify.testing"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.splitlines()[-1] == (
        "ImportError: hypothesis: required for verify.testing and could not be imported: "
        "pip install 'export-and-verify[testing]'"
    )
