"""A check passes within its limit, fails on a NaN, and tolerates nothing where it is exact."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from verify.checks.result import CHECKS, checks_made, exact, skipped, within, without_limit

LIMITS = st.floats(allow_nan=False, allow_infinity=False)


@given(LIMITS)
@example(1.0)
@example(0.0)
def test_the_limit_itself_passes_and_the_next_number_does_not(limit: float) -> None:
    assert within("execution", "statistical", limit, limit, "x").status == "pass"
    assert within("execution", "statistical", math.nextafter(limit, -math.inf), limit, "x").status == (
        "fail" if limit == -sys.float_info.max else "pass"
    )
    assert within("execution", "statistical", math.nextafter(limit, math.inf), limit, "x").status == "fail"


@given(st.floats(), st.floats())
def test_a_pass_is_a_finite_number_within_a_finite_limit(observed: float, limit: float) -> None:
    found = within("execution", "statistical", observed, limit, "x")
    assert (found.status == "pass") == (math.isfinite(observed) and math.isfinite(limit) and observed <= limit)


@pytest.mark.parametrize(("findings", "status"), [(0, "pass"), (1, "fail"), (7, "fail")])
def test_an_exact_check_passes_on_zero_findings(findings: int, status: str) -> None:
    found = exact("file", findings, "x")
    assert (found.status, found.observed, found.limit, found.utilisation) == (status, float(findings), 0.0, None)


def test_utilisation_is_the_factor_that_would_have_passed() -> None:
    found = within("execution", "statistical", 25.0, 10.0, "x")
    assert found.utilisation == 2.5
    assert within("execution", "statistical", 25.0, 10.0 * 2.5, "x").status == "pass"
    assert skipped("execution", "statistical", "why").utilisation is None


def test_a_result_has_the_place_that_was_found_or_none() -> None:
    place = {"tensor": "norm.weight", "index": 3}
    assert exact("file", 1, "x").where == within("execution", "statistical", 1.0, 2.0, "x").where == {}
    assert (
        exact("file", 1, "x", place).where == within("execution", "statistical", 1.0, 2.0, "x", place).where == place
    )
    assert without_limit("quantization", "policy", 1.0, "x", place).where == place
    assert skipped("file", "exact", "why").where == {}


def test_without_a_limit_all_pass_and_use_no_share_of_it() -> None:
    found = without_limit("quantization", "policy", 1e300, "x", {})
    assert (found.status, found.observed, found.limit, found.utilisation) == ("pass", 1e300, None, None)


def test_a_verdict_has_every_check_that_what_is_judged_and_what_is_given_allow() -> None:
    plain = {"directory": False, "engine": False, "coverage": False, "baseline": False, "tokenizer": False}
    always = ("config", "file", "tensors", "execution", "storage", "quantization")
    assert checks_made(**{**plain, "directory": True}) == always
    assert checks_made(**plain) == (*always[:3], "operations", *always[3:])
    for name in ("engine", "coverage", "baseline", "tokenizer"):
        assert set(checks_made(**{**plain, name: True})) == {*always, "operations", name}
    assert checks_made(directory=False, engine=True, coverage=True, baseline=True, tokenizer=True) == CHECKS
    without = tuple(name for name in CHECKS if name != "tokenizer")
    assert checks_made(directory=False, engine=True, coverage=True, baseline=True) == without
