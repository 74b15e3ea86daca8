"""`storage`: honest files lie among the draws of their storage, others do not."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.defects.kinds import halves, random_model
from helpers.models import Arrays, arrays, config, hyperparameters

import exporter
import reader_c
from verify.checks.storage import (
    LIMIT_SIGMAS,
    HonestCost,
    WindowCost,
    draws_of,
    honest_cost,
    lossless,
    positions_of,
    verdict,
    windows_of,
)
from verify.evidence import Window
from verify.oracle import llama, rope
from verify.oracle.expected import numbers
from verify.oracle.rounding_noise import Noise

Round = Callable[[torch.Tensor], torch.Tensor]
GROUP_SIZE = 16
MODEL = config(dim=64, hidden_dim=128, n_heads=4, n_kv_heads=2, vocab_size=100, max_seq_len=64)


@dataclasses.dataclass(frozen=True)
class Stored:
    storage: str
    group_size: int = 0


class Scene:
    """A model with Q8_0 matrices, and the honest evidence of windows on it."""

    def __init__(self, seed: int = 0) -> None:
        self.hyper = hyperparameters(MODEL)
        self.held = {name: torch.from_numpy(array) for name, array in arrays(MODEL, seed).items()}
        self.tokens = torch.from_numpy(np.random.default_rng(seed).integers(0, 100, (8, 64)))
        self.of_source = llama.logits(self.hyper, self.held.__getitem__, self.tokens).numpy()

    def how(self, name: str) -> Stored:
        return Stored("q8_0", GROUP_SIZE) if self.held[name].ndim == 2 else Stored("fp32")

    @torch.no_grad()
    def logits(self, of_weights: Round, of_activations: Round | None = None) -> np.ndarray:
        def load(name: str) -> torch.Tensor:
            return of_weights(self.held[name]) if self.held[name].ndim == 2 else self.held[name]

        def inputs(x: torch.Tensor, _name: str) -> torch.Tensor:
            return x if of_activations is None else of_activations(x)

        x = llama.embed(self.hyper, load, self.tokens, torch.float32, Noise())
        rotations = rope.rotations(self.hyper, self.tokens.shape[1], torch.float32, Noise())
        for number in range(self.hyper.n_layers):
            x = llama.layer(self.hyper, load, number, x, rotations, Noise(), inputs=inputs)
        return llama.head(self.hyper, load, x, Noise(), inputs).double().numpy()

    def cost(self, of_file: np.ndarray, of_q8: np.ndarray | None, rows: slice = slice(None)) -> HonestCost:
        return honest_cost(
            self.hyper,
            self.held.__getitem__,
            self.how,
            self.tokens[rows],
            self.of_source[rows],
            of_file[rows],
            None if of_q8 is None else of_q8[rows],
            seed=0,
        )


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


def rounded(
    x: torch.Tensor,
    group_size: int = GROUP_SIZE,
    *,
    steps: float = 127,
    largest: float = 127,
    to_integer: Round = torch.round,
    offset: float = 0,
) -> torch.Tensor:
    """x as somebody rounds it: honestly unless told otherwise."""
    grouped = x.unflatten(-1, (-1, group_size))
    scale = grouped.abs().amax(-1, keepdim=True) / steps
    codes = to_integer(grouped / scale.clamp(min=1e-38)).clamp(-largest, largest)
    return ((codes + offset) * scale).flatten(-2)


def last_group_zero(x: torch.Tensor) -> torch.Tensor:
    made = rounded(x)
    made[-1, -GROUP_SIZE:] = 0
    return made


DISHONEST: dict[str, Round] = {
    "rounded towards zero": lambda x: rounded(x, to_integer=torch.trunc),
    "rounded down": lambda x: rounded(x, to_integer=torch.floor),
    "half a step off": lambda x: rounded(x, offset=0.5),
    "scales from amax / 128": lambda x: rounded(x, steps=128),
    "int8 clamped at 126": lambda x: rounded(x, largest=126),
    "one scale a row": lambda x: rounded(x, x.shape[-1]),
    "7-bit codes": lambda x: rounded(x, steps=63, largest=63),
    "not rounded": lambda x: x,
}


def test_an_honest_file_passes(scene: Scene) -> None:
    found = verdict(scene.cost(scene.logits(rounded), scene.logits(rounded, rounded)))
    assert (found.status, found.bound, found.limit) == ("pass", "statistical", LIMIT_SIGMAS)
    assert found.observed is not None
    assert found.observed < 3
    assert found.detail.count("a typical position costs KL") == 2


@pytest.mark.parametrize("name", [*DISHONEST, "last group zero"])
def test_weights_that_are_rounded_in_another_way_fail(scene: Scene, name: str) -> None:
    rounding = last_group_zero if name == "last group zero" else DISHONEST[name]
    found = verdict(scene.cost(scene.logits(rounding), None))
    assert found.status == "fail"
    side = "less" if name == "not rounded" else "more"
    assert found.detail.startswith(f"the file costs {side} than an honest file of its storage: float32 activations: ")
    assert found.where == {"activations": "fp32"}


# scales from amax / 128 and a clamp at 126 move int8 activations by less than the draws of so small a model do
@pytest.mark.parametrize("name", sorted(DISHONEST.keys() - {"scales from amax / 128", "int8 clamped at 126"}))
def test_activations_that_are_rounded_in_another_way_fail_alone(scene: Scene, name: str) -> None:
    found = verdict(scene.cost(scene.logits(rounded), scene.logits(rounded, DISHONEST[name])))
    assert found.status == "fail"
    side = "less" if name == "not rounded" else "more"
    assert found.detail.startswith(f"the file costs {side} than an honest file of its storage: int8 activations: ")
    assert "float32" not in found.detail
    assert found.where == {"activations": "q8"}


def test_evidence_of_any_split_gives_the_same_verdict(scene: Scene) -> None:
    of_file, of_q8 = scene.logits(rounded), scene.logits(rounded, rounded)
    whole = scene.cost(of_file, of_q8)
    windows = [HonestCost((fp32,), (q8,)) for fp32, q8 in zip(whole.fp32, whole.q8, strict=True)]
    for cut in range(9):
        first, second = HonestCost(), HonestCost()
        for one in windows[:cut]:
            first = first.merged(one)
        for one in windows[cut:]:
            second = second.merged(one)
        assert verdict(pickle.loads(pickle.dumps(first)).merged(second)) == verdict(whole)  # our own
    computed_apart = scene.cost(of_file, of_q8, slice(0, 3)).merged(scene.cost(of_file, of_q8, slice(3, 8)))
    assert verdict(computed_apart).detail == verdict(whole).detail


@pytest.mark.parametrize("beyond", [0.99, 1.01])
@pytest.mark.parametrize("side", [1, -1])
def test_both_sides_of_the_limit(beyond: float, side: int) -> None:
    draws = (-7.0, -6.0, -5.0)
    # variance 1, widened by the mean of three draws, and by the least spread
    distance = beyond * LIMIT_SIGMAS * np.sqrt(4 / 3 + 0.03**2)
    found = verdict(HonestCost((WindowCost(10, -6.0 + side * distance, draws),)))
    assert found.status == ("pass" if beyond < 1 else "fail")
    assert found.observed == pytest.approx(beyond * LIMIT_SIGMAS)


def test_windows_that_vary_by_themselves_count_if_their_sum_hardly_varies() -> None:
    """Two draws whose windows' errors cancel by chance do not make the file look far away."""
    windows = (WindowCost(10, -5.5, (-7.0, -5.0)), WindowCost(10, -5.5, (-5.0, -7.0)))
    found = verdict(HonestCost(windows))
    assert found.observed == pytest.approx(0.5 / np.sqrt(1.0 * 1.5 + 0.03**2))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_cost_that_is_no_number_fails(wrong: float) -> None:
    fine = WindowCost(10, -6.0, (-6.0, -6.1))
    for other in (dataclasses.replace(fine, file=wrong), WindowCost(9, -6.0, (wrong, 0.0))):
        assert verdict(HonestCost((other,), (fine,))).status == "fail"
        assert verdict(HonestCost((fine,), (other,))).status == "fail"


def test_nothing_compared_is_skipped() -> None:
    assert verdict(HonestCost()).status == "skipped"


def test_lossless_storage_is_exact() -> None:
    found = lossless()
    assert (found.status, found.bound, found.observed) == ("pass", "exact", 0.0)


def judged(model: exporter.ModelConfig, weights: Arrays, path: Path, seed: int, **wanted: object) -> HonestCost:
    """Export a model honestly, and gather the evidence of its file and of the reader's int8 activations."""
    exporter.export(exporter.Checkpoint.from_arrays(model, weights), path, overwrite=True, **wanted)  # type: ignore[arg-type]
    hyper = hyperparameters(model)
    load = {name: torch.from_numpy(array) for name, array in weights.items()}.__getitem__
    tokens = np.random.default_rng(seed).integers(0, model.vocab_size, (4, model.max_seq_len))
    with reader_c.open(path) as file:
        how = {name: file.storage(name) for name in hyper.shapes()}

        def stored(name: str) -> torch.Tensor:
            return numbers(load(name), how[name].storage, how[name].group_size)

        of_source, of_file = (llama.logits(hyper, by, torch.from_numpy(tokens)).numpy() for by in (load, stored))
        of_q8 = None
        if file.config.group_size:
            of_q8 = np.stack([file.forward(row, arithmetic="mirror", activations="q8") for row in tokens])
    return honest_cost(hyper, load, how.__getitem__, torch.from_numpy(tokens), of_source, of_file, of_q8, seed=seed)


FORMATS = ({"format": "v1"}, {"format": "v2"}, *({"format": "v3", "storage": s} for s in ("q8_0", "fp16", "bf16")))


@pytest.mark.parametrize("seed", range(15))
def test_random_healthy_models_pass(tmp_path: Path, seed: int) -> None:
    model = random_model(np.random.default_rng(seed))
    found = verdict(judged(model, arrays(model, seed), tmp_path / "m.bin", seed, group_size=8, **FORMATS[seed % 5]))
    assert found.status == "pass", found.detail


def constant(model: exporter.ModelConfig) -> Arrays:
    """All logits are equal."""
    return arrays(model) | {"output.weight": np.zeros((model.vocab_size, model.dim), np.float32)}


def few_levels(model: exporter.ModelConfig) -> Arrays:
    """Matrices of multiples of a third: all equal weights have equal errors."""
    return {
        name: np.round(array * 3 / np.abs(array).max()).astype(np.float32) / 3 if array.ndim == 2 else array
        for name, array in arrays(model).items()
    }


def huge_logits(model: exporter.ModelConfig) -> Arrays:
    made = arrays(model)
    return made | {name: made[name] * np.float32(1e3) for name in ("norm.weight", "output.weight")}


def exact_steps(model: exporter.ModelConfig) -> Arrays:
    """What Q8_0 holds already, as a source that was Q8_0 before."""
    return {
        n: numbers(torch.from_numpy(a), "q8_0", 8).numpy() if a.ndim == 2 else a for n, a in arrays(model).items()
    }


ODD = {
    "constant logits": constant,
    "few levels": few_levels,
    "huge logits": huge_logits,
    "exact steps": exact_steps,
    "ties": lambda model: halves(model, 0),
    "all zero": lambda model: {name: np.zeros_like(array) for name, array in arrays(model).items()},
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("wanted", FORMATS[1:], ids=str)
def test_odd_models_pass(tmp_path: Path, name: str, wanted: dict[str, str]) -> None:
    model = config()
    found = verdict(judged(model, ODD[name](model), tmp_path / "m.bin", 0, group_size=8, **wanted))
    assert found.status == "pass", found.detail


def test_large_models_have_fewer_draws_windows_and_positions() -> None:
    tiny, large = hyperparameters(config()), hyperparameters(config(dim=768, hidden_dim=2048, n_layers=12))
    assert (draws_of(tiny), positions_of(tiny, 512)) == (16, 512)
    assert (draws_of(large), positions_of(large, 512), positions_of(large, 5)) == (4, 64, 5)
    origins = ["text"] * 8 + ["random"] * 8 + ["fixed"] * 2
    windows = [Window(np.zeros(2, np.int64), origin) for origin in origins]
    assert windows_of(tiny, windows) == list(range(18))
    # the first of each origin, then the second, and so on
    assert windows_of(large, windows) == [0, 1, 2, 8, 9, 10, 16, 17]
