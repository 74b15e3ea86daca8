"""Inputs on which float32 does badly, and how much of a bound they use."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import strategies as st

from helpers.float32 import F, Row
from verify.operations.bounds import utilisation

KINDS = ("normal", "wide", "cancelling", "stagnant", "stagnant lanes", "equal", "subnormal")


def pair_of_rows(kind: str, terms: int, exponent: int, seed: int) -> tuple[Row, Row]:
    """Two rows whose products are hard to sum. exponent: of two, of the size of the first row."""
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, terms))
    if kind == "wide":
        a, b = np.exp(rng.uniform(math.log(1e-22), math.log(1e3), (2, terms))) * np.sign((a, b))
    elif kind == "cancelling":
        half = terms // 2
        a[half : 2 * half], b[half : 2 * half] = a[:half], -b[:half] * (1 + 2.0**-23 * rng.integers(0, 3))
    elif kind.startswith("stagnant"):
        # the first, or the first of each index lane, is so large that one of the others added to it is lost
        a, b = np.ones(terms), np.full(terms, 2.0**-24)
        b[: 16 if kind == "stagnant lanes" else 1] = 1
    elif kind == "equal":
        a, b = np.full((2, terms), rng.uniform(0.5, 1, (2, 1)))
    elif kind == "subnormal":
        a, b = a * 2.0**-74, b * 2.0**-74
    return (a * (1 if kind in ("wide", "subnormal") else 2.0**exponent)).astype(F), b.astype(F)


def pairs_of_rows(most: int = 400) -> st.SearchStrategy[tuple[Row, Row]]:
    exponents, seeds = st.integers(-73, 10), st.integers(0, 2**32 - 1)
    return st.builds(pair_of_rows, st.sampled_from(KINDS), st.integers(1, most), exponents, seeds)


def exact_dot(a: Row, b: Row) -> float:
    """Correctly rounded to float64, in which the products are exact."""
    return math.fsum((a.astype(np.float64) * b.astype(np.float64)).tolist())


def doubles(values: object) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, np.float64))


def use(out: object, exact: object, bound: torch.Tensor) -> float:
    """Largest share of its bound that an error takes."""
    return float(utilisation((doubles(out) - doubles(exact)).abs(), bound).max())


def in_bfloat16(values: Row) -> Row:
    """One rounding too many."""
    narrowed: Row = torch.from_numpy(np.array(values, F)).bfloat16().float().numpy()
    return narrowed
