"""The options of a forward pass, by name and by C's number."""

from __future__ import annotations

from typing import Any, Literal

from reader_c import errors
from reader_c._reader import ffi, lib

Activations = Literal["fp32", "q8"]
Arithmetic = Literal["mirror", "fast"]
Rope = Literal["computed", "file"]
Path = Literal["best", "scalar", "avx2", "avx512", "neon"]

_ACTIVATIONS = {"fp32": lib.RC_ACTIVATIONS_FP32, "q8": lib.RC_ACTIVATIONS_Q8}
_ARITHMETICS = {"mirror": lib.RC_MIRROR, "fast": lib.RC_FAST}
_ROPES = {"computed": lib.RC_ROPE_COMPUTED, "file": lib.RC_ROPE_FROM_FILE}
_PATHS = {
    "best": lib.RC_PATH_BEST,
    "scalar": lib.RC_PATH_SCALAR,
    "avx2": lib.RC_PATH_AVX2,
    "avx512": lib.RC_PATH_AVX512,
    "neon": lib.RC_PATH_NEON,
}


def paths() -> tuple[str, ...]:
    """List the instruction sets with which this machine can compute "fast": their speeds differ, not their bits.

    Returns:
        Their names, as `path=` takes them.
    """
    return tuple(name for name, path in _PATHS.items() if path != lib.RC_PATH_BEST and lib.rc_path_is_here(path))


def best_path() -> str:
    """Name the instruction set that "best" stands for.

    Returns:
        The fastest of paths().
    """
    return next(name for name, path in _PATHS.items() if path == lib.rc_path_best())


def c_options(file: str, activations: str, arithmetic: str, rope: str, path: str) -> Any:
    """Return C's rc_options. file: for messages. Raises ArgumentError for an unknown word."""
    chosen = (
        _choose(file, "activations", _ACTIVATIONS, activations),
        _choose(file, "arithmetic", _ARITHMETICS, arithmetic),
        _choose(file, "rope", _ROPES, rope),
        _choose(file, "path", _PATHS, path),
    )
    return ffi.new("rc_options *", chosen)


def _choose(file: str, option: str, choices: dict[str, int], value: str) -> int:
    if value not in choices:
        raise errors.ArgumentError(file, option, None, " or ".join(choices), repr(value))
    return choices[value]
