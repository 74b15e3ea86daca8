"""How often does a verdict blame a healthy lossless file, and how far beyond the limit is a small mistake?

    make calibrate                  600 random models
    make calibrate SMOLLM2=DIR      and windows of SmolLM2-135M, from its Hugging Face directory

Each random model is exported to a lossless format and verified as a whole: no check may fail. Its worst logit is
shown in standard deviations of `execution`. The models have ties, near ties and large logits. Each window of SmolLM2
is judged as a verdict judges it, and so are transformers' logits by the verifier's own reference. How many draws of
noise that took is shown beside it.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from helpers.models import Arrays, arrays, hyperparameters

import exporter
import reader_c
import verify
from verify.checks.execution import LIMIT_SIGMAS, worst_logit
from verify.oracle import llama
from verify.oracle.logit_sigma import LogitNoise
from verify.run.compared_windows import ARITHMETICS
from verify.run.reference_logits import References
from verify.sources import open_source

FORMATS = ("v0", "v1-fp32", "v3")
KINDS = ("plain", "large logits", "small logits", "equal rows", "nearly equal rows", "zero layer")
SMOLLM2_WINDOW = 64


@dataclass
class Found:
    """What one healthy model shows: the checks that do not pass, its worst logit, and that of another epsilon."""

    failed: list[str]
    worst: float
    mistaken: float


def random_config(rng: np.random.Generator) -> exporter.ModelConfig:
    kv_heads, ratio, half = int(rng.integers(1, 5)), int(rng.integers(1, 5)), int(rng.integers(2, 17))
    return exporter.ModelConfig(
        dim=kv_heads * ratio * 2 * half,
        hidden_dim=int(rng.integers(16, 600)),
        n_layers=int(rng.integers(1, 9)),
        n_heads=kv_heads * ratio,
        n_kv_heads=kv_heads,
        vocab_size=int(rng.integers(2, 600)),
        max_seq_len=int(rng.integers(4, 257)),
        tied=bool(rng.integers(2)),
    )


def random_weights(model: exporter.ModelConfig, kind: str, rng: np.random.Generator, seed: int) -> Arrays:
    made = arrays(model, seed)
    gain = np.float32(np.exp(rng.uniform(-1, 1)))
    made = {name: array * gain if array.ndim == 2 else array for name, array in made.items()}
    classifier = "tok_embeddings.weight" if model.tied else "output.weight"
    rows = made[classifier]
    match kind:
        case "large logits":
            made["norm.weight"] = made["norm.weight"] * np.float32(100)
        case "small logits":
            made["norm.weight"] = made["norm.weight"] * np.float32(1e-4)
        case "equal rows":
            made[classifier] = np.repeat(rows[: max(1, len(rows) // 2)], 2, axis=0)[: len(rows)].copy()
            made[classifier] = np.resize(made[classifier], rows.shape)
        case "nearly equal rows":
            noise = rng.standard_normal(rows.shape).astype(np.float32) * np.float32(1e-6)
            made[classifier] = np.resize(rows[:1], rows.shape) + noise * np.abs(rows[:1])
        case "zero layer":
            made["layers.0.attention.wo.weight"] = np.zeros_like(made["layers.0.attention.wo.weight"])
    return made


def judge(seed: int, directory: Path) -> Found:
    """Verify one healthy file, and measure its logits once more."""
    rng = np.random.default_rng(seed)
    model = random_config(rng)
    made = random_weights(model, KINDS[seed % len(KINDS)], rng, seed)
    path, source = directory / "model.bin", directory / "source.bin"
    for out, name in ((source, "v3"), (path, FORMATS[seed % len(FORMATS)])):
        exporter.export(exporter.Checkpoint.from_arrays(model, made), out, format=name, overwrite=True)
    report = verify.verify(source, path, depth="quick")
    hyper, weights = hyperparameters(model), {name: torch.from_numpy(array) for name, array in made.items()}
    tokens = torch.from_numpy(rng.integers(0, model.vocab_size, (1, model.max_seq_len)))
    exact = llama.logits(hyper, weights.__getitem__, tokens).numpy()
    wrong = llama.logits(dataclasses.replace(hyper, norm_eps=1e-6), weights.__getitem__, tokens).float().numpy()
    noise = LogitNoise(hyper, weights.__getitem__, tokens, exact, seed)
    noise.draw()
    mistaken = worst_logit(0, exact[0], noise.window(0), wrong[0], LIMIT_SIGMAS).sigmas
    observed = next(check.observed for check in report.checks if check.name == "execution")
    return Found([check.name for check in report.checks if check.status != "pass"], float(observed), mistaken)


def smollm2(directory: Path, seeds: int) -> Iterator[dict[str, float]]:
    """Yield the worst logit of one window for each seed, as a verdict on a lossless file judges it."""
    source = open_source(directory)
    with tempfile.TemporaryDirectory() as room:
        path = Path(room) / "model.bin"
        exporter.export(exporter.open_checkpoint(directory), path, format="v3")
        with reader_c.open(path) as engine:
            references = References(source, engine)
            vocab_size = source.hyperparameters.vocab_size
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                tokens = torch.from_numpy(rng.integers(0, vocab_size, (1, SMOLLM2_WINDOW)))
                found = references.of(tokens, [seed], agree=True)[0]
                judged = {}
                for arithmetic in ARITHMETICS:
                    logits = engine.forward(tokens[0].numpy(), arithmetic=arithmetic)
                    judged[arithmetic] = worst_logit(seed, found.of_file, found.sigma, logits, LIMIT_SIGMAS).sigmas
                yield judged | {"transformers": found.agreement.sigmas, "draws": found.sigma.draws}


def show(name: str, values: np.ndarray) -> None:
    quantiles = ", ".join(f"{q:.0%} {np.quantile(values, q):.2f}" for q in (0.5, 0.9, 0.99))
    print(f"{name}: {quantiles}, largest {values.max():.2f}; beyond the limit: {int((values > LIMIT_SIGMAS).sum())}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smollm2", type=Path)
    parser.add_argument("--seeds", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        found = [judge(arguments.seed + number, Path(directory)) for number in range(arguments.models)]
    failed = [(number, one.failed) for number, one in enumerate(found) if one.failed]
    print(
        f"{len(found)} healthy lossless models; limit {LIMIT_SIGMAS:g}; verdicts that are no pass: {failed or 'none'}"
    )
    show("worst logit", np.array([one.worst for one in found]))
    mistaken = np.array([one.mistaken for one in found])
    caught = (mistaken > LIMIT_SIGMAS).mean()
    print(f"eps 1e-6 for 1e-5: caught in {caught:.1%}, least {mistaken.min():.0f}, median {np.median(mistaken):.0f}")
    if arguments.smollm2:
        windows = list(smollm2(arguments.smollm2, arguments.seeds))
        print(f"SmolLM2-135M, {len(windows)} windows of {SMOLLM2_WINDOW} random tokens")
        for name in (*ARITHMETICS, "transformers"):
            show(name, np.array([window[name] for window in windows]))
        print(f"draws of noise: {sorted(Counter(window['draws'] for window in windows).items())}")


if __name__ == "__main__":
    main()
