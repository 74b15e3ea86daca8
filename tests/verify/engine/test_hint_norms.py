"""The references of mistakes with norms and values have these very mistakes, by formulas of their own."""

from __future__ import annotations

import math

import numpy as np
import torch
from helpers.models import arrays, config, hyperparameters

from verify.engine.hint_norms import of_norms
from verify.engine.hint_reference import MistakenReference
from verify.engine.hint_rope import of_rope

MODEL = config()
HYPER = hyperparameters(MODEL)
WEIGHTS = {name: torch.from_numpy(array) for name, array in arrays(MODEL).items()}
EPS = torch.tensor(HYPER.norm_eps, dtype=torch.float32).item()


def norm_mistake(name: str) -> MistakenReference:
    return next(one for one in of_norms(HYPER, WEIGHTS.__getitem__) if one.mistake.name == name)


def rms(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return weight * x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS)


def inputs() -> tuple[np.ndarray, np.ndarray]:
    """Off centre, and so small that epsilon counts."""
    rng = np.random.default_rng(0)
    return 0.004 * rng.standard_normal((3, 5, HYPER.dim)) + 0.002, rng.uniform(0.5, 2, HYPER.dim)


def test_a_centred_norm_is_layer_norm_with_the_same_epsilon() -> None:
    x, weight = inputs()
    change = norm_mistake("norm-centred").norm
    assert change is not None
    found = change(torch.from_numpy(rms(x, weight)), torch.from_numpy(weight))
    off = x - x.mean(-1, keepdims=True)
    np.testing.assert_allclose(found.numpy(), rms(off, weight), rtol=1e-9)
    assert not np.allclose(found.numpy(), rms(x, weight), rtol=1e-3)


def test_a_norm_that_is_applied_twice_is_the_norm_of_its_own_result() -> None:
    x, weight = inputs()
    change = norm_mistake("norm-twice").last_norm
    assert change is not None
    found = change(torch.from_numpy(rms(x, weight)), torch.from_numpy(weight))
    np.testing.assert_allclose(found.numpy(), rms(rms(x, weight), weight), rtol=1e-12)


def test_weights_that_are_zero_cannot_be_divided_by() -> None:
    zero = {**WEIGHTS, "norm.weight": torch.zeros(HYPER.dim)}
    names = {one.mistake.name for one in of_norms(HYPER, zero.__getitem__)}
    assert "norm-centred" not in names
    assert "norm-twice" in names


def test_values_are_rotated_as_queries_and_keys_are() -> None:
    known = next(one for one in of_rope(HYPER, WEIGHTS.__getitem__, 0) if one.mistake.name == "rope-on-values")
    length, size = 6, HYPER.head_dim
    angles = np.outer(np.arange(length + 1), HYPER.rope_theta ** (-np.arange(0, size, 2) / size))
    assert known.watch is not None
    watch = known.watch(HYPER, torch.polar(torch.ones(angles.shape, dtype=torch.float64), torch.from_numpy(angles)))
    v = np.random.default_rng(0).standard_normal((2, length, HYPER.n_kv_heads * size))
    found = watch("v", torch.from_numpy(v)).numpy()
    for position in range(length):
        for at in range(0, v.shape[-1], 2):
            turned = complex(v[1, position, at], v[1, position, at + 1])
            angle = angles[position, at % size // 2]
            turned *= complex(math.cos(angle), math.sin(angle))
            np.testing.assert_allclose(found[1, position, at : at + 2], (turned.real, turned.imag), rtol=1e-9)
    assert np.array_equal(watch("k", torch.from_numpy(v)).numpy(), v)
