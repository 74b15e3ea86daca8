"""Report: the one model of what was found, from which every rendering is made."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from verify.attribution import Attribution
from verify.checks.operations import LayerReport
from verify.checks.result import CheckResult
from verify.checks.tensors import TensorReport
from verify.closure import Closure
from verify.diagnosis import Diagnosis
from verify.metrics import Metrics

SCHEMA_ID = "export-and-verify/report/1"
SCHEMA_FILE = Path(__file__).with_name("report.schema.json")


@dataclasses.dataclass(frozen=True)
class Report:
    """A verdict and its evidence. metrics_q8_activations is there for Q8_0 files: the same file under runq.c's
    arithmetic, which rounds activations to int8 as well."""

    source: Mapping[str, Any]
    file: Mapping[str, Any]
    config: Mapping[str, Any]
    checks: tuple[CheckResult, ...]
    metrics: Metrics | None
    metrics_q8_activations: Metrics | None
    tensors: tuple[TensorReport, ...]
    layers: tuple[LayerReport, ...]
    diagnosis: Diagnosis | None
    closure: Closure | None
    attribution: Attribution | None
    environment: Mapping[str, Any]

    @property
    def verdict(self) -> Literal["pass", "fail"]:
        return "pass" if self.checks and all(c.status == "pass" for c in self.checks) else "fail"

    @property
    def passed(self) -> bool:
        return self.verdict == "pass"

    def to_dict(self) -> dict[str, Any]:
        """Plain data that validates against the schema. Infinities and NaN, which JSON has not, become text."""
        checks = [
            {**_plain(dataclasses.asdict(check)), "utilisation": _plain(check.utilisation)} for check in self.checks
        ]
        return {
            "schema": SCHEMA_ID,
            "verdict": self.verdict,
            "source": _plain(self.source),
            "file": _plain(self.file),
            "config": _plain(self.config),
            "checks": checks,
            "diagnosis": _record(self.diagnosis),
            "metrics": _record(self.metrics),
            "metrics_q8_activations": _record(self.metrics_q8_activations),
            "tensors": [_plain(dataclasses.asdict(tensor)) for tensor in self.tensors],
            "closure": _record(self.closure),
            **_of_attribution(self.attribution),
            "layers": [_plain(dataclasses.asdict(layer)) for layer in self.layers],
            "environment": _plain(self.environment),
        }

    def to_json(self) -> str:
        """report.json: validated before anyone sees it."""
        import jsonschema  # noqa: PLC0415  # only needed here

        report = self.to_dict()
        jsonschema.validate(report, schema())
        return json.dumps(report, indent=2, allow_nan=False) + "\n"


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema that every report validates against."""
    contents: dict[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    return contents


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
    return None if found is None else _plain(dataclasses.asdict(found))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
