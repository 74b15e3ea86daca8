"""Count the bits: random models to full length, upstream's run.c against the C reader's mirror arithmetic.

make conformance
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from helpers import upstream
from helpers.models import arrays

import exporter
import reader_c


def random_config(rng: np.random.Generator) -> exporter.ModelConfig:
    """Without grouped queries, which that engine does not know."""
    heads = int(rng.integers(1, 9))
    return exporter.ModelConfig(
        dim=heads * 2 * int(rng.integers(1, 25)),
        hidden_dim=int(rng.integers(1, 600)),
        n_layers=int(rng.integers(1, 7)),
        n_heads=heads,
        n_kv_heads=heads,
        vocab_size=int(rng.integers(1, 1000)),
        max_seq_len=int(rng.integers(1, 257)),
        tied=bool(rng.integers(2)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=300)
    models = parser.parse_args().models
    tokens_in_all = logits_in_all = differences = 0
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.bin"
        for seed in range(models):
            rng = np.random.default_rng(seed)
            config = random_config(rng)
            source = exporter.Checkpoint.from_arrays(config, arrays(config, seed))
            exporter.export(source, path, format="v0", overwrite=True)
            tokens = rng.integers(0, config.vocab_size, config.max_seq_len).tolist()
            theirs = upstream.forward(path, tokens)
            with reader_c.open(path) as model:
                ours = model.forward(tokens, arithmetic="mirror", rope="file")
            tokens_in_all += len(tokens)
            logits_in_all += ours.size
            differences += int(np.count_nonzero(theirs.view(np.int32) != ours.view(np.int32)))
    print(f"{models} models, {tokens_in_all:,} tokens, {logits_in_all:,} logits: {differences} differ")


if __name__ == "__main__":
    main()
