"""Golden vectors: what a correct engine computes from a file, for tests that need neither the source nor Python."""

from __future__ import annotations

from importlib.resources import files

from verify.vectors.asserting import assert_vectors
from verify.vectors.checking import Checked, Deviation, check_engine, check_logits, read_vectors, saved_logits
from verify.vectors.golden import GoldenVectors, WindowVectors, as_json, encode
from verify.vectors.making import Made, make_vectors

__all__ = [
    "Checked",
    "Deviation",
    "GoldenVectors",
    "Made",
    "WindowVectors",
    "as_json",
    "assert_vectors",
    "check_engine",
    "check_logits",
    "checker_source",
    "encode",
    "make_vectors",
    "read_vectors",
    "saved_logits",
]


def checker_source() -> str:
    """Return the checker in C, which needs neither Python nor this package."""
    return files("verify.vectors").joinpath("check_vectors.c").read_text()
