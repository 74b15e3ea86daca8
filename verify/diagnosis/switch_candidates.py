"""Propose mistakes with what models do beyond Llama: scales, caps, windows, norms of 1 + w, RoPE by layer."""

from __future__ import annotations

from collections.abc import Iterator

from verify.diagnosis.candidate import Candidate, with_hyper
from verify.diagnosis.stage import Stage
from verify.diagnosis.switch_mistakes import mistaken_switches
from verify.operations.recompute import Recompute

# Operation -> the hyper-parameters that it depends on, of those whose mistakes leave what is recorded as it is.
_FIELDS = {
    "embedding": {"embedding_scale"},
    # a layer that should have no RoPE reads what is rotated from here on
    "scores": {"score_scale", "score_cap", "window", "layers"},
    "scores_raw": {"score_scale", "score_cap", "window"},
    "shares": {"window"},
    **{name: {"logit_divisor", "logit_cap"} for name in ("classified", "logits")},
    "routed": {"experts_normalized", "n_active_experts"},
    "q_scaled": {"query_scale_beta"},
    **{name: {"local_theta", "rope_scaling", "rotary_dim", "layers"} for name in ("cosine", "sine")},
    **{name: {"residual_scale"} for name in ("attention_residual", "ffn_residual")},
    **{name: {"norm_plus_one"} for name in ("attention_norm", "ffn_norm", "final_norm")},
    **{name: {"norm_plus_one", "qk_norm"} for name in ("q_normed", "k_normed")},
    **{name: {"norm_plus_one"} for name in ("attention_post_norm", "ffn_post_norm")},
}


def of_switches(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Candidate]:
    """Propose other values of the switches that decide the operation."""
    fields = _FIELDS.get(operation, set())
    for mistake, sentence, changes in mistaken_switches(recompute.hyper):
        if fields & changes.keys():
            yield Candidate(mistake, sentence, stage, with_hyper(recompute, **changes))
