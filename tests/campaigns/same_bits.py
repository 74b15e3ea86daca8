"""`fast` gives the same bits however it is computed: every path, number of threads and size of batch.

    make same-bits SOURCE           some ten minutes; SOURCE: a Hugging Face directory

The model is taken as float32 and as Q8_0, with float and with int8 activations. What one token at a time costs is why
small batches get fewer tokens.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from helpers.models import checkpoint
from record import Row, finish, options
from rich.progress import track

import exporter
import reader_c

THREADS = (1, 2, 3, 8)
# tokens a call: tokens in all
BATCHES = {1: 24, 2: 48, 7: 96, 64: 256, 512: 512}


@dataclass
class Count:
    compared: int = 0
    differ: int = 0

    def add(self, found: np.ndarray, expected: np.ndarray) -> None:
        self.compared += expected.size
        self.differ += int(np.count_nonzero(found.view("u4") != expected.view("u4")))

    def row(self, what: str) -> Row:
        return Row(what, self.compared, f"{self.differ} differ", self.differ)


def in_batches(
    model: reader_c.Model,
    tokens: np.ndarray,
    batch: int,
    threads: int,
    path: reader_c.Path,
    kind: reader_c.Activations,
) -> np.ndarray:
    with model.session(len(tokens), threads) as session:
        parts = np.split(tokens, range(batch, len(tokens), batch))
        return np.concatenate([session.forward(part, activations=kind, path=path) for part in parts])


def of_a_model(file: Path, kind: reader_c.Activations) -> Row:
    count = Count()
    with reader_c.open(file) as model:
        tokens = np.random.default_rng(0).integers(0, model.config.vocab_size, max(BATCHES.values()))
        expected = model.forward(tokens, activations=kind, path="scalar")
        work = [(path, batch, threads) for path in reader_c.paths() for batch in BATCHES for threads in THREADS]
        for path, batch, threads in track(work, description=f"{file.stem}, {kind} activations"):
            own = tokens[: BATCHES[batch]]
            count.add(in_batches(model, own, batch, threads, path, kind), expected[: len(own)])
    return count.row(
        f"logits of {file.stem}, {kind} activations: each path, threads 1 2 3 8, batches of 1 2 7 64 512"
    )


def random_configs(models: int) -> Iterator[exporter.ModelConfig]:
    for seed in range(models):
        rng = np.random.default_rng(seed)
        kv = int(rng.integers(1, 4))
        heads, size = kv * int(rng.integers(1, 4)), 2 * int(rng.integers(1, 40))
        yield exporter.ModelConfig(
            dim=heads * size,
            hidden_dim=int(rng.integers(1, 300)),
            n_layers=int(rng.integers(1, 4)),
            n_heads=heads,
            n_kv_heads=kv,
            vocab_size=int(rng.integers(1, 600)),
            max_seq_len=int(rng.integers(1, 100)),
            tied=bool(rng.integers(2)),
        )


def of_random_models(models: int, directory: Path) -> Row:
    count = Count()
    for seed, config in enumerate(track(random_configs(models), description="random models", total=models)):
        rng = np.random.default_rng(seed)
        out = directory / "random.bin"
        exporter.export(checkpoint(config, seed), out, format="v3", storage="q8_0", overwrite=True)
        tokens = rng.integers(0, config.vocab_size, config.max_seq_len)
        with reader_c.open(out) as model:
            for kind in ("fp32", "q8"):
                expected = model.forward(tokens, activations=kind, path="scalar", threads=1)
                for path in reader_c.paths():
                    batch, threads = int(rng.integers(1, 65)), int(rng.integers(1, 9))
                    count.add(in_batches(model, tokens, batch, threads, path, kind), expected)
    return count.row(f"logits of {models} random models, Q8_0, both kinds of activations, each path, random batches")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--models", type=int, default=1000)
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as room:
        directory = Path(room)
        source = exporter.open_checkpoint(given.source)
        fp32, q8 = directory / "SmolLM2 float32.bin", directory / "SmolLM2 Q8_0.bin"
        exporter.export(source, fp32, format="v3", storage="fp32")
        exporter.export(source, q8, format="v3", storage="q8_0")
        rows = [of_random_models(given.models, directory)]
        rows += [of_a_model(fp32, "fp32"), of_a_model(q8, "fp32"), of_a_model(q8, "q8")]
    finish("same bits", rows, began, trial=given.trial)


if __name__ == "__main__":
    main()
