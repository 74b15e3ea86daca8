"""Other people's engine as judge: llama2.c's run.c against the C reader in mirror arithmetic, bit for bit."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from helpers import upstream
from helpers.models import arrays, same_bits
from hypothesis import given
from hypothesis import strategies as st

import exporter
import reader_c
from verify.testing import configs


def run_both(config: exporter.ModelConfig, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of upstream and of the reader, on the file's own RoPE tables, over the full length."""
    tokens = np.random.default_rng(seed).integers(0, config.vocab_size, config.max_seq_len).tolist()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "out.bin"
        exporter.export(exporter.Checkpoint.from_arrays(config, arrays(config, seed)), path, format="v0")
        with reader_c.open(path) as model:
            return upstream.forward(path, tokens), model.forward(tokens, arithmetic="mirror", rope="file")


@given(configs(grouped_queries=False), st.integers(0, 2**32 - 1))
def test_mirror_has_upstreams_bits_on_random_models_to_full_length(config: exporter.ModelConfig, seed: int) -> None:
    theirs, ours = run_both(config, seed)
    assert same_bits(theirs, ours)


@pytest.mark.parametrize("tied", [True, False])
def test_mirror_has_upstreams_bits_on_a_model_of_real_proportions(tied: bool) -> None:
    """stories15M's shape but for its vocabulary: 288 wide, six layers, 256 positions."""
    config = exporter.ModelConfig(
        dim=288, hidden_dim=768, n_layers=6, n_heads=6, n_kv_heads=6, vocab_size=2000, max_seq_len=256, tied=tied
    )
    theirs, ours = run_both(config, seed=1)
    assert theirs.shape == (256, 2000)
    assert same_bits(theirs, ours)
