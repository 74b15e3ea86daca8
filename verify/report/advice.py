"""What to do next about a check that did not pass: one sentence, alike in every rendering."""

from __future__ import annotations

from verify.checks.result import CheckResult
from verify.report.model import Report

_GUIDE = "docs/debugging-a-mismatch.md"

# check -> what to do where it is the first that failed
_STEPS = {
    "config": "Export again in a format that can hold this model, or verify against the checkpoint that the file was "
    f"made from ({_GUIDE}).",
    "file": "Copy the file again and compare its sha256 with the sender's; where they are equal, "
    "`export-and-verify inspect FILE` shows what its writer got wrong.",
    "tensors": "Mend the writer where it handles {tensor}, export again and verify again; "
    f"{_GUIDE} tells damage from a mistake with names or order.",
    "operations": "Look at the engine's code and inputs at {operation} and at nothing after it: every operation is "
    f"judged by its own inputs ({_GUIDE}).",
    "execution": "{again} at what joins the engine's operations: each of them is right by itself " + f"({_GUIDE}).",
    "engine": "Mend the engine, not the file: every check before this one passed without it "
    "(docs/your-engine.md tells what can be seen from outside).",
    "quantization": "Take smaller groups, or a wider storage for the tensors that cost most (v3: --storage "
    "PATTERN=bf16); raise the policy's limit only where this cost is meant.",
    "baseline": "Take back what changed since the baseline (format, group size, storage), or, where it was meant, "
    "release without it and compare with that release from then on.",
}

# Of int8 activations, which have one right answer.
_COMPUTED_AGAIN = (
    "Look at how the engine rounds activations to int8, and in which order it adds them up: computed again, "
    f"they come out otherwise ({_GUIDE})."
)


def next_step(check: CheckResult, report: Report) -> str:
    """One sentence about a check that failed or was skipped. report: what else is known, which may change it."""
    first = next((other for other in report.checks if other.status == "fail"), check)
    if check.status == "skipped":
        return _about_skipped(check, first)
    # each check assumes that those before it have passed
    if first.name != check.name:
        return f"Mend {first.name} first: what {check.name} found may follow from it."
    if check.name == "execution" and check.bound == "exact":
        return _COMPUTED_AGAIN
    layer = check.where.get("layer")
    return _STEPS[check.name].format(
        tensor=check.where.get("tensor", "the tensors named"),
        operation=f"{'' if layer is None else f'layer {layer}, '}{check.where.get('operation', 'the one named')}",
        again="Look" if report.evidence.get("depth") == "full" else "Verify again with --depth full and look",
    )


def _about_skipped(check: CheckResult, failed: CheckResult) -> str:
    """A check is skipped because another failed, or because there was nothing to judge."""
    if failed.name != check.name:
        return f"Mend {failed.name} first and verify again: {check.name} could not run."
    if check.name == "baseline":
        return "Judge both files on the same windows, two or more of one origin (--windows), and compare again."
    return (
        f"Remove what kept {check.name} from running and verify again, or name it in the policy's may_be_skipped "
        "where it is not needed."
    )
