"""Define the findings: everything that a verdict is made of, as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from verify.attribution.logit_error import Closure
from verify.attribution.storage_cost import Attribution
from verify.checks.baseline import BaselineComparison
from verify.checks.certificates import Certificates, GreedyText
from verify.checks.metrics import Metrics, WindowMetrics
from verify.checks.operations import LayerReport
from verify.checks.policy import Policy
from verify.checks.result import CheckResult
from verify.checks.tensors import TensorReport
from verify.checks.tokenizer import TokenizerReport
from verify.diagnosis import Diagnosis
from verify.engine.engine_report import EngineReport
from verify.evidence.coverage import Coverage


@dataclasses.dataclass(frozen=True)
class Baseline:
    """Names the report of an earlier release, with the figures that were compared with it.

    path, sha256: of that report. file: what it says about the file that it judged.
    """

    path: str
    sha256: str
    file: Mapping[str, Any]
    comparisons: tuple[BaselineComparison, ...]


@dataclasses.dataclass(frozen=True)
class JudgedAgain:
    """Says that judge() made the report from a saved one, without running a model.

    file: whether judge() was given the file, and so knows that the report is about it. report_sha256: of the saved
    report.json. public_key_sha256: of the key by which that report is signed; None if no key was given.
    """

    file: Literal["hashed again", "as reported"]
    report_sha256: str
    public_key_sha256: str | None


@dataclasses.dataclass(frozen=True)
class Findings:
    """Holds a verdict and its evidence.

    notes: what a reader should know beside the verdict, such as a setting that nobody typed.
    metrics_q8_activations: of a Q8_0 file under runq.c's arithmetic, which also rounds activations to int8. date: of
    the run, in UTC; None in reports of earlier versions. certificates: what is certain of greedy text; None without
    logits, and in reports of earlier versions. greedy_texts: how long greedy text is certain from the prompts that
    were given.
    """

    source: Mapping[str, Any]
    file: Mapping[str, Any]
    config: Mapping[str, Any]
    policy: Policy
    evidence: Mapping[str, Any]
    checks: tuple[CheckResult, ...]
    metrics: Metrics | None
    metrics_q8_activations: Metrics | None
    windows: tuple[WindowMetrics, ...]
    tensors: tuple[TensorReport, ...]
    layers: tuple[LayerReport, ...]
    diagnosis: Diagnosis | None
    closure: Closure | None
    attribution: Attribution | None
    baseline: Baseline | None
    environment: Mapping[str, Any]
    engine: EngineReport | None = None
    tokenizers: tuple[TokenizerReport, ...] = ()
    judged_again: JudgedAgain | None = None
    notes: tuple[str, ...] = ()
    date: str | None = None
    certificates: Certificates | None = None
    greedy_texts: tuple[GreedyText, ...] = ()

    @property
    def blamed(self) -> tuple[CheckResult, ...]:
        """Return the checks that keep the file from passing: those that failed, then those that may not be
        skipped."""
        failed = [check for check in self.checks if check.status == "fail"]
        skipped = [check for check in self.checks if check.status == "skipped"]
        return (*failed, *(check for check in skipped if check.name not in self.policy.may_be_skipped))

    @property
    def verdict(self) -> Literal["pass", "fail"]:
        """Return "pass" if at least one check passed and no check is blamed."""
        seen = any(check.status == "pass" for check in self.checks)
        return "pass" if seen and not self.blamed else "fail"

    @property
    def passed(self) -> bool:
        """Return whether the verdict is a pass."""
        return self.verdict == "pass"

    @property
    def reason(self) -> str:
        """Give the reason of the verdict in one sentence, with the policy if it is not the package's own."""
        by = "" if self.policy.is_default else f"by the policy {self.policy.path}"
        if self.passed:
            passed = f"{sum(c.status == 'pass' for c in self.checks)} of {len(self.checks)} checks passed"
            allowed = [check.name for check in self.checks if check.status == "skipped"]
            without = f"without {', '.join(allowed)}, as the policy allows" if allowed else ""
            return ", ".join(filter(None, (passed, by, without)))
        why = _blame(self.blamed[0]) if self.blamed else "no check passed"
        return f"{why} ({by})" if by else why

    @property
    def coverage(self) -> Coverage | None:
        """Return what the verdict covered; None for a report that was made before it was recorded."""
        return Coverage.of_report(self.evidence)

    @property
    def as_reported(self) -> bool:
        """Return whether only a saved report says which file this is about."""
        return self.judged_again is not None and self.judged_again.file == "as reported"

    @property
    def caveat(self) -> str:
        """Return what follows the reason where the verdict is about no file that anybody hashed; else nothing."""
        return "; as reported: judge was given no file to hash" if self.as_reported else ""


def _blame(check: CheckResult) -> str:
    return f"{check.name}: {'skipped: ' if check.status == 'skipped' else ''}{check.detail}"
