"""Report: the one model of what was found, from which every rendering is made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from verify.attribution.logit_error import Closure
from verify.attribution.storage_cost import Attribution
from verify.checks.baseline import Comparison
from verify.checks.metrics import Metrics, WindowMetrics
from verify.checks.operations import LayerReport
from verify.checks.policy import Policy
from verify.checks.result import CheckResult
from verify.checks.tensors import TensorReport
from verify.diagnosis import Diagnosis
from verify.engine.trial import EngineReport

if TYPE_CHECKING:
    from jsonschema import ValidationError

SCHEMA_ID = "export-and-verify/report/1"
SCHEMA_FILE = Path(__file__).with_name("report.schema.json")


@dataclasses.dataclass(frozen=True)
class Baseline:
    """An earlier release's report, and what it was compared in. path and sha256 are the report's, file is what it
    says of the file that it judged."""

    path: str
    sha256: str
    file: Mapping[str, Any]
    comparisons: tuple[Comparison, ...]


@dataclasses.dataclass(frozen=True)
class Report:
    """A verdict and its evidence. metrics_q8_activations is there for Q8_0 files: the same file under runq.c's
    arithmetic, which rounds activations to int8 as well."""

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

    @property
    def blamed(self) -> tuple[CheckResult, ...]:
        """The checks that keep the file from passing: those that failed, then those that may not be skipped."""
        failed = [check for check in self.checks if check.status == "fail"]
        skipped = [check for check in self.checks if check.status == "skipped"]
        return (*failed, *(check for check in skipped if check.name not in self.policy.may_be_skipped))

    @property
    def verdict(self) -> Literal["pass", "fail"]:
        seen = any(check.status == "pass" for check in self.checks)
        return "pass" if seen and not self.blamed else "fail"

    @property
    def passed(self) -> bool:
        return self.verdict == "pass"

    @property
    def reason(self) -> str:
        """Of the verdict, in one sentence."""
        if self.passed:
            allowed = [check.name for check in self.checks if check.status == "skipped"]
            without = f", without {', '.join(allowed)}, as the policy allows" if allowed else ""
            return f"{sum(c.status == 'pass' for c in self.checks)} of {len(self.checks)} checks passed{without}"
        if not self.blamed:
            return "no check passed"
        first = self.blamed[0]
        return f"{first.name}: {'skipped: ' if first.status == 'skipped' else ''}{first.detail}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data that validates against the schema. Infinities and NaN, which JSON has not, become text."""
        checks = [
            {**plain(dataclasses.asdict(check)), "utilisation": plain(check.utilisation)} for check in self.checks
        ]
        report = {
            "schema": SCHEMA_ID,
            "verdict": self.verdict,
            "source": plain(self.source),
            "file": plain(self.file),
            "config": plain(self.config),
            "policy": _record(self.policy),
            "evidence": plain(self.evidence),
            "checks": checks,
            "diagnosis": _record(self.diagnosis),
            "metrics": _record(self.metrics),
            "metrics_q8_activations": _record(self.metrics_q8_activations),
            "windows": [_record(window) for window in self.windows],
            "tensors": [_record(tensor) for tensor in self.tensors],
            "closure": _record(self.closure),
            **_of_attribution(self.attribution),
            "layers": [_record(layer) for layer in self.layers],
            "baseline": _record(self.baseline),
            "environment": plain(self.environment),
            "engine": _record(self.engine),
        }
        return {**report, "digest": digest_of_report(report)}

    def to_json(self) -> str:
        """report.json: validated before anyone sees it."""
        report = self.to_dict()
        if wrong := against_schema(report):
            raise wrong
        return json.dumps(report, indent=2, allow_nan=False) + "\n"

    def to_html(self) -> str:
        """report.html: one page without a network, for a screen of any size and for paper."""
        from verify.report.html import render  # noqa: PLC0415  # imports this module

        return render(self)


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema that every report validates against."""
    contents: dict[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    return contents


@cache
def _validator() -> Any:
    """Made once: to look the schema itself over takes eight times as long as a report."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415  # only needed here

    return Draft202012Validator(schema())


def against_schema(report: Mapping[str, Any]) -> ValidationError | None:
    """The most telling way in which a report is not what the schema says; None if there is none."""
    from jsonschema.exceptions import best_match  # noqa: PLC0415  # as above

    found: ValidationError | None = best_match(_validator().iter_errors(report))
    return found


def digest_of_report(report: Mapping[str, Any]) -> str:
    """sha256 over all that a report says but for the digest itself: in sorted, compact JSON."""
    content = {key: value for key, value in report.items() if key != "digest"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _of_attribution(attribution: Attribution | None) -> dict[str, Any]:
    """The shares stand by themselves, and beside them what they are shares of and what they miss."""
    if attribution is None:
        return {"attribution": [], "attribution_of": None, "linearity_residual": None}
    record: dict[str, Any] = _record(attribution)
    return {
        "attribution": record.pop("shares"),
        "linearity_residual": record.pop("residual"),
        "attribution_of": record,
    }


def _record(found: Any) -> Any:
    return None if found is None else plain(dataclasses.asdict(found))


def readable(text: str) -> str:
    """text without what no UTF-8 can hold: bytes of a file's name that are not text, as they stand in its str."""
    return text.encode(errors="backslashreplace").decode()


def plain(value: Any) -> Any:
    """Mappings, lists, numbers and text that JSON has: what is not finite becomes text."""
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, Mapping):
        return {readable(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
