"""Diagnose an engine from the first operation that is beyond its bound.

For each known mistake the operation is judged again as if the mistake were right: with another epsilon, other
weights, other heads. The first mistake that puts the operation within its bound is named. A mistake by which the
operation is omitted must put all other operations of the layer within theirs.
"""

from __future__ import annotations

from verify.diagnosis.attention_candidates import of_heads, of_scores
from verify.diagnosis.candidate import Propose
from verify.diagnosis.expert_candidates import of_experts
from verify.diagnosis.product_candidates import of_int8, of_products
from verify.diagnosis.result import Diagnosis
from verify.diagnosis.rope_candidates import of_positions, of_rotations, of_tables
from verify.diagnosis.row_candidates import of_embeddings, of_gates, of_norms, of_sums
from verify.diagnosis.stage import Stage
from verify.diagnosis.switch_candidates import of_switches
from verify.operations import bounds
from verify.operations.comparison import Comparison
from verify.operations.recompute import Recompute

# In the order in which they are tried.
_FAMILIES: tuple[Propose, ...] = (
    of_switches,
    of_experts,
    of_norms,
    of_tables,
    of_positions,
    of_rotations,
    of_heads,
    of_scores,
    of_products,
    of_int8,
    of_gates,
    of_sums,
    of_embeddings,
)

# A candidate may add one rounding between what was recorded and what is judged.
_ROOM = 2.0


def diagnose_operation(recompute: Recompute, stage: Stage, operation: str) -> Diagnosis | None:
    """Name the mistake behind the stage's first operation beyond its bound; None if no known mistake explains it."""
    for propose in _FAMILIES:
        for candidate in propose(recompute, stage, operation):
            whole = list(candidate.stage.judge(candidate.recompute))
            # without the operation, the mistake omits it, and everything that is left must be right
            judged = [found for found in whole if found.operation == operation] or whole
            if judged and all(map(_within, judged)):
                where = "" if stage.layer is None else f"layer {stage.layer}, "
                tensor = "" if judged[0].slots is not None else judged[0].tensor
                sentence = f"{where}{operation}: the engine {candidate.sentence}"
                return Diagnosis(candidate.mistake.name, sentence, (tensor,) if tensor else (), 1.0)
    return None


def _within(found: Comparison) -> bool:
    use = bounds.utilisation((found.out - found.exact).abs(), found.bound)
    return float(use.max()) <= (_ROOM if found.bound.any() else 0.0)
