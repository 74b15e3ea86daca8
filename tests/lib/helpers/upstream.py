"""llama2.c's own run.c, as PyPI's llamac2py compiles it, driven through ctypes.

That version reads v0 weights, takes RoPE from the file's tables, and knows no grouped-query attention.
"""

from __future__ import annotations

import ctypes
import importlib.util
import struct
from pathlib import Path

import numpy as np

_SHAPE = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len")
_STATE = ("x", "xb", "xb2", "hb", "hb2", "q", "k", "v", "att", "logits", "key_cache", "value_cache")


class _Config(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in _SHAPE]


class _RunState(ctypes.Structure):
    _fields_ = [(name, ctypes.POINTER(ctypes.c_float)) for name in _STATE]


def _library() -> ctypes.CDLL:
    # find_spec, because the package's module is no Python extension: it cannot be imported
    spec = importlib.util.find_spec("llamac2py")
    assert spec is not None
    assert spec.origin is not None
    (path,) = Path(spec.origin).parent.glob("_c_module*.so")
    return ctypes.CDLL(str(path))


def forward(path: Path, tokens: list[int]) -> np.ndarray:
    """Logits (len(tokens), vocab_size) that upstream's transformer() computes from a v0 file."""
    library = _library()
    content = path.read_bytes()
    shape = list(struct.unpack_from("<7i", content))
    shared, shape[5] = shape[5] > 0, abs(shape[5])
    config, state = _Config(*shape), _RunState()
    payload = ctypes.create_string_buffer(content[28:])
    weights = ctypes.create_string_buffer(32 * ctypes.sizeof(ctypes.c_void_p))
    library.checkpoint_init_weights(weights, ctypes.byref(config), payload, int(shared))
    library.malloc_run_state(ctypes.byref(state), ctypes.byref(config))
    logits = np.empty((len(tokens), config.vocab_size), np.float32)
    for position, token in enumerate(tokens):
        library.transformer(token, position, ctypes.byref(config), ctypes.byref(state), weights)
        logits[position] = np.ctypeslib.as_array(state.logits, (config.vocab_size,))
    library.free_run_state(ctypes.byref(state))
    return logits
