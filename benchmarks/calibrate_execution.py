"""How often does `execution` blame a healthy engine? Random healthy models, judged, and the worst logit of each.

    make calibrate

The limit is only as good as the noise it is told in; this measures both tails: healthy
exports that come near it, and how far beyond it the smallest seeded mistake lies.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import torch

import exporter
import reader_c
from verify.checks.execution import LIMIT_SIGMAS, Execution
from verify.oracle import llama
from verify.oracle.logit_sigma import logit_sigma
from verify.sources import Hyperparameters


def random_config(rng: np.random.Generator) -> exporter.ModelConfig:
    kv_heads, ratio, half = int(rng.integers(1, 5)), int(rng.integers(1, 5)), int(rng.integers(2, 17))
    return exporter.ModelConfig(
        dim=kv_heads * ratio * 2 * half,
        hidden_dim=int(rng.integers(16, 600)),
        n_layers=int(rng.integers(1, 9)),
        n_heads=kv_heads * ratio,
        n_kv_heads=kv_heads,
        vocab_size=int(rng.integers(16, 600)),
        max_seq_len=int(rng.integers(16, 257)),
        tied=bool(rng.integers(2)),
    )


def judge(seed: int, directory: Path) -> tuple[float, float, int]:
    """Worst standard deviations of the healthy engine, those of eps 1e-6 for 1e-5, and logits compared."""
    rng = np.random.default_rng(seed)
    config = random_config(rng)
    gain = float(np.exp(rng.uniform(-1, 1)))
    arrays = {
        name: (
            1 + 0.2 * rng.standard_normal(shape)
            if len(shape) == 1
            else gain * rng.standard_normal(shape) / np.sqrt(shape[1])
        ).astype(np.float32)
        for name, shape in exporter.config.tensor_shapes(config).items()
    }
    path = directory / "model.bin"
    exporter.export(exporter.Checkpoint.from_arrays(config, arrays), path, format="v1-fp32", overwrite=True)
    hyper = Hyperparameters(**{f.name: getattr(config, f.name) for f in dataclasses.fields(Hyperparameters)})
    weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
    tokens = torch.from_numpy(rng.integers(0, config.vocab_size, (2, config.max_seq_len)))
    clean = llama.logits(hyper, weights.__getitem__, tokens)
    wrong = llama.logits(dataclasses.replace(hyper, norm_eps=1e-6), weights.__getitem__, tokens)
    sigma = logit_sigma(hyper, weights.__getitem__, tokens, seed)
    healthy, mistaken = Execution(), Execution()
    with reader_c.open(path) as model:
        for row in range(len(tokens)):
            engine = model.forward(tokens[row].numpy(), arithmetic="mirror")
            healthy.add(row, clean[row].numpy(), sigma[row].numpy(), engine)
            mistaken.add(row, clean[row].numpy(), sigma[row].numpy(), wrong[row].numpy().astype(np.float32))
    observed = [e.verdict("mirror").observed or 0.0 for e in (healthy, mistaken)]
    return observed[0], observed[1], clean.numel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        results = np.array([judge(arguments.seed + i, Path(directory)) for i in range(arguments.models)])
    healthy, mistaken = results[:, 0], results[:, 1]
    logits = int(results[:, 2].sum())
    print(f"{len(results)} healthy models, {logits:,} logits; limit {LIMIT_SIGMAS:g} standard deviations")
    quantiles = ", ".join(f"{q:.0%} {np.quantile(healthy, q):.2f}" for q in (0.5, 0.9, 0.99))
    print(f"worst logit of a healthy model: {quantiles}, largest {healthy.max():.2f}")
    print(f"false alarms: {int((healthy > LIMIT_SIGMAS).sum())}")
    caught = (mistaken > LIMIT_SIGMAS).mean()
    print(f"eps 1e-6 for 1e-5: caught in {caught:.1%}, least {mistaken.min():.0f}, median {np.median(mistaken):.0f}")


if __name__ == "__main__":
    main()
