"""How often does `storage` blame an honest file, and which dishonest storage does it detect?

    make calibrate
    make calibrate SMOLLM2=DIR      and seeds of SmolLM2-135M in Q8_0, from its Hugging Face directory
    python benchmarks/calibrate_storage.py --experts    honest mixtures of experts in Q8_0 alone

Random healthy models, exported to formats with Q8_0, float16 and bfloat16: the largest distance from the draws, in
their standard deviations. Then models of three sizes, whose weights or int8 activations are rounded by mistake in
ways that are common: the distance of each. In brackets stands the larger of two other distances, that of the number
of changed most likely tokens and that of the mean loss: what the check would gain from them.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from helpers.models import Arrays, arrays, config, hyperparameters

import exporter
import reader_c
from exporter.switches import LayerKind
from verify.checks import storage
from verify.evidence.generated import random_windows
from verify.oracle import llama, rope
from verify.oracle.expected import numbers
from verify.oracle.random_rounding import drawn_logits
from verify.oracle.rounding_noise import Noise
from verify.run.honest_storage import storage_cost
from verify.run.reference_logits import References
from verify.sources import Hyperparameters, open_source

Round = Callable[[torch.Tensor, int], torch.Tensor]
KINDS = ("plain", "large", "large logits", "zero tensors", "few levels", "outliers", "heavy tails")


# ---- honest files ----


def random_config(rng: np.random.Generator) -> exporter.ModelConfig:
    """Odd models: a head size from 2, a vocabulary from 2, any width, one layer to five."""
    kv_heads, ratio, half = int(rng.integers(1, 5)), int(rng.integers(1, 4)), int(rng.integers(1, 17))
    dim = kv_heads * ratio * 2 * half
    return exporter.ModelConfig(
        dim=dim,
        hidden_dim=int(rng.integers(1, 20)) * int(rng.choice([1, 2, 8, dim if dim < 64 else 16])),
        n_layers=int(rng.integers(1, 6)),
        n_heads=kv_heads * ratio,
        n_kv_heads=kv_heads,
        vocab_size=int(rng.choice([2, 3, 8, 20, 100, 500])),
        max_seq_len=int(rng.integers(2, 80)),
        tied=bool(rng.integers(2)),
    )


def with_experts(model: exporter.ModelConfig, rng: np.random.Generator) -> exporter.ModelConfig:
    """The model with a mixture of experts in some layers, one at least: of any number, width and choice."""
    mixed = rng.random(model.n_layers) < 0.6
    mixed[rng.integers(model.n_layers)] = True
    width, experts = int(rng.integers(1, 20)) * int(rng.choice([1, 2, 8])), int(rng.integers(2, 9))
    return dataclasses.replace(
        model,
        hidden_dim=width if all(mixed) else model.hidden_dim,
        layers=tuple(LayerKind(experts=bool(has)) for has in mixed),
        n_experts=experts,
        n_active_experts=int(rng.integers(1, experts + 1)),
        expert_hidden_dim=width,
        experts_normalized=bool(rng.integers(2)),
    )


def random_weights(model: exporter.ModelConfig, kind: str, rng: np.random.Generator, seed: int) -> Arrays:
    made = arrays(model, seed)
    gain = np.float32(np.exp(rng.uniform(-1.5, 2.5)))
    for name, array in made.items():
        if array.ndim == 1:
            continue
        scale = np.abs(array).max()
        match kind:
            case "large":
                made[name] = array * gain
            case "large logits":
                made[name] = array * gain * np.float32(100 if name in ("output.weight", "norm.weight") else 1)
            case "zero tensors" if rng.random() < 0.2:
                made[name] = np.zeros_like(array)
            case "few levels":
                levels = int(rng.choice([1, 2, 3, 4, 8, 16, 240]))
                made[name] = np.round(array / scale * levels).astype(np.float32) * np.float32(scale / levels)
            case "outliers":
                made[name] = array * np.where(rng.random(array.shape) < 0.02, 20, 1).astype(np.float32)
            case "heavy tails":
                made[name] = array * np.exp(rng.standard_normal(array.shape)).astype(np.float32)
    return made


def honest(seed: int, path: Path, *, experts: bool = False) -> tuple[str, float]:
    """The kind of a random model, and the distance of its honest file from the draws."""
    rng = np.random.default_rng(seed)
    model, kind = random_config(rng), KINDS[seed % len(KINDS)]
    if experts:
        model = with_experts(model, rng)
    weights = random_weights(model, kind, rng, seed)
    # v1 and v2 hold no experts
    stored = (
        "q8_0" if experts else str(rng.choice(["v1", "v2", "q8_0", "bf16", "fp16"], p=[0.25, 0.25, 0.3, 0.1, 0.1]))
    )
    wanted = {"format": stored} if stored in ("v1", "v2") else {"format": "v3", "storage": stored}
    group_size = int(rng.choice([1, 2, 4, 8, 16, 32, 64, 1032]))
    exporter.export(
        exporter.Checkpoint.from_arrays(model, weights), path, group_size=group_size, overwrite=True, **wanted
    )
    hyper = hyperparameters(model)
    length = model.max_seq_len
    tokens = np.concatenate(
        [
            rng.integers(0, model.vocab_size, (int(rng.integers(1, 7)), length)),
            np.full((1, length), min(1, model.vocab_size - 1)),
            np.arange(length)[None] % model.vocab_size,
        ]
    )
    load = {name: torch.from_numpy(array) for name, array in weights.items()}.__getitem__
    with reader_c.open(path) as file:
        how = {name: file.storage(name) for name in hyper.shapes()}
        of_source = llama.logits(hyper, load, torch.from_numpy(tokens)).numpy()
        of_file = llama.logits(
            hyper, lambda name: numbers(load(name), how[name].storage, how[name].group_size), torch.from_numpy(tokens)
        ).numpy()
        of_q8 = None
        if file.config.group_size:
            of_q8 = np.stack([file.forward(row, arithmetic="mirror", activations="q8") for row in tokens])
    cost = storage.honest_cost(
        hyper, load, how.__getitem__, torch.from_numpy(tokens), of_source, of_file, of_q8, seed=seed
    )
    return kind, storage.verdict(cost).observed or 0.0


# ---- honest files of a real model ----

GROUP_SIZES = (64, 32, 16, 192)


def smollm2(directory: Path, seeds: int) -> Iterator[storage.HonestCost]:
    """Yield the cost for each seed: other windows, other draws, and one of four sizes of groups."""
    source = open_source(directory)
    hyper, count, length = source.hyperparameters, 4, 64
    with tempfile.TemporaryDirectory() as room, contextlib.ExitStack() as stack:
        checkpoint, files = exporter.open_checkpoint(directory), []
        for group_size in GROUP_SIZES:
            path = Path(room) / f"{group_size}.bin"
            exporter.export(checkpoint, path, format="v3", storage="q8_0", group_size=group_size)
            files.append(stack.enter_context(reader_c.open(path, mapped=True)))
        for seed in range(seeds):
            file = files[seed % len(files)]
            windows = random_windows(hyper.vocab_size, [length] * count, seed)
            yield storage_cost(
                file, hyper, References(source, file), windows, list(range(count)), int8=True, seed=seed
            )


# ---- dishonest storage ----


@dataclasses.dataclass(frozen=True)
class Q8:
    """How the draws believe that a matrix is stored."""

    storage: str
    group_size: int


def rounded(
    x: torch.Tensor,
    group_size: int,
    *,
    steps: float = 127,
    largest: float = 127,
    to_integer: Callable[[torch.Tensor], torch.Tensor] = torch.round,
    half_scales: bool = False,
    offset: float = 0,
) -> torch.Tensor:
    """x as somebody rounds it: honestly unless told otherwise."""
    grouped = x.unflatten(-1, (-1, group_size))
    scale = grouped.abs().amax(-1, keepdim=True) / steps
    codes = to_integer(grouped / scale.clamp(min=1e-38)).clamp(-largest, largest)
    return ((codes + offset) * (scale.half().float() if half_scales else scale)).flatten(-2)


def last_group_zero(x: torch.Tensor, group_size: int) -> torch.Tensor:
    made = rounded(x, group_size)
    made[-1, -group_size:] = 0
    return made


ROUNDINGS: dict[str, Round] = {
    "honest": rounded,
    "rounded towards zero": lambda x, g: rounded(x, g, to_integer=torch.trunc),
    "rounded down": lambda x, g: rounded(x, g, to_integer=torch.floor),
    "half a step off": lambda x, g: rounded(x, g, offset=0.5),
    "scales from amax / 128": lambda x, g: rounded(x, g, steps=128),
    "int8 clamped at 126": lambda x, g: rounded(x, g, largest=126),
    "scales in float16": lambda x, g: rounded(x, g, half_scales=True),
    "groups twice as large": lambda x, g: rounded(x, 2 * g if x.shape[-1] % (2 * g) == 0 else x.shape[-1]),
    "one scale a row": lambda x, _: rounded(x, x.shape[-1]),
    "7-bit codes": lambda x, g: rounded(x, g, steps=63, largest=63),
    "last group zero": last_group_zero,
    "not rounded": lambda x, _: x,
}
OF_ACTIVATIONS = tuple(name for name in ROUNDINGS if name not in ("last group zero", "scales in float16"))


@torch.no_grad()
def passed(
    hyper: Hyperparameters, load: llama.Load, tokens: torch.Tensor, inputs: llama.Inputs = llama.unrounded
) -> torch.Tensor:
    x = llama.embed(hyper, load, tokens, torch.float32, Noise())
    rotations = rope.rotations(hyper, tokens.shape[1], torch.float32, Noise())
    for number in range(hyper.n_layers):
        x = llama.layer(hyper, load, number, x, rotations, Noise(), inputs=inputs)
    return llama.head(hyper, load, x, Noise(), inputs).double()


def distances(model: exporter.ModelConfig, group_size: int, seed: int) -> dict[str, tuple[float, float]]:
    """By kind of rounding: the distance of the KL, and the larger one of what else one might use."""
    hyper = hyperparameters(model)
    held = {name: torch.from_numpy(array) for name, array in arrays(model, seed).items()}

    def how(name: str) -> Q8:
        return Q8("q8_0", group_size) if held[name].ndim == 2 else Q8("fp32", 0)

    def loaded(rounding: Round) -> llama.Load:
        return lambda name: rounding(held[name], group_size) if held[name].ndim == 2 else held[name]

    tokens = torch.from_numpy(np.random.default_rng(seed).integers(0, model.vocab_size, (8, model.max_seq_len)))
    of_source = llama.logits(hyper, held.__getitem__, tokens)
    draws = storage.draws_of(hyper)
    drawn = list(drawn_logits(hyper, held.__getitem__, how, tokens, int8=True, draws=draws, seed=seed))
    found = {}
    for side, names in (("weights", tuple(ROUNDINGS)), ("activations", OF_ACTIVATIONS)):
        of_draws = [
            torch.stack([d.logits for d in drawn if (d.draw, d.int8) == (draw, side == "activations")])
            for draw in range(draws)
        ]
        for name in names:
            rounding = ROUNDINGS[name]
            if side == "weights":
                made = passed(hyper, loaded(rounding), tokens)
            else:
                made = passed(hyper, loaded(rounded), tokens, lambda x, _matrix, by=rounding: by(x, group_size))
            logits = None if side == "weights" else made.numpy()
            cost = storage.honest_cost(
                hyper, held.__getitem__, how, tokens, of_source.numpy(), made.numpy(), logits, seed=seed, draws=draws
            )
            judged = storage.HonestCost(q8=cost.q8) if side == "activations" else cost
            found[f"{side}: {name}"] = (
                storage.verdict(judged).observed or 0.0,
                max(others(of_source, tokens, made, of_draws)),
            )
    return found


def others(
    of_source: torch.Tensor, tokens: torch.Tensor, made: torch.Tensor, of_draws: list[torch.Tensor]
) -> tuple[float, float]:
    """Distances of the share of changed most likely tokens, and of the mean loss."""
    positions = tokens.numel()

    def changed(logits: torch.Tensor) -> float:
        return float((logits.argmax(-1) != of_source.argmax(-1)).double().mean())

    def loss(logits: torch.Tensor) -> float:
        return float(-logits.double().log_softmax(-1)[:, :-1].gather(2, tokens[:, 1:, None]).mean())

    of_changes, of_losses = (np.array([measure(logits) for logits in of_draws]) for measure in (changed, loss))
    widen = np.sqrt(1 + 1 / len(of_draws))
    # a count varies at least as a Poisson number does
    least = np.sqrt(of_changes.mean() * positions + 1) / positions
    return (
        abs(changed(made) - of_changes.mean()) / (widen * max(of_changes.std(ddof=1), least)),
        abs(loss(made) - of_losses.mean()) / (widen * max(of_losses.std(ddof=1), 1e-4)),
    )


MODELS = (
    (config(), 8),
    (config(dim=64, hidden_dim=128, n_heads=4, n_kv_heads=2, vocab_size=100, max_seq_len=64), 16),
    (
        config(dim=256, hidden_dim=512, n_layers=4, n_heads=4, n_kv_heads=2, vocab_size=500, max_seq_len=64),
        32,
    ),
)


def show_smollm2(directory: Path, seeds: int) -> None:
    """Print the distance of each seed as it comes, then how the distances are distributed."""
    found = []
    for seed, cost in enumerate(smollm2(directory, seeds)):
        sides = storage.HonestCost(fp32=cost.fp32), storage.HonestCost(q8=cost.q8)
        found.append([storage.verdict(side).observed for side in sides])
        print(f"SmolLM2-135M, seed {seed}: {found[-1][0]:.2f}, with int8 activations {found[-1][1]:.2f}", flush=True)
    for name, values in zip(("float32", "int8"), np.array(found).T, strict=True):
        quantiles = ", ".join(f"{q:.0%} {np.quantile(values, q):.2f}" for q in (0.5, 0.9, 0.99))
        alarms = int((values > storage.LIMIT_SIGMAS).sum())
        print(f"{name} activations, {seeds} seeds: {quantiles}, largest {values.max():.2f}; false alarms: {alarms}")


def show_random(models: int, first_seed: int, *, experts: bool) -> None:
    """Print how far honest files of random models are from the draws, then how far dishonest storage is."""
    with tempfile.TemporaryDirectory() as directory:
        results = [honest(first_seed + n, Path(directory) / "model.bin", experts=experts) for n in range(models)]
    values = np.array([distance for _kind, distance in results])
    quantiles = ", ".join(f"{q:.0%} {np.quantile(values, q):.2f}" for q in (0.5, 0.9, 0.99))
    print(f"{len(results)} honest files; limit {storage.LIMIT_SIGMAS:g} standard deviations of the draws")
    print(f"distance of an honest file: {quantiles}, largest {values.max():.2f}")
    by_kind = {kind: [value for of, value in results if of == kind] for kind in KINDS}
    print("largest by kind of weights:", {k: f"{max(found):.2f}" for k, found in by_kind.items() if found})
    print(f"false alarms: {int((values > storage.LIMIT_SIGMAS).sum())}")
    if experts:
        return
    found = [[distances(model, group_size, first_seed + n) for n in range(3)] for model, group_size in MODELS]
    print("least distance of 3 models of each size (other statistics in brackets)")
    for name in found[0][0]:
        row = [
            f"{min(one[name][0] for one in of_size):7.1f} ({max(one[name][1] for one in of_size):5.1f})"
            for of_size in found
        ]
        print(f"{name:40}{''.join(row)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=300, help="random models; 0 for none, and no dishonest storage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smollm2", type=Path)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--experts", action="store_true", help="honest files of mixtures of experts alone")
    arguments = parser.parse_args()
    if arguments.smollm2:
        show_smollm2(arguments.smollm2, arguments.seeds)
    if arguments.models:
        show_random(arguments.models, arguments.seed, experts=arguments.experts)


if __name__ == "__main__":
    main()
