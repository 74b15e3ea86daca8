"""These functions write the parts of docs/defects.md from the outcome of every defect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from helpers.defects.kinds import Case, Defect
from helpers.defects.outcome import CHECKS, Outcome

COLUMNS = (*CHECKS, "diagnosis", "top-1", "atol 1e-2")
_TITLES = {
    "writer": "Mistakes of an exporter",
    "file": "Damaged and mislabelled files",
    "engine": "Mistakes of an engine that runs healthy files",
}


@dataclass(frozen=True)
class Result:
    """One defect in one model and format. healthy: the outcome of the same model and format without the defect."""

    case: Case
    found: Outcome
    healthy: Outcome

    def noticed(self, comparison: str) -> bool | None:
        """Say whether "top1" or "atol" differs; None if nothing was compared, or if the healthy file differs too."""
        return None if getattr(self.healthy, comparison) else getattr(self.found, comparison)


def table(defects: Sequence[Defect], results: Sequence[Result]) -> str:
    """Write one row per defect; a defect without a result has empty cells, which a complete run does not have."""
    head = "| defect | models and formats | " + " | ".join(COLUMNS) + " |\n" + "|---" * (len(COLUMNS) + 2) + "|\n"
    return head + "".join(
        _row(defect, [result for result in results if result.case.defect is defect]) for defect in defects
    )


def _row(defect: Defect, results: Sequence[Result]) -> str:
    cells = [defect.name, str(len(results))]
    for check in CHECKS:
        reached = [status for r in results if (status := r.found.status(check)) != "skipped"]
        said = _said([status == "fail" for status in reached])
        cells.append(f"**{said}**" if check in defect.caught_by else said)
    cells += [_diagnoses(defect, results), *(_compared(results, name) for name in ("top1", "atol"))]
    return "| " + " | ".join(cells) + " |\n"


def _said(caught: Sequence[bool]) -> str:
    if not caught:
        return "not reached"
    return {0: "blind", len(caught): "caught"}.get(sum(caught), f"{sum(caught)} of {len(caught)}")


def _compared(results: Sequence[Result], comparison: str) -> str:
    if all(getattr(r.found, comparison) is None for r in results):
        return "not reached"
    noticed = [said for r in results if (said := r.noticed(comparison)) is not None]
    return _said(noticed) if noticed else "no use"


def _diagnoses(defect: Defect, results: Sequence[Result]) -> str:
    found = Counter(r.found.diagnosis for r in results if r.found.diagnosis)
    if not found:
        return "none"
    return ", ".join(
        f"{'' if name == defect.diagnosis else 'wrong: '}{name}" + (f" ({count})" if count < len(results) else "")
        for name, count in found.most_common()
    )


def counts(results: Sequence[Result]) -> str:
    """Write the totals of the whole table, one per line."""
    meant = [r for r in results if r.case.defect.caught_by]
    harmless = [r for r in results if not r.case.defect.caught_by]
    caught = [r for r in meant if r.found.caught(r.case.defect)]
    by_all = [r for r in caught if len(r.found.caught(r.case.defect)) == len(r.case.defect.caught_by)]
    placed = [r for r in caught if not r.found.misplaced(r.case.defect)]
    named = [r for r in meant if r.case.defect.diagnosis]
    diagnosed = [r for r in named if r.found.diagnosis == r.case.defect.diagnosis]
    blamed = [r for r in harmless if r.found.blamed]
    other_bits = [r for r in harmless if r.found.status("execution") == "fail"]
    lines = [
        f"- defects: {len({r.case.defect.name for r in meant})}, in {len(meant)} files or engines",
        f"- caught by at least one check that is meant to catch it: {len(caught)} of {len(meant)}; "
        f"by all such checks: {len(by_all)}",
        f"- located at the right tensor, field, layer or operation: {len(placed)} of {len(caught)}",
        f"- diagnosed correctly: {len(diagnosed)} of {len(named)} that have a diagnosis",
    ]
    if harmless:
        lines.append(
            f"- engines without a mistake by the verifier's measure (compiled with -Ofast, float activations): "
            f"{len(blamed)} of {len(harmless)} blamed for an operation or a logit; "
            f"{len(other_bits)} give other bits in pieces than in one pass, which `execution` requires"
        )
    for title, comparison in (("of the most likely tokens", "top1"), ("with an absolute tolerance of 1e-2", "atol")):
        noticed = [said for r in meant if (said := r.noticed(comparison)) is not None]
        useless = sum(bool(getattr(r.healthy, comparison)) for r in meant)
        lines.append(
            f"- noticed by a comparison {title}: {sum(noticed)} of {len(noticed)}; "
            f"for {useless} more, the healthy file fails that comparison too"
        )
    return "\n".join(lines) + "\n"


def misses(results: Sequence[Result]) -> str:
    """List each result that a check should have caught and missed, or located at another place, one per line."""
    lines = []
    for r in results:
        defect = r.case.defect
        blind = [check for check in defect.caught_by if check not in r.found.caught(defect)]
        where = f"{defect.name}, {r.case.format}, {describe(r.case)}"
        lines += [f"- {where}: {check} is blind" for check in blind]
        lines += [f"- {where}: {check} names another place" for check in r.found.misplaced(defect)]
    return "".join(f"{line}\n" for line in lines) or "None.\n"


def describe(case: Case) -> str:
    m = case.model
    return f"{m.n_layers} layers of {m.dim}, heads {m.n_heads}/{m.n_kv_heads}, {'tied' if m.tied else 'untied'}"


def sections(defects: Sequence[Defect], results: Sequence[Result], level: str = "##") -> str:
    """Write a table for each place that has defects here."""
    parts = []
    for place, title in _TITLES.items():
        of_place = [defect for defect in defects if defect.place == place]
        if of_place:
            parts.append(f"{level} {title}\n\n{table(of_place, results)}")
    return "\n".join(parts)
