"""The functions of `fast`, called by themselves."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np

from reader_c import _reader

F = np.float32
LIBRARY = ctypes.CDLL(_reader.__file__)
LIBRARY.rc_fast_path.restype = ctypes.c_void_p
LIBRARY.rc_pow_fast.restype = ctypes.c_float

# What e^x may be off, in units of the last place, tanh, and every function of RoPE's.
POWER_ULPS = 0.94
TANH_ULPS = 2.5
TURN_ULPS = 0.5001


def _function(path: str, place: int, number: float) -> Callable[[np.ndarray], np.ndarray]:
    """A function of an array and a number, by its place in the table of rc_fast."""
    path_number = {"scalar": 1, "avx2": 2, "avx512": 3, "neon": 4}[path]
    table = ctypes.cast(LIBRARY.rc_fast_path(path_number), ctypes.POINTER(ctypes.c_void_p))
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_float)(table[place])

    def run(x: np.ndarray) -> np.ndarray:
        out = x.copy()
        function(out.ctypes.data, len(out), number)
        return out

    return run


def powers(path: str) -> Callable[[np.ndarray], np.ndarray]:
    """e^x of a path."""
    return _function(path, 6, 0.0)


def tangents(path: str) -> Callable[[np.ndarray], np.ndarray]:
    """tanh x of a path, as a cap of 1."""
    return _function(path, 11, 1.0)


def wrong_tangents(x: np.ndarray, found: np.ndarray) -> int:
    """How many of `found` are not tanh x within TANH_ULPS, or have not its sign: NaN of NaN alone."""
    with np.errstate(invalid="ignore"):
        exact = np.tanh(x.astype(np.float64))
        off = np.abs(found - exact) > TANH_ULPS * np.spacing(np.maximum(np.abs(exact).astype(F), F(2.0**-126)))
    signs = (np.signbit(found) != np.signbit(x)) & ~np.isnan(x)
    return int(np.count_nonzero(off | signs) + np.count_nonzero(np.isnan(found) != np.isnan(x)))


def wrong_powers(x: np.ndarray, found: np.ndarray) -> int:
    """How many of `found` are not e^x within POWER_ULPS: NaN of NaN alone, infinite where the nearest float is."""
    # signalling NaN among them
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        exact = np.exp(x.astype(np.float64))
        rounded = exact.astype(F)
        ulp = np.spacing(np.maximum(rounded, F(2.0**-126)))
        off = np.abs(found - exact) > POWER_ULPS * ulp
    finite, infinite = np.isfinite(rounded), np.isinf(rounded)
    return int(
        np.count_nonzero(off & finite)
        + np.count_nonzero((found != np.inf) & infinite)
        + np.count_nonzero(np.isnan(found) != np.isnan(x))
    )
