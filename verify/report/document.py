"""Make the document that report.json holds: findings as plain data, with a schema and a digest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verify.attribution.storage_cost import Attribution
from verify.report.facts import model_facts
from verify.report.findings import Findings

if TYPE_CHECKING:
    from jsonschema import ValidationError

SCHEMA_ID = "export-and-verify/report/1"
SCHEMA_FILE = Path(__file__).with_name("report.schema.json")


def document_of(findings: Findings) -> dict[str, Any]:
    """Return plain data that validates against the schema, with its digest.

    Infinities and NaN, which JSON does not have, become text.
    """
    checks = [
        {**plain(dataclasses.asdict(check)), "utilisation": plain(check.utilisation)} for check in findings.checks
    ]
    document = {
        "schema": SCHEMA_ID,
        "verdict": findings.verdict,
        "date": findings.date,
        "model": _record(model_facts(findings)),
        "source": plain(findings.source),
        "file": plain(findings.file),
        "config": plain(findings.config),
        "policy": _record(findings.policy),
        "evidence": plain(findings.evidence),
        "checks": checks,
        "diagnosis": _record(findings.diagnosis),
        "metrics": _record(findings.metrics),
        "metrics_q8_activations": _record(findings.metrics_q8_activations),
        "windows": [_record(window) for window in findings.windows],
        "certificates": _record(findings.certificates),
        "greedy_texts": [_record(one) for one in findings.greedy_texts],
        "tensors": [_record(tensor) for tensor in findings.tensors],
        "closure": _record(findings.closure),
        **_of_attribution(findings.attribution),
        "layers": [_record(layer) for layer in findings.layers],
        "baseline": _record(findings.baseline),
        "environment": plain(findings.environment),
        "engine": _record(findings.engine),
        "tokenizers": [_record(one) for one in findings.tokenizers],
        "judged_again": _record(findings.judged_again),
        "optional_checks": optional_checks(findings),
        "notes": plain(findings.notes),
    }
    return {**document, "digest": digest_of_report(document)}


def optional_checks(findings: Findings) -> list[str]:
    """Return the checks that were made because somebody requested them, or because the file holds a tokenizer."""
    made = {
        "tokenizer": bool(findings.tokenizers),
        "engine": findings.engine is not None,
        "baseline": findings.baseline is not None,
    }
    return [name for name, so in made.items() if so]


def _of_attribution(attribution: Attribution | None) -> dict[str, Any]:
    """Split the attribution: its shares, what they are shares of, and what they leave unexplained."""
    if attribution is None:
        return {"attribution": [], "attribution_of": None, "linearity_residual": None}
    record: dict[str, Any] = _record(attribution)
    return {
        "attribution": record.pop("shares"),
        "linearity_residual": record.pop("residual"),
        "attribution_of": record,
    }


def json_of(document: Mapping[str, Any]) -> str:
    """Return the text of report.json, after validating the document. Raises ValidationError."""
    if wrong := against_schema(document):
        raise wrong
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


@cache
def schema() -> dict[str, Any]:
    """Return the JSON Schema against which every report validates."""
    contents: dict[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    return contents


@cache
def _validator() -> Any:
    """Create the validator once, because checking the schema itself takes eight times as long as a report."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415  # only needed here

    return Draft202012Validator(schema())


def against_schema(document: Mapping[str, Any]) -> ValidationError | None:
    """Return the most relevant violation of the schema; None if there is none."""
    from jsonschema.exceptions import best_match  # noqa: PLC0415  # as above

    found: ValidationError | None = best_match(_validator().iter_errors(document))
    return found


def digest_of_report(document: Mapping[str, Any]) -> str:
    """Return the sha256 of everything in a report except the digest itself, as sorted, compact JSON."""
    content = {key: value for key, value in document.items() if key != "digest"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _record(found: Any) -> Any:
    return None if found is None else plain(dataclasses.asdict(found))


def readable(text: str) -> str:
    """Escape what UTF-8 cannot encode: bytes of a file's name that are not text."""
    return text.encode(errors="backslashreplace").decode()


def plain(value: Any) -> Any:
    """Return mappings, lists, numbers and text that JSON has; numbers that are not finite become text."""
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, Mapping):
        return {readable(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
