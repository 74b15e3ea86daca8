"""Check `coverage`: did the windows cover as much of the model as the policy demands?

It runs only under a policy with a table for it, because how much is enough is the user's choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from verify.checks.policy import CoverageDemands
from verify.checks.result import CheckResult, within
from verify.evidence.coverage import Coverage


def check_coverage(coverage: Coverage, demands: CoverageDemands) -> CheckResult:
    """Judge what was covered. observed: how many demands are not met, of which the policy allows none."""
    unmet = list(_unmet(coverage, demands))
    detail = "; ".join(unmet) or coverage.sentence().removeprefix("covered: ")
    return within("coverage", "policy", float(len(unmet)), 0.0, detail)


def _unmet(coverage: Coverage, demands: CoverageDemands) -> Iterator[str]:
    """Say of each demand that is not met what was expected, what was found, and what to do."""
    if demands.positions is not None and not coverage.position_share >= demands.positions:
        most = coverage.max_seq_len
        least = math.ceil(demands.positions * most)
        yield (
            f"positions: expected at least {demands.positions:g} of {most}, found {coverage.positions} "
            f"({coverage.position_share:.3g}): give --length {least}, or --depth full with enough --memory"
        )
    if demands.token_ids is not None and not coverage.token_id_share >= demands.token_ids:
        yield (
            f"token_ids: expected at least {demands.token_ids:g} of {coverage.vocab_size}, found "
            f"{coverage.token_ids} ({coverage.token_id_share:.3g}): give --depth full or more --windows"
        )
    if demands.windows is not None and not coverage.windows >= demands.windows:
        yield (
            f"windows: expected at least {demands.windows}, found {coverage.windows}: give --depth full or more "
            "--windows"
        )
