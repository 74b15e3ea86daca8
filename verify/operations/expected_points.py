"""Say which points an engine must record of this model, so that a step too few or too many is a finding."""

from __future__ import annotations

import torch

from verify.operations.attention import Recorded
from verify.sources import Hyperparameters, LayerKind

_ALWAYS = ("q", "k", "v", "scores", "shares", "attended", "wo", "attention_residual", "down")
_DENSE = ("gate", "up", "gated")


def of_layer(hyper: Hyperparameters, kind: LayerKind, at: Recorded, x: torch.Tensor) -> Recorded:
    """Return the points that a layer of this model has. x: the stream that it read.

    A point that was not recorded, or not in its width, is NaN everywhere, which lies within no bound.
    """
    like = {name: at[name] for name in (*_ALWAYS, "ffn_residual")}
    if kind.experts:
        like |= _of_experts(hyper, x)
    else:
        like |= {name: at[name] for name in _DENSE}
    # not the shape of "k": a mistake with kv heads is judged as if each query head had its own rotated keys
    keys = x.new_empty(1).expand(*x.shape[:2], hyper.n_kv_heads * hyper.head_dim)
    if hyper.norm_place != "after":
        like |= {"attention_norm": x, "ffn_norm": x}
    if hyper.norm_place != "before":
        like |= {"attention_post_norm": x, "ffn_post_norm": x}
    if hyper.qk_norm != "none":
        like |= {"q_normed": at["q"], "k_normed": keys}
    if kind.rope != "none":
        table = x.new_empty(1).expand(*x.shape[:2], hyper.rotated // 2)
        like |= {"cosine": table, "sine": table, "q_rotated": at["q"], "k_rotated": keys}
    if hyper.query_scale_beta:
        like["q_scaled"] = at["q"]
    if hyper.score_cap:
        like["scores_raw"] = at["scores"]
    return _only(at, like)


def _of_experts(hyper: Hyperparameters, x: torch.Tensor) -> Recorded:
    """Return tensors of the shapes that the points of a mixture of experts have."""
    hidden = hyper.n_active_experts * hyper.expert_hidden_dim
    widths = {
        **dict.fromkeys(("router", "routed"), hyper.n_experts),
        **dict.fromkeys(("expert_gate", "expert_up", "expert_gated"), hidden),
        "expert_down": hyper.n_active_experts * hyper.dim,
    }
    return {name: x.new_empty(1).expand(*x.shape[:2], width) for name, width in widths.items()}


def of_classifier(hyper: Hyperparameters, at: Recorded) -> Recorded:
    """Return the points after the last layer of this model, as of_layer() does."""
    like = {"final_norm": at["final_norm"], "logits": at["logits"]}
    if hyper.logit_divisor != 1 or hyper.logit_cap:
        like["classified"] = at["logits"]
    return _only(at, like)


def _only(at: Recorded, like: Recorded) -> Recorded:
    """Return the points of `like`, and the int8 activations of all products."""
    found = {name: part for name, part in at.items() if name.endswith((" int8", " scale"))}
    for name, shaped in like.items():
        fits = name in at and at[name].shape == shaped.shape
        found[name] = at[name] if fits else torch.full(shaped.shape, torch.nan)
    return found
