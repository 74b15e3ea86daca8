"""Recompute how an engine chose experts and added what they gave, from what it recorded."""

from __future__ import annotations

import torch

from verify.operations import bounds, switch_bounds
from verify.operations.comparison import Comparison
from verify.oracle.rounding_noise import largest
from verify.sources import Hyperparameters

Recorded = dict[str, torch.Tensor]


def recorded_choice(hyper: Hyperparameters, routed: torch.Tensor) -> torch.Tensor:
    """Return the numbers of the experts that an engine chose, ascending (windows, length, n_active_experts).

    routed: recorded shares, 0 where not chosen. A share that underflowed is 0, too; of equal shares, the expert with
    the lower number is chosen.
    """
    return largest((routed != 0).int(), hyper.n_active_experts)


def judge_routed(hyper: Hyperparameters, at: Recorded) -> Comparison:
    """Compare the shares of the chosen experts.

    The recorded choice is right if the bounds of the shares allow it. Where they do not, the shares are compared with
    those of the largest logits.
    """
    logits, out = at["router"].double(), at["routed"].double()
    shares = torch.softmax(logits, dim=-1)
    bound = bounds.softmax(shares, logits, hyper.n_experts)
    chosen = _mask(recorded_choice(hyper, out), hyper.n_experts)
    least = torch.where(chosen, shares + bound, torch.inf).amin(-1, keepdim=True)
    most = torch.where(chosen, -torch.inf, shares - bound).amax(-1, keepdim=True)
    chosen = torch.where(least >= most, chosen, _mask(largest(logits, hyper.n_active_experts), hyper.n_experts))
    exact = torch.where(chosen, shares, 0.0)
    if hyper.experts_normalized:
        own = torch.where(chosen, bounds.of_one_power(shares, logits), 0.0)
        bound = switch_bounds.normalized(exact, own, hyper.n_active_experts)
        exact = exact / exact.sum(-1, keepdim=True)
    return Comparison("routed", out, exact, torch.where(chosen, bound, 0.0))


def judge_sum(at: Recorded, chosen: torch.Tensor) -> Comparison:
    """Compare the sum of what the chosen experts gave, each times its share."""
    shares = at["routed"].double().gather(-1, chosen).unsqueeze(-1)
    parts = at["expert_down"].double().unflatten(-1, (chosen.shape[-1], -1)) * shares
    bound = bounds.mixture(parts.abs().sum(-2), chosen.shape[-1])
    return Comparison("down", at["down"].double(), parts.sum(-2), bound)


def _mask(chosen: torch.Tensor, experts: int) -> torch.Tensor:
    none = torch.zeros(*chosen.shape[:-1], experts, dtype=torch.bool)
    return none.scatter(-1, chosen, True)
