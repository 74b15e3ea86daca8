"""How often does the check `engine` blame a healthy engine with int8 activations? Random models, healthy engines.

    make calibrate-int8
    python benchmarks/calibrate_int8_engines.py --smollm2 DIRECTORY

Each model is judged with the reader's own other arithmetic, whose sums have another order, and with one compiled
engine in turn. It prints how near each measure comes to its limit.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from helpers.engines import library
from helpers.fixed_sigma import FixedSigma
from helpers.healthy_engines import HEALTHY
from helpers.models import hyperparameters

import exporter
import reader_c
from verify.checks.policy import DEFAULT_POLICY, load_policy
from verify.engine.command import Engine
from verify.engine.int8_agreement import MEASURES, Int8Agreement
from verify.engine.trial import Trial
from verify.evidence import Window
from verify.oracle.int8_noise import TELLING, int8_spread
from verify.oracle.llama import Load
from verify.sources import Hyperparameters, open_source

WINDOWS = 6
Shares = dict[str, float]


def random_config(rng: np.random.Generator) -> tuple[exporter.ModelConfig, int]:
    """A model and its group size. One in four is deep and wide enough that turns are certain."""
    large = not rng.integers(4)
    kv_heads, ratio, half = int(rng.integers(1, 4)), int(rng.integers(1, 4)), int(rng.integers(2, 17 if large else 9))
    dim = kv_heads * ratio * 2 * half
    wanted = int(rng.choice([1, 2, 4, 8, 16, 32, 64]))
    group_size = next(size for size in (64, 32, 16, 8, 4, 2, 1) if size <= wanted and dim % size == 0)
    model = exporter.ModelConfig(
        dim=dim,
        hidden_dim=group_size * int(rng.integers(1, max(2, (600 if large else 200) // group_size))),
        n_layers=int(rng.integers(6, 17)) if large else int(rng.integers(1, 7)),
        n_heads=kv_heads * ratio,
        n_kv_heads=kv_heads,
        vocab_size=int(rng.integers(16, 300)),
        max_seq_len=64,
        tied=bool(rng.integers(2)),
    )
    return model, group_size


def weights(model: exporter.ModelConfig, rng: np.random.Generator) -> dict[str, np.ndarray]:
    gain = float(np.exp(rng.uniform(-1, 1)))
    return {
        name: (
            1 + 0.2 * rng.standard_normal(shape)
            if len(shape) == 1
            else gain * rng.standard_normal(shape) / np.sqrt(shape[1])
        ).astype(np.float32)
        for name, shape in exporter.config.tensor_shapes(model).items()
    }


def numbers_of(model: reader_c.Model) -> Load:
    """The file's weights."""

    @functools.cache
    def load(name: str) -> torch.Tensor:
        found = model.tensor(name)
        if isinstance(found, np.ndarray):
            return torch.from_numpy(found.copy())
        rows = len(found.q)
        steps = found.q.astype(np.float32).reshape(rows, -1, found.group_size)
        return torch.from_numpy((steps * found.scale[:, :, None]).reshape(rows, -1))

    return load


def shares(found: dict[str, float]) -> Shares:
    """How much of each limit is used."""
    return {name: value / MEASURES[name].limit for name, value in found.items()}


def by_fast(model: reader_c.Model, hyper: Hyperparameters, load: Load, windows: list[np.ndarray]) -> Shares:
    agreement = Int8Agreement()

    def group_size(name: str) -> int:
        return model.storage(name).group_size

    for number, tokens in enumerate(windows):
        ours, other = (
            model.forward(tokens, activations="q8", arithmetic=arithmetic) for arithmetic in ("mirror", "fast")
        )
        spread = int8_spread(hyper, load, group_size, torch.from_numpy(tokens), TELLING, seed=number)
        agreement.add(number, tokens, spread, ours, other)
    return shares(agreement.measured())


def by_engine(
    model: reader_c.Model, hyper: Hyperparameters, load: Load, windows: list[np.ndarray], built: Path
) -> tuple[Shares, str]:
    policy = load_policy(DEFAULT_POLICY, model.format)
    trial = Trial(Engine(built, activations="q8"), model, hyper, load, policy)
    nothing = np.empty((0, 0))
    for number, tokens in enumerate(windows):
        ours = model.forward(tokens, activations="q8", arithmetic="mirror")
        trial.add(number, Window(tokens, "random"), nothing, FixedSigma(nothing.astype(np.float32)), ours)
    verdict = trial.verdict()
    return {"compiled": (verdict.observed or 0.0) / policy.execution.noise_sigmas}, verdict.detail


def random_models(count: int, seed: int, engines: dict[str, Path], directory: Path) -> Iterator[tuple[str, Shares]]:
    for number in range(seed, seed + count):
        rng = np.random.default_rng(number)
        config, group_size = random_config(rng)
        path, checkpoint = directory / "model.bin", exporter.Checkpoint.from_arrays(config, weights(config, rng))
        format_name, storage = (("v2", "source"), ("v3", "q8_0"))[number % 2]
        exporter.export(checkpoint, path, format=format_name, storage=storage, group_size=group_size, overwrite=True)
        windows = [rng.integers(0, config.vocab_size, config.max_seq_len) for _ in range(WINDOWS)]
        name = list(engines)[number % len(engines)]
        with reader_c.open(path) as model:
            hyper, load = hyperparameters(config), numbers_of(model)
            found = by_fast(model, hyper, load, windows)
            compiled, detail = by_engine(model, hyper, load, windows, engines[name])
        yield f"model {number} ({format_name}, groups of {group_size}), {name}: {detail}", found | compiled


def smollm2(source: str, seeds: int, engines: dict[str, Path], directory: Path) -> Iterator[tuple[str, Shares]]:
    path, hyper = directory / "smollm2.bin", open_source(source).hyperparameters
    exporter.export(exporter.open_checkpoint(source), path, format="v3", storage="q8_0", overwrite=True)
    with reader_c.open(path) as model:
        load = numbers_of(model)
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            windows = [rng.integers(0, hyper.vocab_size, 64) for _ in range(WINDOWS)]
            name = list(engines)[seed % len(engines)]
            found = by_fast(model, hyper, load, windows)
            compiled, detail = by_engine(model, hyper, load, windows, engines[name])
            yield f"SmolLM2, seed {seed}, {name}: {detail}", found | compiled


def summary(found: list[Shares]) -> None:
    for name in (*MEASURES, "compiled"):
        of_all = np.array([one[name] for one in found if name in one])
        if len(of_all):
            quantiles = ", ".join(f"{q:.0%} {np.quantile(of_all, q):.3f}" for q in (0.5, 0.9, 0.99))
            print(f"{name}: {len(of_all)} judged, {quantiles}, largest {of_all.max():.3f} of the limit")
    alarms = sum(max(one.values()) > 1 for one in found)
    print(f"false alarms: {alarms} of {len(found)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smollm2", metavar="DIRECTORY", help="judge this model too")
    parser.add_argument("--seeds", type=int, default=4, help="of SmolLM2")
    parser.add_argument("--loud", type=float, default=0.7, help="print what comes this near to a limit")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        room, kept = Path(directory), Path(directory, "objects")
        kept.mkdir()
        engines = {
            name: library(room / str(number), kept, patch, activations="q8")
            for number, (name, patch) in enumerate(HEALTHY.items())
        }
        found = []
        runs = random_models(given.models, given.seed, engines, room)
        if given.smollm2:
            runs = smollm2(given.smollm2, given.seeds, engines, room)
        for sentence, used in runs:
            found.append(used)
            if max(used.values()) > given.loud:
                print(sentence, {name: round(share, 3) for name, share in used.items()}, flush=True)
    summary(found)


if __name__ == "__main__":
    main()
