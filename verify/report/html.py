"""Render report.html: collect the values that the page shows, and fill its template with them.

The page is one file that loads nothing else: a policy in its head forbids every request and every script except its
own. Everything from the report is text, which the template escapes. The same report gives the same bytes.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import math
from collections.abc import Iterable
from functools import cache
from itertools import zip_longest
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from verify.checks.digits import apart, beside, number, percentage
from verify.checks.result import CheckResult
from verify.report.advice import next_step
from verify.report.budgets import Use, percent, use_of, uses_of_format
from verify.report.docs_links import docs_of
from verify.report.error_strips import error_strips
from verify.report.facts import depth_in_words, in_short, mebibytes, model_facts, since_baseline, storage_in_words
from verify.report.findings import Findings
from verify.report.formatting import anything, config_in_words, limit_of
from verify.report.glossary import KEYS, TERMS
from verify.report.heat_map import STEPS, heat_maps
from verify.report.plots import Quantity, intervals, position_plots, signed_bar
from verify.report.tensor_csv import data_link, tensor_csv

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE = Path(__file__).parent

# check -> what the bar of its limit shows
_ENGINE_USES = {
    "operations": "largest error over bound",
    "execution": "largest error, standard deviations",
    "engine": "the engine on trial",
}
_FORMAT_USES = {"storage": "distance from honest storage, standard deviations"}

# check -> the question that it answers
_QUESTIONS = {
    "config": "Does the header match the source?",
    "file": "Is the file complete and laid out as its format requires?",
    "tensors": "Does every bit of every tensor follow from the source?",
    "operations": "Is each operation of the engine within its error bound?",
    "execution": "Do the operations together give the right logits?",
    "engine": "Does the engine that you ship give them too?",
    "storage": "Does storage cost what honest rounding costs this model?",
    "quantization": "Is the cost of storage within the policy?",
    "coverage": "Did the windows cover as much as the policy demands?",
    "baseline": "Is it worse than the last release?",
}

_ACTIVATIONS = {"fp32": "float32 activations", "q8": "int8 activations"}

# How many tensors of a diagnosis the top of the page names.
_NAMED = 8


def render(findings: Findings, digest: str) -> str:
    """Return the page. digest: of the report's document.

    Lone surrogates, which a file's name may hold and UTF-8 cannot encode, are escaped.
    """
    page = _environment().get_template("page.html.j2").render(_values(findings), digest=digest)
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415  # only needed here
    from markupsafe import Markup  # noqa: PLC0415

    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "beside": beside,
        "percentage": percentage,
        "anything": anything,
        "config_in_words": config_in_words,
        "limit_of": limit_of,
        "share": _share,
        "order": _order,
        "size": math.prod,
        "most": _most,
        "in_short": in_short,
        "mebibytes": mebibytes,
        "docs_of": docs_of,
    }
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    environment.globals |= {
        "style": Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        "script_digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "apart": apart,
        "percent": percent,
        "signed_bar": signed_bar,
        "terms": TERMS,
        "keys": KEYS,
    }
    return environment


def _values(findings: Findings) -> dict[str, Any]:
    metrics = {"fp32": findings.metrics, "q8": findings.metrics_q8_activations}
    measured = {kind: found for kind, found in metrics.items() if found is not None}
    limits = findings.policy.quantization
    checks = {check.name: check for check in findings.checks}
    quantities = (
        Quantity("kl", "KL in nats", limits.kl_max),
        Quantity("logit_error", "largest logit error", limits.max_abs_logit_error),
    )
    return {
        "report": findings,
        **_facts(findings),
        "name": PurePath(str(findings.file["path"])).name or str(findings.file["path"]),
        "blamed": [(check, next_step(check, findings)) for check in findings.blamed],
        "guilty": _guilty(findings),
        "unnamed": max(len(_of_diagnosis(findings)) - _NAMED, 0),
        "checks": [(check, _QUESTIONS.get(check.name, ""), use_of(check)) for check in findings.checks],
        "covered": _covered(findings),
        "layout": [checks[name] for name in ("config", "file", "tensors") if name in checks],
        "engine": _uses(checks, _ENGINE_USES),
        "format": _uses(checks, _FORMAT_USES),
        "costs": _costs(findings),
        "limited": any(limit is not None for limit in dataclasses.asdict(limits).values()),
        "activations": _ACTIVATIONS,
        "heat_maps": heat_maps(findings.layers, _limit_of_operations(findings)),
        "steps": [*STEPS],
        "strips": error_strips(findings.layers, _limit_of_operations(findings)),
        "why_no_layers": _why(checks.get("operations")),
        "plots": position_plots(findings.windows, measured, quantities),
        "measured": measured,
        "origins": {(w.activations, w.window): w.origin for w in findings.windows},
        "csv": data_link(tensor_csv(findings.tensors)),
        "why_no_tensors": _why(checks.get("tensors")),
        "why_no_windows": _why(checks.get("quantization")),
        "intervals": intervals(findings.baseline.comparisons) if findings.baseline else [],
        "policy": dataclasses.asdict(findings.policy),
    }


def _facts(findings: Findings) -> dict[str, Any]:
    """Return what the top of the page says about the model, the file and the run."""
    model = model_facts(findings)
    return {
        "model": model,
        "storage": storage_in_words(model, findings.config.get("group_size")),
        "made": (findings.date or "").replace("T", " ").replace("Z", " UTC"),
        "version": findings.environment.get("versions", {}).get("export-and-verify", ""),
        "depth": depth_in_words(findings.evidence),
        "since": since_baseline(findings),
    }


def _uses(checks: dict[str, CheckResult], labels: dict[str, str]) -> list[tuple[CheckResult, Use | None]]:
    """Return the checks of one budget that the report has, with the use of their limits."""
    return [(checks[name], use_of(checks[name], label)) for name, label in labels.items() if name in checks]


def _covered(findings: Findings) -> str:
    """Say what was covered, without the word that heads it; nothing for a report that does not say."""
    return "" if findings.coverage is None else findings.coverage.sentence().removeprefix("covered: ")


def _limit_of_operations(findings: Findings) -> float:
    """A directory has no operations, and so no limit that a colour would depend on."""
    return findings.policy.operations.error_over_bound if findings.policy.operations else math.inf


def _costs(findings: Findings) -> list[tuple[Use, Use | None]]:
    """Pair what each metric is by float32 activations with what it is by int8 activations."""
    limits, of_q8 = findings.policy.quantization, findings.metrics_q8_activations
    judged = list(uses_of_format(findings.metrics, limits)) if findings.metrics else []
    return list(zip_longest(judged, uses_of_format(of_q8, limits) if of_q8 and judged else []))


def _guilty(findings: Findings) -> list[str]:
    """Name what is wrong: the place of each blamed check, and the tensors of the diagnosis."""
    found = [_place(check) for check in findings.blamed if check.status == "fail"]
    return [name for name in dict.fromkeys([*found, *_of_diagnosis(findings)[:_NAMED]]) if name]


def _of_diagnosis(findings: Findings) -> tuple[str, ...]:
    return findings.diagnosis.tensors if findings.diagnosis else ()


def _place(check: CheckResult) -> str:
    at = check.where
    match check.name:
        case "config":
            return anything(at["field"]) if "field" in at else ""
        case "tensors":
            return anything(at["tensor"]) if "tensor" in at else ""
        case "operations" if "operation" in at:
            layer = at.get("layer")
            int8 = ", int8 activations" if at.get("activations") == "q8" else ""
            return f"{'' if layer is None else f'layer {anything(layer)} '}{anything(at['operation'])}{int8}"
        case "baseline" if "metric" in at:
            return f"{anything(at['metric'])} on windows of {anything(at.get('origin'))}"
    return ""


def _why(check: CheckResult | None) -> str:
    """Say why a section is empty."""
    return "Nothing was recorded." if check is None else f"{check.name}: {check.status}: {check.detail}"


def _share(value: float) -> str:
    """Write a share in percent, without the sign of a rounded zero."""
    shown = f"{value:+.1%}"
    return "0.0%" if shown in ("+0.0%", "-0.0%") else shown


def _order(value: float | None) -> str:
    """Return the key by which a column is sorted; empty sorts last."""
    return "" if value is None or math.isnan(value) else repr(float(value))


def _most(values: Iterable[float]) -> float:
    """Return the largest magnitude, for the scale of signed bars."""
    return max((abs(value) for value in values if math.isfinite(value)), default=0.0)
