"""The check `execution` merges its parts; each part alone can fail it."""

from __future__ import annotations

import math

import pytest

from verify.checks.execution import WorstLogit
from verify.checks.operations import LayerReport, Operations
from verify.checks.same_bits import NOTHING_COMPARED, SameBits
from verify.run.execution_verdict import execution_verdict, float_execution

AT = {"window": 0, "position": 1, "index": 2, "expected": 1.0, "found": 1.5}


def worst(sigmas: float, window: int = 0) -> WorstLogit:
    return WorstLogit(sigmas, {**AT, "window": window}, 0.5, 10)


def verdict(mirror: float = 1.0, fast: float = 1.0, agreement: float = 1.0, bits: SameBits = NOTHING_COMPARED):  # type: ignore[no-untyped-def]
    found = {"mirror": [worst(1.0), worst(mirror, 1)], "fast": [worst(0.5), worst(fast, 1)]}
    return execution_verdict(float_execution(found, 10.0), [worst(agreement)], bits, Operations())


@pytest.mark.parametrize("arithmetic", ["mirror", "fast"])
def test_one_step_beyond_the_limit_fails_and_names_the_arithmetic(arithmetic: str) -> None:
    assert verdict(**{arithmetic: 10.0}).status == "pass"
    failed = verdict(**{arithmetic: 10.000001})
    assert failed.status == "fail"
    assert failed.where == {**AT, "window": 1, "arithmetic": arithmetic}
    assert failed.detail.startswith(f"20 logits of the C reader ({arithmetic}) against")


def test_all_logits_of_both_arithmetics_are_counted() -> None:
    assert verdict().detail.startswith("40 logits of the C reader (mirror and fast) against")
    assert verdict(mirror=3.0).observed == 3.0


def test_references_that_disagree_fail_whatever_the_reader_does() -> None:
    failed = verdict(agreement=10.5)
    assert (failed.status, failed.bound) == ("fail", "exact")
    assert "do not compute the same model" in failed.detail


def test_other_bits_fail_exactly_and_come_after_a_failing_logit() -> None:
    bits = SameBits(("3 threads",), "other bits", AT)
    failed = verdict(bits=bits)
    assert (failed.status, failed.bound, failed.detail, failed.where) == ("fail", "exact", "other bits", AT)
    assert verdict(mirror=11.0, bits=bits).detail.endswith("; other bits")


def test_an_int8_replay_that_differs_fails() -> None:
    replays = Operations("fast")
    report = LayerReport("q8", 1, "down", 0.5, float("inf"), {**AT, "index": [2]}, "fast")
    replays.merge(type(replays.found)((report,), ("down",)))
    found = {"mirror": [worst(1.0)]}
    failed = execution_verdict(float_execution(found, 10.0), [], NOTHING_COMPARED, replays)
    assert failed.status == "fail"
    assert (
        "int8 activations, computed again: layer 1 down, int8 activations, fast is not the one right" in failed.detail
    )


def replayed(*shares: float) -> Operations:
    replays = Operations("fast")
    reports = tuple(
        LayerReport("q8", number, "down", 0.5, share, {**AT, "index": [2]}, "fast")
        for number, share in enumerate(shares)
    )
    replays.merge(type(replays.found)(reports, ("down",)))
    return replays


def test_operations_that_are_alike_are_counted_and_those_that_differ_are_findings() -> None:
    found = {"mirror": [worst(1.0)]}
    alike = execution_verdict(float_execution(found, 10.0), [], NOTHING_COMPARED, replayed(0.0, 0.0, 0.0))
    assert alike.status == "pass"
    assert alike.detail.endswith("; 3 operations on int8 activations computed again, every bit alike")
    two = execution_verdict(float_execution(found, 10.0), [], NOTHING_COMPARED, replayed(0.0, math.inf, math.inf))
    assert (two.status, two.bound, two.observed, two.where["layer"]) == ("fail", "exact", 2.0, 1)
    both = execution_verdict(
        float_execution({"mirror": [worst(11.0)]}, 10.0), [], NOTHING_COMPARED, replayed(math.inf)
    )
    assert (both.observed, both.where) == (1.0, {**AT, "arithmetic": "mirror"})
    assert "; int8 activations, computed again: " in both.detail


def test_ways_with_the_same_bits_are_named() -> None:
    detail = verdict(bits=SameBits(("3 threads", "in pieces"))).detail
    assert detail.endswith("; 3 threads, in pieces: the same bits")
    assert verdict(bits=SameBits(("3 threads",), "other bits", None)).where == {}
    assert verdict(bits=SameBits(("3 threads",), "other bits", AT)).observed == 1.0


def test_the_worse_arithmetic_is_named_even_where_both_pass() -> None:
    assert verdict(mirror=2.0, fast=3.0).where["arithmetic"] == "fast"
    assert verdict(mirror=3.0, fast=2.0).where["arithmetic"] == "mirror"


def test_the_first_operation_that_differs_is_described() -> None:
    found = execution_verdict(
        float_execution({"mirror": [worst(1.0)]}, 10.0), [], NOTHING_COMPARED, replayed(math.inf, 0.0, math.inf)
    )
    assert found.detail.startswith("int8 activations, computed again: layer 0 down")
    assert found.where["layer"] == 0
