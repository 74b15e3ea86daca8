"""The options of a pass: words that C knows by number, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.models import toy_file
from reader_c._reader import lib

import reader_c
from reader_c.options import c_options


def test_each_word_becomes_c_s_number() -> None:
    found = c_options("a file", "q8", "mirror", "file", "scalar")
    assert (found.activations, found.arithmetic, found.rope, found.path) == (
        lib.RC_ACTIVATIONS_Q8,
        lib.RC_MIRROR,
        lib.RC_ROPE_FROM_FILE,
        lib.RC_PATH_SCALAR,
    )


def test_scalar_is_everywhere_and_the_best_path_is_one_of_them() -> None:
    assert "scalar" in reader_c.paths()
    assert "best" not in reader_c.paths()
    assert reader_c.best_path() in reader_c.paths()


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (("q4", "fast", "file", "best"), "activations: expected fp32 or q8, found 'q4'"),
        (("q8", "exact", "file", "best"), "arithmetic: expected mirror or fast, found 'exact'"),
        (("q8", "fast", "", "best"), "rope: expected computed or file, found ''"),
        (("q8", "fast", "file", "sse"), "path: expected best or scalar or avx2 or avx512 or neon, found 'sse'"),
    ],
)
def test_an_unknown_word_is_refused_by_its_option(chosen: tuple[str, str, str, str], message: str) -> None:
    with pytest.raises(reader_c.ArgumentError) as caught:
        c_options("a file", *chosen)
    assert str(caught.value) == f"a file: {message}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activations": "q4"}, "activations: expected fp32 or q8, found 'q4'"),
        ({"arithmetic": "exact"}, "arithmetic: expected mirror or fast, found 'exact'"),
        ({"rope": "none"}, "rope: expected computed or file, found 'none'"),
    ],
)
def test_unknown_options_are_refused(tmp_path: Path, options: dict[str, str], message: str) -> None:
    with reader_c.open(toy_file(tmp_path, "v2")) as model, pytest.raises(reader_c.ArgumentError, match=message):
        model.forward([1], **options)  # type: ignore[arg-type]
