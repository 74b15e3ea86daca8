"""What a policy's limits mean: each metric beyond its own fails, and the table of a file is that of what it lost."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.models import BIN_FORMATS
from helpers.reports import LIMITING_POLICY

from verify.checks.execution import LIMIT_SIGMAS
from verify.checks.metrics import Metrics
from verify.checks.policy import (
    DEFAULT_POLICY,
    QuantizationLimits,
    load_policy,
    policy_section,
)
from verify.checks.quantization import check_quantization
from verify.checks.result import within

HEALTHY = Metrics(
    positions=10,
    kl_mean=1e-4,
    kl_mean_ci=None,
    kl_p99=1e-3,
    kl_max=1e-2,
    top1_agreement=0.99,
    max_abs_logit_error=0.1,
    rms_logit_error=0.01,
    perplexity_source=8.0,
    perplexity_file=8.001,
    perplexity_ratio_ci=None,
)


@pytest.mark.parametrize("format_name", BIN_FORMATS)
def test_every_format_has_a_default(format_name: str) -> None:
    policy = load_policy(DEFAULT_POLICY, format_name)
    # how much cost is tolerable is the user's choice
    assert policy.quantization == QuantizationLimits()
    assert policy.may_be_skipped == ()
    # nobody is refused for what is proved to be rounding, or was seen of healthy engines
    assert (policy.operations.error_over_bound, policy.execution.noise_sigmas) == (1.0, LIMIT_SIGMAS)


@pytest.mark.parametrize("section", ["v1", "v2", "v3-half", "v3-q8_0"])
def test_the_example_limits_what_lossy_storage_costs_and_is_the_default_otherwise(section: str) -> None:
    default, example = load_policy(DEFAULT_POLICY, section), load_policy(LIMITING_POLICY, section)
    assert None not in dataclasses.astuple(example.quantization)
    same = {"path": default.path, "sha256": default.sha256, "quantization": default.quantization}
    assert dataclasses.replace(example, **same) == default


@pytest.mark.parametrize("section", ["v0", "v1-fp32", "v3"])
def test_the_example_limits_no_lossless_storage(section: str) -> None:
    default, example = load_policy(DEFAULT_POLICY, section), load_policy(LIMITING_POLICY, section)
    assert example.quantization == default.quantization == QuantizationLimits()


@pytest.mark.parametrize(
    "change",
    [
        {"kl_mean": 0.011},
        {"kl_max": 0.6},
        {"top1_agreement": 0.89},
        {"max_abs_logit_error": 3.1},
        {"perplexity_file": 8.2},
        {"kl_mean": float("nan")},
        {"max_abs_logit_error": float("inf")},
        {"perplexity_file": float("nan")},
    ],
)
def test_each_metric_beyond_its_limit_fails_by_name(change: dict[str, float]) -> None:
    limits = QuantizationLimits(
        kl_mean=0.01, kl_max=0.5, top1_agreement=0.9, max_abs_logit_error=3.0, perplexity_ratio=1.02
    )
    assert check_quantization(HEALTHY, HEALTHY, limits, lossless=False).status == "pass"
    result = check_quantization(dataclasses.replace(HEALTHY, **change), None, limits, lossless=False)
    assert result.status == "fail"
    (name,) = change
    named = {"top1_agreement": "1 - top1_agreement", "perplexity_file": "perplexity_ratio"}.get(name, name)
    assert named in result.detail


def test_a_limit_that_nothing_meets_fails_and_is_never_switched_off() -> None:
    limits = QuantizationLimits(kl_mean=-1.0)
    assert check_quantization(HEALTHY, None, limits, lossless=False).status == "fail"


def test_no_metrics_is_skipped_and_not_passed() -> None:
    assert check_quantization(None, None, QuantizationLimits(), lossless=False).status == "skipped"


@pytest.mark.parametrize(("observed", "limit"), [(float("nan"), 1.0), (1.0, float("nan")), (float("inf"), 1.0)])
def test_nan_never_passes_a_limit(observed: float, limit: float) -> None:
    assert within("execution", "statistical", observed, limit, "detail").status == "fail"


def section_of(stored: dict[str, str], of_source: str) -> str:
    """The table for a v3 file of a source with two tensors, a and b, both stored as of_source."""
    model: Any = SimpleNamespace(
        format="v3",
        names=tuple(stored),
        storage=lambda name: SimpleNamespace(name=name, storage=stored[name]),
    )
    source: Any = SimpleNamespace(
        hyperparameters=SimpleNamespace(shapes=lambda: {"a": (2,), "b": (2,)}), dtype=lambda _name: of_source
    )
    return policy_section(model, source)


@pytest.mark.parametrize(
    ("a", "b", "of_source", "section"),
    [
        *(("fp32", "fp32", kept, "v3") for kept in ("fp32", "fp16", "bf16")),
        *((kept, kept, kept, "v3") for kept in ("fp16", "bf16")),
        *((kept, "fp32", kept, "v3") for kept in ("fp16", "bf16")),
        *((lost, "fp32", "fp32", "v3-half") for lost in ("fp16", "bf16")),
        ("bf16", "fp16", "bf16", "v3-half"),
        ("fp16", "bf16", "bf16", "v3-half"),
        ("q8_0", "fp32", "fp32", "v3-q8_0"),
        ("fp32", "q8_0", "fp32", "v3-q8_0"),
        ("q8_0", "fp16", "fp32", "v3-q8_0"),
        ("q8_0", "q8_0", "bf16", "v3-q8_0"),
    ],
)
def test_the_table_for_v3_is_that_of_what_was_lost(a: str, b: str, of_source: str, section: str) -> None:
    assert section_of({"a": a, "b": b}, of_source) == section


def test_a_tensor_that_the_source_does_not_have_loses_nothing_of_it() -> None:
    assert section_of({"a": "fp32", "b": "fp32", "another": "fp16"}, "fp32") == "v3"
    assert section_of({"a": "fp32", "b": "bf16", "another": "fp16"}, "fp32") == "v3-half"


@pytest.mark.parametrize("format_name", ["v0", "v1", "v1-fp32", "v2"])
def test_the_table_of_any_other_format_is_its_own(format_name: str) -> None:
    model: Any = SimpleNamespace(format=format_name)
    assert policy_section(model, None) == format_name  # type: ignore[arg-type]
