"""What all bounds share: no finite bound out of a NaN, and inputs as the engine computes them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest
import torch
from helpers import float32
from helpers.attacks import pair_of_rows
from helpers.float32 import F, Row
from helpers.models import config, hyperparameters, same_bits
from reader_c._reader import lib

from reader_c import _reader
from verify.operations import bounds

T = torch.Tensor
MODEL = hyperparameters(config(dim=4, n_heads=1, n_kv_heads=1))


def silu(gate: T, up: T) -> T:
    return gate * torch.sigmoid(gate) * up


ONES, NONE = torch.ones(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)

# each of one row of two numbers, the first of which will be poisoned
OF_ROWS: dict[str, Callable[[T], T]] = {
    "product": lambda x: bounds.product(x.abs(), 7, "mirror"),
    "product, fast": lambda x: bounds.product(x.abs(), 7, "fast"),
    "biased, the product": lambda x: bounds.biased(x.abs(), ONES),
    "biased, the sum": lambda x: bounds.biased(ONES, x),
    "score": lambda x: bounds.score(x.abs(), 7),
    "mixture": lambda x: bounds.mixture(x.abs(), 7),
    "rotation": lambda x: bounds.rotation(x.abs()),
    "activation_scale": lambda x: bounds.activation_scale(x.abs()),
    "activation_step": lambda x: bounds.activation_step(x.abs()),
    "quantized_product": lambda x: bounds.quantized_product(x.abs(), 7, 32),
    "rms_norm": lambda x: bounds.rms_norm(x / (x.square() + 1).sqrt(), ONES, x.square(), 1e-5, 7),
    "rms_norm, the mean": lambda x: bounds.rms_norm(NONE, ONES, x.square(), 1e-5, 7),
    "rms_norm, the weight": lambda x: bounds.rms_norm(NONE, x, ONES, 1e-5, 7),
    "softmax": lambda x: bounds.softmax(ONES / 2, x, 2),
    "rope_frequency": lambda x: bounds.rope_frequency(x.abs(), MODEL),
    "rope_angle": lambda x: bounds.rope_angle(x.abs(), ONES[:, None], 0.0),
    "rope_table": lambda x: bounds.rope_table(ONES, x.abs()),
    **{
        f"gated, {activation}": lambda x, a=activation: bounds.gated(silu(x, ONES), x, ONES, a)
        for activation in ("silu", "gelu", "gelu_tanh")
    },
    **{
        f"gated, {activation}, shut": lambda x, a=activation: bounds.gated(NONE, x, ONES, a)
        for activation in ("silu", "gelu", "gelu_tanh")
    },
    "gated, up": lambda x: bounds.gated(NONE, NONE, x, "silu"),
}


@pytest.mark.parametrize("name", OF_ROWS)
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_nothing_lies_within_the_bound_of_what_is_not_finite(name: str, poison: float) -> None:
    healthy = OF_ROWS[name](torch.tensor([0.25, 0.5], dtype=torch.float64))
    assert torch.isfinite(healthy).all()
    assert (healthy.flatten()[-1:] > 0).all()
    poisoned = OF_ROWS[name](torch.tensor([poison, 0.5], dtype=torch.float64)).broadcast_to(healthy.shape)
    assert not torch.isfinite(poisoned.flatten()[0])
    assert torch.isinf(bounds.utilisation(torch.ones_like(poisoned), poisoned).flatten()[0])


def test_a_poisoned_score_poisons_all_shares_of_its_row() -> None:
    scores = torch.tensor([[0.0, float("nan")], [0.0, -float("inf")], [0.0, 1.0]], dtype=torch.float64)
    bound = bounds.softmax(torch.full((3, 2), 0.5, dtype=torch.float64), scores, 2)
    assert torch.isfinite(bound).tolist() == [[False, False], [False, False], [True, True]]


def test_utilisation_lets_nothing_pass_that_cannot_be_compared() -> None:
    nan, inf = float("nan"), float("inf")
    errors = torch.tensor([0.0, 0.0, 1.0, 2.0, nan, inf, 1.0, 1.0, 0.0, 0.0])
    limits = torch.tensor([0.0, 1.0, 2.0, 1.0, 1.0, 1.0, nan, inf, nan, inf])
    assert bounds.utilisation(errors, limits).tolist() == [0, 0, 0.5, 2, inf, inf, inf, inf, inf, inf]


# ---- the emulation that the bounds are tried on ----

_kernels = ctypes.CDLL(_reader.__file__)


class _Matrix(ctypes.Structure):
    """rc_matrix of matrix.h"""

    _fields_ = (
        ("storage", ctypes.c_int),
        ("rows", ctypes.c_int64),
        ("cols", ctypes.c_int64),
        ("group_size", ctypes.c_int64),
        ("values", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
    )


def at(values: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(values.ctypes.data)


def count(n: int) -> ctypes.c_int64:
    return ctypes.c_int64(n)


# the first function of the table of `fast`
_kernels.rc_fast_path.restype = ctypes.POINTER(ctypes.c_void_p)
_products = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p, ctypes.c_int64] * 3, ctypes.c_int64)(
    _kernels.rc_fast_path(0)[0]
)


@pytest.mark.parametrize("terms", [1, 15, 16, 17, 100])
def test_emulated_dot_products_have_the_engines_bits(terms: int) -> None:
    for seed in range(20):
        a, b = pair_of_rows("normal", terms, 0, seed)
        matrix = _Matrix(lib.RC_FP32, 1, terms, 0, a.ctypes.data, None)
        engine, room = np.empty(1, F), np.empty(8 * 16 * terms, F)
        _kernels.rc_matmul(at(engine), at(b), count(1), ctypes.byref(matrix), at(room), at(room))
        assert same_bits(engine[0], np.array(float32.dot_mirror(a, b)))
        _products(at(engine), count(1), at(b), count(1), at(a), count(1), count(terms))
        assert same_bits(engine[0], np.array(float32.dot_fast(a, b)))


def test_emulated_rows_have_the_engines_bits() -> None:
    rng = np.random.default_rng(0)
    x, weight = (rng.standard_normal((2, 300)) * 3).astype(F)
    out = np.empty_like(x)
    _kernels.rc_rmsnorm(at(out), at(x), at(weight), count(300), ctypes.c_float(1e-5))
    assert same_bits(out, float32.rms_norm(x, weight, F(1e-5)))
    out = x.copy()
    _kernels.rc_softmax(at(out), count(300))
    assert same_bits(out, float32.softmax(x))
    for number, activation in enumerate(("silu", "gelu", "gelu_tanh")):
        out = x.copy()
        _kernels.rc_gated(at(out), at(weight), count(300), ctypes.c_int(number))
        assert same_bits(out, float32.gated(x, weight, activation))
    out = x.copy()
    _kernels.rc_cap(at(out), count(300), ctypes.c_float(3.3))
    assert same_bits(out, F(3.3) * float32.call("tanhf", x / F(3.3)))
    for size in (1.0, 2.0**-140, 2.0**-150):
        scaled: Row = x * F(size)
        q, scale = np.empty(300, np.int8), np.empty(1, F)
        _kernels.rc_quantize_activations(at(q), at(scale), at(scaled), count(300), count(300))
        mine, of_mine = float32.quantize_activations(scaled)
        assert same_bits(q, mine)
        assert scale[0] == of_mine


def test_emulated_rope_has_the_engines_bits() -> None:
    frequencies = float32.rope_frequencies(10000.0, 96, np.ones(48))
    cosine, sine = np.empty(48, F), np.empty(48, F)
    _kernels.rc_rope_row(at(cosine), at(sine), count(777), at(frequencies), count(48), ctypes.c_float(1.25))
    mine = float32.rope_row(777, frequencies, 1.25)
    assert same_bits(np.stack((cosine, sine)), np.stack(mine))
    x = np.random.default_rng(0).standard_normal(96).astype(F)
    turned = x.copy()
    _kernels.rc_rotate(at(turned), count(1), count(96), count(96), at(cosine), at(sine))
    assert same_bits(turned, np.stack(float32.rotated(x[::2], x[1::2], *mine), axis=1).ravel())
