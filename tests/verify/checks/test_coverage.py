"""A policy's demand is met or not met at its very limit, and what is not met says what to do."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.checks.coverage import check_coverage
from verify.checks.policy import CoverageDemands
from verify.evidence.coverage import Coverage

FOUND = Coverage(windows=10, tokens=6656, positions=2048, max_seq_len=8192, token_ids=4912, vocab_size=49152)


@pytest.mark.parametrize(
    ("demand", "unmet"),
    [
        (
            ("positions", 0.25, 0.251),
            "positions: expected at least 0.251 of 8192, found 2048 (0.25): give --length 2057, or --depth full with "
            "enough --memory",
        ),
        (
            ("token_ids", 4912 / 49152, 0.1),
            "token_ids: expected at least 0.1 of 49152, found 4912 (0.0999): give --depth full or more --windows",
        ),
        (
            ("windows", 10, 11),
            "windows: expected at least 11, found 10: give --depth full or more --windows",
        ),
    ],
)
def test_a_demand_passes_at_its_limit_and_fails_beyond(demand: tuple[str, Any, Any], unmet: str) -> None:
    name, enough, too_much = demand
    passed = check_coverage(FOUND, CoverageDemands(**{name: enough}))
    assert (passed.status, passed.bound, passed.observed, passed.limit) == ("pass", "policy", 0, 0)
    assert f"covered: {passed.detail}" == FOUND.sentence()
    failed = check_coverage(FOUND, CoverageDemands(**{name: too_much}))
    assert (failed.status, failed.observed, failed.limit) == ("fail", 1, 0)
    assert failed.detail == unmet


def test_all_that_is_not_met_is_named() -> None:
    failed = check_coverage(FOUND, CoverageDemands(1.0, 1.0, 100))
    assert failed.observed == 3
    assert [part.split(":")[0] for part in failed.detail.split("; ")] == ["positions", "token_ids", "windows"]


@given(
    positions=st.integers(0, 64),
    token_ids=st.integers(0, 50),
    share=st.floats(0, 1),
    name=st.sampled_from(["positions", "token_ids"]),
)
def test_a_share_is_held_against_what_was_covered(positions: int, token_ids: int, share: float, name: str) -> None:
    found = dataclasses.replace(FOUND, positions=positions, max_seq_len=64, token_ids=token_ids, vocab_size=50)
    covered = {"positions": positions / 64, "token_ids": token_ids / 50}[name]
    check = check_coverage(found, CoverageDemands(**{name: share}))  # type: ignore[arg-type]
    assert (check.status == "pass") == (covered >= share)


def test_where_nothing_ran_no_demand_is_met() -> None:
    nothing = Coverage.of([], 100, 40)
    assert check_coverage(nothing, CoverageDemands(windows=1)).status == "fail"
    assert check_coverage(nothing, CoverageDemands(positions=0.01)).status == "fail"
