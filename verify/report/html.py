"""report.html: what the page shows, as plain values, and the template filled with them.

One file that asks for nothing else: a policy in its head forbids every request and every script but its own. All that
the report says is text, which the template escapes. The same report gives the same bytes.
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

from verify.checks.result import CheckResult
from verify.report.advice import next_step
from verify.report.budgets import Use, percent, use_of, uses_of_format
from verify.report.heat import STEPS, heat_maps
from verify.report.model import Report
from verify.report.plots import Quantity, intervals, position_plots, signed_bar
from verify.report.words import anything, number

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE = Path(__file__).parent

# check -> the question that it answers
_QUESTIONS = {
    "config": "Does the header say what the source is?",
    "file": "Is the file whole and laid out as its format says?",
    "tensors": "Is every bit of every tensor what the source gives?",
    "operations": "Is each operation of the engine within its rounding?",
    "execution": "Do they add up to the right logits?",
    "engine": "Does the engine that you ship give them too?",
    "quantization": "Is what the format costs within the policy?",
    "baseline": "Is it worse than the last release?",
}

_ACTIVATIONS = {"fp32": "float32 activations", "q8": "int8 activations"}

# Tensors of a diagnosis that are named at the top of the page.
_NAMED = 8


def render(report: Report) -> str:
    """The page. Lone surrogates, which a file's name may hold and UTF-8 has not, are written as escapes."""
    page = _environment().get_template("page.html.j2").render(_values(report))
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
        "anything": anything,
        "share": _share,
        "order": _order,
        "size": math.prod,
        "most": _most,
    }
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    environment.globals |= {
        "style": Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        "script_digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "percent": percent,
        "signed_bar": signed_bar,
    }
    return environment


def _values(report: Report) -> dict[str, Any]:
    metrics = {"fp32": report.metrics, "q8": report.metrics_q8_activations}
    measured = {kind: found for kind, found in metrics.items() if found is not None}
    limits = report.policy.quantization
    checks = {check.name: check for check in report.checks}
    quantities = (
        Quantity("kl", "KL in nats", limits.kl_max),
        Quantity("logit_error", "largest logit error", limits.max_abs_logit_error),
    )
    return {
        "report": report,
        "name": PurePath(str(report.file["path"])).name or str(report.file["path"]),
        "blamed": [(check, next_step(check, report)) for check in report.blamed],
        "guilty": _guilty(report),
        "unnamed": max(len(_of_diagnosis(report)) - _NAMED, 0),
        "checks": [(check, _QUESTIONS.get(check.name, ""), use_of(check)) for check in report.checks],
        "layout": [checks[name] for name in ("config", "file", "tensors") if name in checks],
        "engine": [
            (checks[name], use_of(checks[name], label))
            for name, label in (
                ("operations", "largest error over bound"),
                ("execution", "largest error, standard deviations"),
                ("engine", "the engine on trial"),
            )
            if name in checks
        ],
        "costs": _costs(report),
        "activations": _ACTIVATIONS,
        "heat_maps": heat_maps(report.layers, _limit_of_operations(report)),
        "steps": [*STEPS],
        "why_no_layers": _why(checks.get("operations")),
        "plots": position_plots(report.windows, measured, quantities),
        "measured": measured,
        "origins": {(w.activations, w.window): w.origin for w in report.windows},
        "why_no_tensors": _why(checks.get("tensors")),
        "why_no_windows": _why(checks.get("quantization")),
        "intervals": intervals(report.baseline.comparisons) if report.baseline else [],
        "policy": dataclasses.asdict(report.policy),
        "digest": report.to_dict()["digest"],
    }


def _limit_of_operations(report: Report) -> float:
    """A directory has no operations, and so no limit that a colour would depend on."""
    return report.policy.operations.error_over_bound if report.policy.operations else math.inf


def _costs(report: Report) -> list[tuple[Use, Use | None]]:
    """Each limit's use with float32 activations, which the policy judges, and with int8 ones."""
    limits, of_q8 = report.policy.quantization, report.metrics_q8_activations
    judged = list(uses_of_format(report.metrics, limits)) if report.metrics else []
    return list(zip_longest(judged, uses_of_format(of_q8, limits) if of_q8 and judged else []))


def _guilty(report: Report) -> list[str]:
    """What the verdict is about, by name: each blamed check's own place, and the tensors of the diagnosis."""
    found = [_place(check) for check in report.blamed if check.status == "fail"]
    return [name for name in dict.fromkeys([*found, *_of_diagnosis(report)[:_NAMED]]) if name]


def _of_diagnosis(report: Report) -> tuple[str, ...]:
    return report.diagnosis.tensors if report.diagnosis else ()


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
    """Of an empty section."""
    return "nothing was recorded" if check is None else f"{check.name}: {check.status}: {check.detail}"


def _share(value: float) -> str:
    """Without the sign that a rounded zero would keep."""
    shown = f"{value:+.1%}"
    return "0.0%" if shown in ("+0.0%", "-0.0%") else shown


def _order(value: float | None) -> str:
    """To sort a column by; empty sorts last."""
    return "" if value is None or math.isnan(value) else repr(float(value))


def _most(values: Iterable[float]) -> float:
    """The largest size, for the scale of signed bars."""
    return max((abs(value) for value in values if math.isfinite(value)), default=0.0)
