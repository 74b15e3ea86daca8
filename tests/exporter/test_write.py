"""export(): whole files or none, nothing the format cannot hold, nothing of the caller's changed."""

from __future__ import annotations

import dataclasses
import hashlib
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.models import BIN_FORMATS, LEGACY_FORMATS, arrays, checkpoint, config, same_bits, toy_file
from helpers.v3_files import SCALINGS

import exporter


@pytest.mark.parametrize("format_name", BIN_FORMATS)
def test_the_summary_tells_what_is_on_disk(tmp_path: Path, format_name: str) -> None:
    out = tmp_path / "a model.bin"
    seen: list[tuple[int, int]] = []
    summary = exporter.export(
        checkpoint(), out, format=format_name, group_size=8, progress=lambda done, total: seen.append((done, total))
    )
    content = out.read_bytes()
    assert summary.bytes == len(content)
    assert summary.sha256 == hashlib.sha256(content).hexdigest()
    assert seen[-1] == (len(content), len(content))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    # v3's head and padding depend on the model
    overhead = {"v0": 28, "v3": len(content) - sum(t.bytes for t in summary.tensors)}.get(format_name, 256)
    assert sum(t.bytes for t in summary.tensors) == len(content) - overhead
    assert all(t.max_abs_error <= t.bound for t in summary.tensors)
    assert [p.name for p in tmp_path.iterdir()] == ["a model.bin"]


@pytest.mark.parametrize("format_name", BIN_FORMATS)
def test_a_second_export_of_the_same_object_is_the_same_file(tmp_path: Path, format_name: str) -> None:
    """llama2.c's exporter negates vocab_size in the model it is given: its second export is broken."""
    source = checkpoint()
    before = dataclasses.replace(source.config)
    first = exporter.export(source, tmp_path / "first", format=format_name, group_size=8)
    second = exporter.export(source, tmp_path / "second", format=format_name, group_size=8)
    assert first.sha256 == second.sha256
    assert source.config == before


def test_the_callers_arrays_are_never_changed(tmp_path: Path) -> None:
    mine, kept = arrays(config()), arrays(config())
    for format_name in BIN_FORMATS:
        source = exporter.Checkpoint.from_arrays(config(), mine)
        exporter.export(source, tmp_path / format_name, format=format_name, group_size=8)
    assert all(same_bits(mine[name], kept[name]) for name in kept)
    assert all(array.flags.writeable for array in mine.values())


@pytest.mark.parametrize(("requested", "used"), [(64, 8), (8, 8), (7, 4), (1, 1), (10**9, 8)])
def test_group_size_backs_off_to_what_divides_every_row(tmp_path: Path, requested: int, used: int) -> None:
    # dim 48, hidden_dim 40: 16 divides one and not the other
    summary = exporter.export(checkpoint(), tmp_path / "out", format="v2", group_size=requested)
    assert (summary.group_size, summary.requested_group_size) == (used, requested)


def test_an_exact_group_size_is_refused_rather_than_changed(tmp_path: Path) -> None:
    with pytest.raises(
        exporter.FormatError,
        match=r"a divisor of dim = 48 and of hidden_dim = 40, found 16; the largest that fits is 8$",
    ):
        exporter.export(checkpoint(), tmp_path / "out", format="v2", group_size=16, exact_group_size=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format_name", [*BIN_FORMATS, "hf"])
@pytest.mark.parametrize("group_size", [0, -1, True, 2.0])
def test_a_group_size_that_is_no_count_is_refused(tmp_path: Path, group_size: int, format_name: str) -> None:
    with pytest.raises(exporter.FormatError, match="group_size: expected a positive integer"):
        exporter.export(checkpoint(), tmp_path / "out", format=format_name, group_size=group_size)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format_name", LEGACY_FORMATS)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope_theta": 500000.0}, "rope_theta: expected 10000, .* found 500000: .* v3 has"),
        ({"norm_eps": 1e-6}, "norm_eps: expected 1e-05, .* found 1e-06: .* v3 has"),
        ({"norm_eps": 1.000001e-5}, "norm_eps: expected 1e-05, .* found 1.000001e-05: .* v3 has"),
        ({"rope_scaling": SCALINGS["yarn"]}, "rope_scaling: expected none, .* found yarn: .* v3 has"),
        ({"head_dim": 10}, "head_dim: expected 8, .* found 10: .* v3 has"),
        ({"qkv_bias": True}, "qkv_bias: expected false, .* found true: .* v3 has"),
        ({"wo_bias": True}, "wo_bias: expected false, .* found true: .* v3 has"),
        ({"mlp_bias": True}, "mlp_bias: expected false, .* found true: .* v3 has"),
        ({"activation": "gelu"}, "activation: expected silu, .* found gelu: .* v3 has"),
    ],
)
def test_what_the_format_cannot_express_is_refused_by_name_and_v3_holds_it(
    tmp_path: Path, format_name: str, changes: dict[str, object], message: str
) -> None:
    source = checkpoint(config(**changes))
    with pytest.raises(exporter.FormatError, match=message):
        exporter.export(source, tmp_path / "out", format=format_name)
    assert not list(tmp_path.iterdir())
    exporter.export(source, tmp_path / "out", format="v3")
    assert exporter.open_checkpoint(tmp_path / "out").config == source.config


def test_norm_eps_is_compared_as_float32(tmp_path: Path) -> None:
    exporter.export(checkpoint(config(norm_eps=9.999999747378752e-06)), tmp_path / "out", format="v0")


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        exporter.FormatError, match="format: expected one of v0, v1, v1-fp32, v2, v3, ajc1, hf, found 'v9'"
    ):
        exporter.export(checkpoint(), tmp_path / "out", format="v9")


@pytest.mark.parametrize("length", [0, -3, 34])
def test_max_seq_len_only_shortens(tmp_path: Path, length: int) -> None:
    with pytest.raises(exporter.FormatError, match="max_seq_len: expected 1 to the model's own 33"):
        exporter.export(checkpoint(), tmp_path / "out", format="v0", max_seq_len=length)


@pytest.mark.parametrize("format_name", BIN_FORMATS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_is_refused_with_tensor_and_index(
    tmp_path: Path, format_name: str, bad: float
) -> None:
    mine = arrays(config())
    mine["layers.1.feed_forward.w2.weight"][7, 11] = bad
    source = exporter.Checkpoint.from_arrays(config(), mine)
    with pytest.raises(
        exporter.WeightError, match=r"layers\.1\.feed_forward\.w2\.weight: \[7, 11\]: expected a finite"
    ):
        exporter.export(source, tmp_path / "out", format=format_name, group_size=8)
    assert not list(tmp_path.iterdir())


def test_an_existing_file_stays_unless_overwriting_is_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(b"precious")
    with pytest.raises(
        exporter.WriteError,
        match=r"expected nothing there, found a file: add --overwrite \(in Python: overwrite=True\) to replace it$",
    ):
        exporter.export(checkpoint(), out, format="v0")
    assert out.read_bytes() == b"precious"
    exporter.export(checkpoint(), out, format="v0", overwrite=True)
    assert out.stat().st_size > 1000


class InterruptedExportError(Exception):
    pass


@pytest.mark.parametrize("error", [InterruptedExportError, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("at", ["tok_embeddings.weight", "layers.1.attention.wo.weight", "output.weight"])
def test_a_failure_in_the_middle_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException], at: str
) -> None:
    source = checkpoint()
    load = source.load

    def failing(name: str) -> np.ndarray:
        if name == at:
            raise error
        return load(name)

    source.load = failing  # type: ignore[method-assign]
    out = tmp_path / "out"
    out.write_bytes(b"the last release")
    with pytest.raises(error):
        exporter.export(source, out, format="v1", group_size=8, overwrite=True)
    assert out.read_bytes() == b"the last release"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def _directory(path: Path) -> None:
    path.mkdir()


def _fifo(path: Path) -> None:
    import os

    os.mkfifo(path)


@pytest.mark.parametrize("make", [_directory, _fifo])
def test_what_is_no_regular_file_is_never_replaced(tmp_path: Path, make: Callable[[Path], None]) -> None:
    out = tmp_path / "out"
    make(out)
    kind = stat.S_IFMT(out.stat().st_mode)
    with pytest.raises(
        exporter.WriteError,
        match=r"expected a regular file or nothing, found (a directory: give a path inside|something that is no)",
    ):
        exporter.export(checkpoint(), out, format="v0", overwrite=True)
    assert stat.S_IFMT(out.stat().st_mode) == kind


def test_a_link_is_followed(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    link.symlink_to(real)
    exporter.export(checkpoint(), link, format="v0", overwrite=True)
    assert link.is_symlink()
    assert real.stat().st_size > 1000


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        exporter.WriteError, match=r"expected a directory at .*/no, found none: create it with `mkdir -p "
    ):
        exporter.export(checkpoint(), tmp_path / "no" / "out", format="v0")


def test_a_full_disk_is_an_error_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import os

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = toy_file(tmp_path, "v0")
    before = out.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(exporter.WriteError, match="cannot be written: no space left on device"):
        exporter.export(checkpoint(seed=1), out, format="v0", overwrite=True)
    assert out.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [out.name]
