"""Process-wide settings that change what PyTorch and NumPy compute, pinned while a verdict is reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

from verify.errors import CannotJudgeError


@contextmanager
def pinned_numerics() -> Iterator[None]:
    """Compute with PyTorch's and NumPy's defaults in the block; restore the caller's settings afterwards.

    Pinned are autocast, the default dtype and device, matmul precision, gradient and inference mode, deterministic
    algorithms, NumPy's error state, and the processor's handling of subnormal numbers. Raises CannotJudgeError if
    subnormal numbers are flushed to zero and that cannot be turned off.
    """
    with ExitStack() as stack:
        stack.enter_context(_default_device())
        stack.enter_context(_subnormals_kept())
        stack.enter_context(_default_dtype())
        stack.enter_context(_matmul_precision())
        stack.enter_context(_no_deterministic_algorithms())
        stack.enter_context(torch.autocast("cpu", enabled=False))
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        yield


@contextmanager
def _default_device() -> Iterator[None]:
    """Make tensors on the CPU.

    Another device is overruled only where somebody chose one: a chosen device sends each call of PyTorch through
    Python.
    """
    if torch.get_default_device() == torch.device("cpu"):
        yield
        return
    with torch.device("cpu"):
        yield


@contextmanager
def _default_dtype() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _matmul_precision() -> Iterator[None]:
    """Multiply float32 matrices in float32: "medium" would round their elements to bfloat16."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _no_deterministic_algorithms() -> Iterator[None]:
    """On the CPU this setting changes no result, but some operations raise an error under it.

    It is touched only where somebody made it, because setting it imports PyTorch's compiler, which takes a second.
    """
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    if not torch.are_deterministic_algorithms_enabled():
        yield
        return
    torch.use_deterministic_algorithms(mode=False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=True, warn_only=warn_only)


@contextmanager
def _subnormals_kept() -> Iterator[None]:
    """Keep subnormal numbers. Loading a library that was built with -Ofast flushes them to zero in the process."""
    flushed = _flushes()
    if flushed:
        torch.set_flush_denormal(False)
        if _flushes():
            raise CannotJudgeError(
                "floating point: expected subnormal numbers to be kept, found that this process flushes them to zero "
                "(a library built with -Ofast or -ffast-math does that when it is loaded): verify in a fresh process"
            )
    try:
        yield
    finally:
        if flushed:
            torch.set_flush_denormal(True)


def _flushes() -> bool:
    """Whether PyTorch or NumPy lose a subnormal number on this thread."""
    smallest_normal = 2.0**-126
    by_torch = torch.full((64,), smallest_normal, dtype=torch.float32).mul_(0.5)
    by_numpy = np.full(64, smallest_normal, np.float32) * np.float32(0.5)
    return not (bool((by_torch > 0).all()) and bool((by_numpy > 0).all()))
