"""The check `execution`, from the logits of every window and the passes that were repeated on the traced ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from verify.checks.execution import Execution, WorstLogit
from verify.checks.operations import Operations, describe, where_of
from verify.checks.result import CheckResult, exact
from verify.checks.same_bits import SameBits
from verify.run.reference_logits import disagreement


def execution_verdict(
    floats: CheckResult, agreement: Sequence[WorstLogit], same_bits: SameBits, replays: Operations
) -> CheckResult:
    """Judge everything that belongs to `execution`.

    floats: by float_execution(). agreement: of the two references, as in WindowReference. replays: of operations on
    int8 activations.
    """
    if failed := disagreement(_merged(agreement)):
        return failed
    verdict = floats
    if same_bits.difference:
        return _exact(verdict, 1, same_bits.difference, same_bits.where or {})
    if same_bits.ways:
        also = f"; {', '.join(same_bits.ways)}: the same bits"
        verdict = dataclasses.replace(verdict, detail=verdict.detail + also)
    return _with_replays(verdict, replays) if replays.layers else verdict


def float_execution(by_arithmetic: Mapping[str, Sequence[WorstLogit]], limit: float) -> CheckResult:
    """Judge the worst logit by float activations of any arithmetic, which `where` names.

    by_arithmetic: of each arithmetic of the reader, the worst logit in each window. limit: in standard deviations.
    """
    merged = {arithmetic: _merged(found) for arithmetic, found in by_arithmetic.items()}
    arithmetic, worst = max(merged.items(), key=lambda item: item[1].found.sigmas)
    every = _merged([one.found for one in merged.values()])
    verdict = every.verdict(f"the C reader ({' and '.join(merged)})", limit)
    if verdict.status == "fail":
        verdict = worst.verdict(f"the C reader ({arithmetic})", limit)
    return dataclasses.replace(verdict, where={**worst.where, "arithmetic": arithmetic})


def _with_replays(execution: CheckResult, replays: Operations) -> CheckResult:
    """Add the int8 activations.

    They have no tolerance: one that rounds the other way moves logits as far as a mistake does. So every result that
    the engine computed from them is computed again, to the bit.
    """
    failures = replays.failures
    if not failures:
        more = f"; {len(replays.layers)} operations on int8 activations computed again, every bit alike"
        return dataclasses.replace(execution, detail=execution.detail + more)
    detail = f"int8 activations, computed again: {describe(failures)}"
    return _exact(execution, len(failures), detail, where_of(failures[0]))


def _exact(execution: CheckResult, failures: int, detail: str, where: dict[str, object]) -> CheckResult:
    """Fail exactly; a verdict that fails already keeps its place and its sentence first."""
    if execution.status == "fail":
        return exact("execution", failures, f"{execution.detail}; {detail}", execution.where)
    return exact("execution", failures, detail, where)


def _merged(found: Sequence[WorstLogit]) -> Execution:
    merged = Execution()
    for one in found:
        merged.merge(one)
    return merged
