"""Files of qwen3.c's: read strictly, and computed by `mirror` with qwen3.c's bits."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from helpers.models import same_bits
from helpers.qwen3c import qwen3c_config, qwen3c_configs, qwen3c_file, replay
from hypothesis import given
from hypothesis import strategies as st

import exporter
import reader_c
from verify.testing import random_arrays

FIELDS = (
    *("magic", "version", "dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len"),
    *("head_dim", "shared_classifier", "group_size"),
)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("ajc1") / "model.bin"
    return qwen3c_file(path, qwen3c_config(), group_size=8).read_bytes()


def opened(tmp_path: Path, content: bytes) -> reader_c.Model:
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    return reader_c.open(path)


def changed(content: bytes, **fields: int) -> bytes:
    made = bytearray(content)
    for field, value in fields.items():
        struct.pack_into("<i", made, 4 * FIELDS.index(field), value)
    return bytes(made)


@pytest.mark.slow
@given(
    qwen3c_configs(), st.booleans(), st.integers(1, 12), st.integers(0, 99), st.sampled_from([1.0, 0.3, 4.0, 30.0])
)
def test_mirror_has_the_bits_of_qwen3_c(
    model: exporter.ModelConfig, q8: bool, length: int, seed: int, loudness: float
) -> None:
    """Loud norms of queries make scores that softmax's 0 matters for."""
    arrays = random_arrays(model, seed)
    loud = {name: array * np.float32(loudness) if "q_norm" in name else array for name, array in arrays.items()}
    rng = np.random.default_rng(seed)
    tokens = [int(token) for token in rng.integers(0, model.vocab_size, min(length, model.max_seq_len))]
    with tempfile.TemporaryDirectory() as directory:
        path = qwen3c_file(Path(directory) / "model.bin", model, loud)
        with reader_c.open(path) as found:
            logits = found.forward(tokens, arithmetic="mirror", activations="q8" if q8 else "fp32")
            with np.errstate(all="ignore"):
                assert same_bits(logits, replay(found, tokens, q8=q8))
