"""The handle: what the header says, bytes that outlive it, and tokens as C takes them."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest
from helpers.models import BIN_FORMATS, toy_file

import reader_c
from reader_c.handle import Handle


@pytest.mark.parametrize("format_name", BIN_FORMATS)
def test_it_has_what_the_header_says(tmp_path: Path, format_name: str) -> None:
    path = toy_file(tmp_path, format_name)
    with Handle(path, mapped=None) as handle:
        assert (handle.path, handle.format, handle.mapped) == (str(path), format_name, False)
        assert handle.file_size == path.stat().st_size
        assert (handle.config.dim, handle.config.vocab_size) == (48, 29)
        assert handle.alignment == (64 if format_name == "v3" else 0)
        assert handle._read(0, handle.file_size) == path.read_bytes()


@pytest.mark.parametrize("mapped", [False, True])
def test_bytes_outlive_the_handle_and_are_read_only(tmp_path: Path, mapped: bool) -> None:
    path = toy_file(tmp_path, "v0")
    handle = Handle(path, mapped=mapped)
    assert handle.mapped == mapped
    content = handle._read(28, 100)
    handle.close()
    handle.close()
    del handle
    gc.collect()
    assert content == path.read_bytes()[28:128]
    assert content.readonly


def test_a_closed_handle_refuses_every_use(tmp_path: Path) -> None:
    handle = Handle(toy_file(tmp_path, "v0"), mapped=None)
    handle.close()
    for use in (handle._open_pointer, lambda: handle._read(0, 1)):
        with pytest.raises(reader_c.ClosedError) as caught:
            use()
        assert str(caught.value) == f"{handle.path}: model: expected an open model, found a closed one"


def test_a_file_beyond_half_of_the_memory_is_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = toy_file(tmp_path, "v0")
    pages = -(-path.stat().st_size // 4096)
    for memory, mapped in ((2 * pages, False), (2 * pages - 2, True)):
        values = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": memory}
        monkeypatch.setattr(os, "sysconf", values.__getitem__)
        with Handle(path, mapped=None) as handle:
            assert handle.mapped == mapped


def test_tokens_are_copied_before_c_reads_them(tmp_path: Path) -> None:
    with reader_c.open(toy_file(tmp_path, "v0")) as model:
        mine = np.arange(5, dtype=np.int32)
        assert not np.shares_memory(model._token_array(mine), mine)


@pytest.mark.parametrize("tokens", [[1, 2], (1, 2), np.array([1, 2], ">i8"), np.array([9, 1, 9, 2])[1::2]])
def test_tokens_of_any_integer_type_are_taken(tmp_path: Path, tokens: object) -> None:
    with reader_c.open(toy_file(tmp_path, "v0")) as model:
        found = model._token_array(tokens)  # type: ignore[arg-type]
    assert (found.tolist(), found.dtype, found.flags.c_contiguous) == ([1, 2], np.int32, True)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], "number of tokens: expected at least 1, found 0"),
        ([[1]], "tokens: expected one dimension, found 2"),
        ([1.0], "tokens: expected integers, found float64"),
        ([1, -1], "token at 1: expected 0 to 28, found -1"),
        ([1, 2, 29, 30], "token at 2: expected 0 to 28, found 29"),
        (np.array([2**32], np.int64), f"token at 0: expected 0 to 28, found {2**32}"),
    ],
)
def test_other_tokens_are_refused_with_the_first_index(tmp_path: Path, tokens: object, message: str) -> None:
    with reader_c.open(toy_file(tmp_path, "v0")) as model, pytest.raises(reader_c.ArgumentError) as caught:
        model._token_array(tokens)  # type: ignore[arg-type]
    assert str(caught.value) == f"{model.path}: {message}"
