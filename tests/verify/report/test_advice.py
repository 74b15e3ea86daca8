"""Every check that does not pass has a next step: one sentence that says what to do."""

from __future__ import annotations

import dataclasses

import pytest
from helpers.reports import GUILTY, failing, passing, replaced

from verify.checks.result import CHECKS, CheckResult, exact, skipped
from verify.report.advice import next_step


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_that_does_not_pass_has_a_next_step_of_its_own(name: str) -> None:
    report = passing()
    failed = CheckResult(name, "fail", "policy", 2.0, 1.0, "it is so")
    left_out = skipped(name, "policy", "there was nothing")
    steps = [
        next_step(check, dataclasses.replace(report, checks=replaced(report.checks, check)))
        for check in (failed, left_out)
    ]
    others = [
        next_step(CheckResult(other, "fail", "policy", 2.0, 1.0, "it is so"), dataclasses.replace(report, checks=()))
        for other in CHECKS
        if other != name
    ]
    assert len({*steps, *others}) == 2 + len(others)
    for step in steps:
        assert step.endswith(".")
        assert "\n" not in step
        assert "{" not in step


def test_what_follows_from_an_earlier_failure_sends_back_to_it() -> None:
    report = failing()
    first, second = report.blamed
    assert GUILTY in next_step(first, report)
    assert first.name in next_step(second, report)


def test_the_guilty_place_is_in_the_sentence() -> None:
    report = failing()
    tensors, operations = report.blamed
    assert next_step(tensors, report) == (
        f"Fix how the exporter writes {GUILTY}, export again and verify again; "
        "`export-and-verify docs debugging-a-mismatch` helps to tell damage from a mistake with names or order."
    )
    alone = dataclasses.replace(report, checks=(operations,))
    assert next_step(operations, alone).startswith(
        "Check the engine's code and inputs at layer 1, down, and nothing after"
    )


def test_a_shallow_verdict_is_repeated_in_full_before_the_engine_is_searched() -> None:
    report, check = passing(), CheckResult("execution", "fail", "statistical", 11.0, 10.0, "x")
    deep = dataclasses.replace(report, evidence={**report.evidence, "depth": "full"})
    steps = [next_step(check, dataclasses.replace(one, checks=(check,))) for one in (report, deep)]
    assert steps[0].startswith("Verify again with --depth full and check how the engine connects its operations")
    assert steps[1].startswith("Check how the engine connects its operations")


def test_activations_that_a_recomputation_contradicts_have_a_step_of_their_own() -> None:
    check = exact("execution", 1, "int8 activations, computed again: x")
    assert next_step(check, dataclasses.replace(passing(), checks=(check,))).startswith(
        "Check how the engine rounds activations to int8 and in which order it adds the groups"
    )


@pytest.mark.parametrize(
    ("field", "says", "step"),
    [
        ("rope_theta", ", which v2 implies", "Export again in a format that can hold this model: v3 has"),
        ("group_size", " instead of what was requested", "Export again with the settings that you requested"),
        ("max_seq_len", "", "Export again with the length that you want, or verify with --max-seq-len"),
        (
            "hidden_dim",
            "",
            "Verify against the checkpoint that the file was made from; if this is it, fix how hidden_dim",
        ),
        ("tied", "", "Fix the value that the exporter writes into the header's field tied: set it where"),
        ("windowed_layers", "", "header's field windowed_layers: take each layer's own type"),
        ("rope_scaling_factor", "", "header's field rope_scaling_factor: take it from the source's rope_scaling"),
        ("rope_scaling_original_max_positions", "", "take original_max_position_embeddings, not max_position"),
        ("embedding_scale", "", "the exporter writes into the header's field embedding_scale ("),
    ],
)
def test_a_header_field_gets_the_advice_of_its_kind(field: str, says: str, step: str) -> None:
    detail = f"{field}: expected 1, found 2{says}; other: expected 3, found 4, which v2 implies"
    check = exact("config", 2, detail, {"field": field, "expected": 1, "found": "2"})
    assert step in next_step(check, dataclasses.replace(passing(), checks=(check,)))
