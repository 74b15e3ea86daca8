"""Directories appear whole or not at all, whatever fails, and replace nothing that is not theirs."""

from __future__ import annotations

import errno
import os
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.hf_exports import loaded
from helpers.models import arrays, checkpoint, config

import exporter
from exporter.config import tensor_shapes
from exporter.disk.atomic import atomic_directory, atomic_file


class InterruptedExportError(Exception):
    pass


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_has_its_name_when_the_block_ends_and_not_before(tmp_path: Path, overwrite: bool) -> None:
    target = tmp_path / "out"
    if overwrite:
        target.write_bytes(b"old")
    with atomic_file(target, overwrite=overwrite) as file:
        file.write(b"new")
        assert target.exists() == overwrite
    assert target.read_bytes() == b"new"
    with pytest.raises(InterruptedExportError), atomic_file(target, overwrite=True) as file:
        file.write(b"half")
        raise InterruptedExportError
    assert target.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_that_appears_meanwhile_is_kept_without_overwrite(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(exporter.WriteError) as caught, atomic_file(target, overwrite=False):
        target.write_bytes(b"another process's")
    assert str(caught.value) == f"{target}: cannot be written: file exists"
    assert target.read_bytes() == b"another process's"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_directory_that_appears_meanwhile_is_kept_without_overwrite(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(exporter.WriteError) as caught, atomic_directory(target, overwrite=False) as directory:
        (directory / "file").touch()
        target.mkdir()
        (target / "theirs").touch()
    assert str(caught.value) == f"{target}: cannot be written: directory not empty"
    assert [path.name for path in target.iterdir()] == ["theirs"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def old_directory(out: Path) -> dict[str, bytes]:
    out.mkdir()
    (out / "config.json").write_text("{}")
    (out / "model.safetensors").write_bytes(b"the last release")
    (out / "tokenizer.json").write_text("its tokenizer")
    return contents(out)


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_an_existing_directory_stays_unless_overwriting_is_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = old_directory(out)
    with pytest.raises(exporter.WriteError, match=r"found a directory: add --overwrite \(in Python: over"):
        exporter.export(checkpoint(), out, format="hf")
    assert contents(out) == before
    exporter.export(checkpoint(), out, format="hf", overwrite=True)
    assert sorted(contents(out)) == ["config.json", "model.safetensors"]
    loaded(out)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_empty_directory_is_overwritten_and_a_link_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    exporter.export(checkpoint(), tmp_path / "link", format="hf", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert sorted(contents(tmp_path / "real")) == ["config.json", "model.safetensors"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "real"]


def test_what_is_no_exported_directory_is_never_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def refused(message: str) -> None:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(exporter.WriteError, match=message):
            exporter.export(checkpoint(), out, format="hf", overwrite=True)
        assert sorted(tmp_path.rglob("*")) == before

    out.write_text("a file")
    refused("OUT: expected a directory or nothing, found a file: choose another path$")
    out.unlink()
    os.mkfifo(out)
    refused("OUT: expected a directory or nothing, found something that is no directory: choose another path$")
    out.unlink()
    out.mkdir()
    (out / "thesis.tex").write_text("the only copy")
    refused("expected an empty directory or one with a config.json to overwrite, found neither; choose another path$")
    (out / "config.json").write_text("{}")
    (out / ".git").mkdir()
    refused(r"expected no directories in the directory to overwrite, found \.git; choose another path$")


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        exporter.WriteError, match=r"expected a directory at .*/no, found none: create it with `mkdir -p "
    ):
        exporter.export(checkpoint(), tmp_path / "no" / "out", format="hf")


@pytest.mark.parametrize("through", ["file", "link", "tokenizer"])
@pytest.mark.parametrize("target", ["source", "."])
def test_the_sources_own_directory_is_refused(tmp_path: Path, through: str, target: str) -> None:
    """Itself, the one around it, and one whose files are links to elsewhere, as in the hub's cache."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"weights")
    root = tmp_path / "root"
    directory = root / "source"
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    file = directory / "file"
    if through == "link":
        file.symlink_to(elsewhere)
    else:
        file.write_bytes(b"weights")
    if target == ".":
        (root / "config.json").write_text("{}")
        # links to a directory are not directories, so that only the source protects the one around it
        directory = directory.rename(tmp_path / "moved")
        (root / "source").symlink_to(directory)
        file = root / "source" / "file"
    files = {"files": (file,)} if through != "tokenizer" else {"tokenizer": file}
    source = exporter.Checkpoint(
        config(), tensor_shapes(config()), arrays(config()).__getitem__, where="", kind="", **files
    )
    with pytest.raises(
        exporter.WriteError,
        match=r"expected a directory other than the source's, found .*file in it; choose another path$",
    ):
        exporter.export(source, root / target, format="hf", overwrite=True)
    assert file.read_bytes() == b"weights"


def test_a_directory_that_the_sources_links_point_into_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = old_directory(out)
    link = tmp_path / "link"
    link.symlink_to(out / "model.safetensors")
    source = exporter.Checkpoint(
        config(), tensor_shapes(config()), arrays(config()).__getitem__, where="", kind="", files=(link,)
    )
    with pytest.raises(exporter.WriteError, match=r"found .*out/model\.safetensors in it; choose another path$"):
        exporter.export(source, out, format="hf", overwrite=True)
    assert contents(out) == before


@pytest.mark.parametrize("error", [InterruptedExportError, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("at", ["tok_embeddings.weight", "layers.1.attention.wo.weight", "output.weight"])
@pytest.mark.parametrize("existing", [False, True])
def test_a_failure_in_the_middle_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, error: type[BaseException], at: str, existing: bool
) -> None:
    source = checkpoint()
    load = source.load

    def failing(name: str) -> np.ndarray:
        if name == at:
            raise error
        return load(name)

    source.load = failing  # type: ignore[method-assign]
    out = tmp_path / "out"
    before = old_directory(out) if existing else {}
    with pytest.raises(error):
        exporter.export(source, out, format="hf", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["out"] * existing
    assert not existing or contents(out) == before


@pytest.mark.parametrize("call", range(1, 7))
@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
def test_a_failure_at_any_sync_or_rename_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, existing: bool, error: BaseException | type
) -> None:
    """Each of the calls that make the directory appear fails once, having done its work: as where an interrupt
    comes before the next line."""
    calls = 0

    def failing(does: Any) -> Any:
        def replacement(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            result = does(*arguments)
            if calls == call:
                raise error
            return result

        return replacement

    out = tmp_path / "out"
    before = old_directory(out) if existing else {}
    # config.json, model.safetensors, the directory, what was there set aside, the rename, the directory above
    last = 6 if existing else 5
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing(os.fsync))
        patched.setattr(Path, "rename", failing(Path.rename))
        if call > last:
            exporter.export(checkpoint(), out, format="hf", overwrite=True)
        else:
            expected = KeyboardInterrupt if error is KeyboardInterrupt else exporter.WriteError
            with pytest.raises(expected):
                exporter.export(checkpoint(), out, format="hf", overwrite=True)
    assert calls >= min(call, last)
    if call > last:
        before = contents(out)
        loaded(out)
    assert [p.name for p in tmp_path.iterdir()] == ["out"] * bool(before)
    assert not before or contents(out) == before


@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_is_an_error_and_leaves_what_was_there(tmp_path: Path, existing: bool) -> None:
    """The limit on a file's size ends a write as a full disk does."""
    out = tmp_path / "out"
    before = old_directory(out) if existing else {}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        with pytest.raises(exporter.WriteError, match=r"out: cannot be written: file too large$"):
            exporter.export(checkpoint(), out, format="hf", overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert [p.name for p in tmp_path.iterdir()] == ["out"] * existing
    assert not existing or contents(out) == before


def test_an_interrupt_while_the_old_directory_is_removed_leaves_no_stray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    old_directory(out)
    unlink, calls = Path.unlink, 0

    def interrupted(path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        unlink(path)

    monkeypatch.setattr(Path, "unlink", interrupted)
    with pytest.raises(KeyboardInterrupt):
        exporter.export(checkpoint(), out, format="hf", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    loaded(out)
