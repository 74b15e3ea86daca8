"""llama2.c's own run.c, as PyPI's llamac2py compiles it, driven through ctypes.

That version reads v0 weights, takes RoPE from the file's tables, and knows no grouped-query attention.
"""

from __future__ import annotations

import ctypes
import importlib.util
import struct
from pathlib import Path
from typing import Self

import numpy as np

_SHAPE = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len")
_STATE = ("x", "xb", "xb2", "hb", "hb2", "q", "k", "v", "att", "logits", "key_cache", "value_cache")


class _Config(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in _SHAPE]


class _RunState(ctypes.Structure):
    _fields_ = [(name, ctypes.POINTER(ctypes.c_float)) for name in _STATE]


def library() -> ctypes.CDLL:
    """Every function of that run.c."""
    # find_spec, because the package's module is no Python extension: it cannot be imported
    spec = importlib.util.find_spec("llamac2py")
    assert spec is not None
    assert spec.origin is not None
    (path,) = Path(spec.origin).parent.glob("_c_module*.so")
    return ctypes.CDLL(str(path))


class Engine:
    """A v0 file in upstream's memory, fed token by token."""

    def __init__(self, path: Path) -> None:
        self._library = library()
        content = path.read_bytes()
        shape = list(struct.unpack_from("<7i", content))
        shared, shape[5] = shape[5] > 0, abs(shape[5])
        self._config, self._state = _Config(*shape), _RunState()
        self._payload = ctypes.create_string_buffer(content[28:])
        self._weights = ctypes.create_string_buffer(32 * ctypes.sizeof(ctypes.c_void_p))
        self._library.checkpoint_init_weights(self._weights, ctypes.byref(self._config), self._payload, int(shared))
        self._library.malloc_run_state(ctypes.byref(self._state), ctypes.byref(self._config))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._library.free_run_state(ctypes.byref(self._state))

    def step(self, token: int, position: int) -> np.ndarray:
        """Logits (vocab_size,) that upstream's transformer() computes after one more token."""
        config, state = ctypes.byref(self._config), ctypes.byref(self._state)
        self._library.transformer(token, position, config, state, self._weights)
        return np.ctypeslib.as_array(self._state.logits, (self._config.vocab_size,)).copy()


def forward(path: Path, tokens: list[int]) -> np.ndarray:
    """Logits (len(tokens), vocab_size) of upstream."""
    with Engine(path) as engine:
        return np.stack([engine.step(token, position) for position, token in enumerate(tokens)])
