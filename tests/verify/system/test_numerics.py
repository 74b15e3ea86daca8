"""A verdict does not depend on settings that the calling process has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.checkpoints import save, state_dict
from helpers.models import toy_file

import verify
from verify.evidence import Evidence
from verify.system.numerics import pinned_numerics

QUICK = Evidence(depth="quick", windows=2, length=16)


@contextmanager
def default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float16)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def medium_matmul() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=False)


@contextmanager
def flushed_to_zero() -> Iterator[None]:
    assert torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


SETTINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default dtype": default_dtype,
    "default device": lambda: torch.device("meta"),
    "matmul precision": medium_matmul,
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "deterministic algorithms": deterministic,
    "flush to zero": flushed_to_zero,
    "numpy raises": lambda: np.errstate(all="raise"),
}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("numerics")
    return save(directory, state_dict()), toy_file(directory, "v2", tied=True)


@pytest.fixture(scope="module")
def plain(case: tuple[Path, Path]) -> dict[str, Any]:
    return verify.verify(*case, evidence=QUICK).to_dict()


@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_of_the_process_changes_a_digit(case: tuple[Path, Path], plain: dict[str, Any], name: str) -> None:
    with SETTINGS[name]():
        found = verify.verify(*case, evidence=QUICK).to_dict()
    assert found == plain


@pytest.mark.parametrize("name", SETTINGS)
def test_the_callers_settings_are_restored(name: str) -> None:
    def settings() -> tuple[object, ...]:
        return (
            torch.is_autocast_enabled("cpu"),
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.get_float32_matmul_precision(),
            torch.is_inference_mode_enabled(),
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            np.geterr(),
            bool((np.full(8, 2.0**-126, np.float32) * np.float32(0.5) > 0).all()),
        )

    with SETTINGS[name]():
        before = settings()
        with pinned_numerics():
            pass
        assert settings() == before


def test_a_process_that_cannot_keep_subnormals_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verify.system.numerics._flushes", lambda: True)
    with (
        pytest.raises(verify.CannotJudgeError, match="floating point: expected subnormal numbers to be kept"),
        pinned_numerics(),
    ):
        pass
    torch.set_flush_denormal(False)
