"""The bar on a terminal: what it shows of a run, by a clock of the test's own."""

from __future__ import annotations

import io
import re

import pytest
from helpers.clock import Clock
from rich.console import Console

from verify.report.estimate import Estimate
from verify.report.progress_bar import Bar


def shown(width: int, *, verbose: bool = False) -> tuple[Bar, Clock, io.StringIO]:
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, color_system=None, legacy_windows=False)
    return Bar(console, Estimate(clock), verbose=verbose), clock, out


@pytest.mark.parametrize("width", [60, 80, 120])
def test_stage_share_and_time_left_fit_in_one_line(width: int) -> None:
    bar, clock, out = shown(width)
    with bar:
        bar("PyTorch", 0, 1)
        bar.plan({"operations": 50.0, "windows": 50.0})
        bar("operations", 0, 100)
        clock.now += 25
        bar("operations", 50, 100)
        bar._bar.refresh()
    lines = out.getvalue().split("\r")
    assert any("PyTorch 0 %" in line for line in lines)
    (last,) = {re.sub("\x1b[^a-zA-Z]*[a-zA-Z]", "", line).strip() for line in lines if "operations 50 %" in line}
    assert last.endswith("1 min 15 s left")
    assert " 25.0 % " in last
    assert len(last) <= width


def test_a_quiet_bar_leaves_no_line_and_a_verbose_one_a_line_for_each_stage() -> None:
    for verbose in (False, True):
        bar, clock, out = shown(80, verbose=verbose)
        with bar:
            bar("tensors", 0, 1)
            bar.plan({"windows": 61.0})
            clock.now += 2.25
            bar("windows", 0, 1)
            clock.now += 60
        left = [line for line in out.getvalue().splitlines() if "done in" in line or "predicted" in line]
        assert bar.announces == verbose
        assert len(left) == 3 * verbose
        for line, words in zip(
            left, ("predicted: about 1 min 1 s", "tensors: done in 2.2 s", "windows: done in 60.0 s"), strict=False
        ):
            assert words in line
