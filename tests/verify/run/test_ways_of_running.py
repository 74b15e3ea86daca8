"""What runs is what is judged: each arithmetic, each way of calling the reader, each position of each window.

Each test breaks one way of running the reader and leaves the others right, and sees `execution` fail for it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.checkpoints import save, state_dict
from helpers.models import toy_file
from numpy.typing import NDArray

import verify
from reader_c.session import Session

# arguments of Session.forward, the session, the right logits -> the logits that a broken reader gives
Break = Callable[[dict[str, Any], Session, NDArray[np.float32]], NDArray[np.float32]]


def judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: Break, format_name: str = "v2", depth: str = "quick"
) -> verify.Report:
    """Judge a healthy file with a reader that one of its calls makes wrong."""
    right = Session.forward

    def forward(session: Session, tokens: Any, **options: Any) -> NDArray[np.float32]:
        options = {"arithmetic": "fast", "activations": "fp32", "path": "best", **options, "tokens": tokens}
        logits = right(session, **options)
        return broken(options, session, logits)

    monkeypatch.setattr(Session, "forward", forward)
    return verify.verify(save(tmp_path, state_dict()), toy_file(tmp_path, format_name, tied=True), depth=depth)


def failed(report: verify.Report) -> tuple[list[str], str]:
    return [check.name for check in report.checks if check.status == "fail"], next(
        check.detail for check in report.checks if check.name == "execution"
    )


@pytest.mark.parametrize("arithmetic", ["mirror", "fast"])
def test_an_arithmetic_that_is_wrong_in_the_last_position_of_the_last_window_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arithmetic: str
) -> None:
    def broken(options: dict[str, Any], _: Session, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        if options["arithmetic"] == arithmetic and len(logits) > 1 and list(options["tokens"][:3]) == [0, 1, 2]:
            logits[-1, 5] += 0.01
        return logits

    names, detail = failed(judged(tmp_path, monkeypatch, broken, "v1-fp32"))
    assert names == ["execution"]
    assert f"of the C reader ({arithmetic}) against PyTorch" in detail


def test_the_healthy_reader_passes_and_says_what_was_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, detail = failed(judged(tmp_path, monkeypatch, lambda _options, _session, logits: logits))
    assert names == []
    assert "of the C reader (mirror and fast) against PyTorch" in detail
    assert "; recorded, token by token and in uneven pieces, 3 threads: the same bits; " in detail


@pytest.mark.parametrize("arithmetic", ["mirror", "fast"])
@pytest.mark.parametrize("activations", ["fp32", "q8"])
def test_later_calls_that_are_wrong_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arithmetic: str, activations: str
) -> None:
    """As where each later call started one position early."""

    def broken(options: dict[str, Any], session: Session, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        asked = (options["arithmetic"], options["activations"])
        if asked == (arithmetic, activations) and session.position > len(logits):
            logits[0] = np.nextafter(logits[0], np.float32(np.inf))
        return logits

    names, detail = failed(judged(tmp_path, monkeypatch, broken))
    kind = "int8" if activations == "q8" else "float"
    assert names == ["execution"]
    assert detail.startswith(
        f"{arithmetic}, {kind} activations, token by token and in uneven pieces: expected the bits"
    )


def test_a_path_that_differs_fails_at_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(options: dict[str, Any], _: Session, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        if options["path"] == "scalar":
            logits = np.nextafter(logits, np.float32(np.inf))
        return logits

    names, detail = failed(judged(tmp_path, monkeypatch, broken, "v1-fp32", depth="full"))
    assert names == ["execution"]
    assert "fast, float activations, 3 threads, scalar: expected the bits" in detail


@pytest.mark.parametrize("format_name", ["v0", "v1-fp32", "v3"])
def test_lossless_storage_costs_exactly_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_name: str
) -> None:
    """Rounding of the reader is not a cost of storage: it belongs to `execution`."""
    report = judged(tmp_path, monkeypatch, lambda _options, _session, logits: logits, format_name)
    assert report.metrics is not None
    assert (report.metrics.kl_max, report.metrics.max_abs_logit_error) == (0, 0)
    assert report.metrics.top1_agreement == 1
