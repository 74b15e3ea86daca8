"""List mistakes with experts: their matrices, what the router reads, whom it chooses, and the shares it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.expert_orders import of_layer, other_experts
from verify.engine.hint_reference import Load, MistakenReference
from verify.engine.hint_rewired import LayerSoFar, Rewire, rewired
from verify.sources import Hyperparameters


def of_experts(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes that show in a model with experts."""
    sparse = [number for number in range(hyper.n_layers) if hyper.layer(number).experts]
    if not sparse:
        return
    for found, rename in other_experts(hyper):
        sentence = m.EXPERTS_ORDER.of_engine(found=found)
        yield MistakenReference(m.EXPERTS_ORDER, sentence, hyper, lambda name, to=rename: load(to(name)))  # type: ignore[misc]
    for number in sparse if len(sparse) > 1 else ():
        other = f"layers.{number}.feed_forward.router.weight"
        sentence = m.OTHER_LAYER.of_engine(found=other, expected="each layer's own router")
        yield MistakenReference(m.OTHER_LAYER, sentence, hyper, _with_router(load, number))

    for count in range(1, hyper.n_experts + 1):
        # one more and one less are among the switches
        if abs(count - hyper.n_active_experts) > 1:
            sentence = m.EXPERTS_CHOSEN.of_engine(found=count, expected=hyper.n_active_experts)
            chosen = replace(hyper, n_active_experts=count)
            yield MistakenReference(m.EXPERTS_CHOSEN, sentence, chosen, load)
    for mistake, changes in ((m.EXPERTS_ROUTED, _ROUTINGS), (m.EXPERTS_SHARES, _SHARES)):
        for found, change in changes.items():
            # a share that is not normalised is the same if one expert is chosen
            if found == _LARGEST_ALONE and not hyper.experts_normalized:
                continue
            sentence = mistake.of_engine(found=found)
            yield MistakenReference(mistake, sentence, hyper, load, run=rewired(change))
    sentence = m.EXPERTS_INPUTS.of_engine()
    yield MistakenReference(m.EXPERTS_INPUTS, sentence, hyper, load, run=rewired(_sharing_inputs))


Change = Callable[[torch.Tensor], torch.Tensor]
# (the router's logits, the shares of the chosen experts, 0 for others) -> other shares, of which only theirs count
Share = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _routed_by(read: Callable[[LayerSoFar], torch.Tensor]) -> Rewire:
    """Let the router read something else."""

    def change(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
        return seen.product(read(seen), "feed_forward.router") if operation == "router" else y

    return change


def _choosing(change: Change) -> Rewire:
    """Choose by other logits, and take the shares that they give."""
    return lambda operation, y, _seen: change(y) if operation == "router" else y


def _sharing(share: Share) -> Rewire:
    def change(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
        if operation != "routed":
            return y
        return torch.where(y > 0, share(seen.made["router"], y), 0.0)

    return change


def _sharing_inputs(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
    """Multiply what the experts read by their shares, instead of what they give."""
    if operation == "routed":
        seen.made["shares_of_slots"] = y.gather(-1, _chosen(y))
        return (y > 0).to(y.dtype)
    if operation not in ("expert_gate", "expert_up"):
        return y
    shares = seen.made["shares_of_slots"]
    scaled: torch.Tensor = y.unflatten(-1, (shares.shape[-1], -1)) * shares.unsqueeze(-1)
    return scaled.flatten(-2)


def _chosen(shares: torch.Tensor) -> torch.Tensor:
    """Return the numbers of the chosen experts (windows, length, slots), ascending."""
    count = int((shares > 0).sum(-1).max())
    return shares.topk(count, dim=-1).indices.sort(dim=-1).values


def _late(y: torch.Tensor) -> torch.Tensor:
    return torch.cat((y[:, :1], y[:, :-1]), dim=1)


def _over_sum(shares: torch.Tensor) -> torch.Tensor:
    return shares / shares.sum(-1, keepdim=True)


def _largest(shares: torch.Tensor) -> torch.Tensor:
    return shares == shares.amax(-1, keepdim=True)


def _reversed(shares: torch.Tensor) -> torch.Tensor:
    """Exchange the shares of the chosen experts, in the order of their numbers."""
    chosen = _chosen(shares)
    return torch.zeros_like(shares).scatter(-1, chosen, shares.gather(-1, chosen).flip(-1))


_ROUTINGS: dict[str, Rewire] = {
    "by the stream before the norm": _routed_by(lambda seen: seen.middle),
    "by the normed input of attention": _routed_by(lambda seen: seen.made["attention_norm"]),
    "by the stream before the layer": _routed_by(lambda seen: seen.x),
    "as the position before": _choosing(_late),
    "as position 0": _choosing(lambda y: y[:, :1].expand_as(y)),
    "to the experts with the smallest logits": _choosing(torch.neg),
    "to the experts with the largest magnitudes of logits": _choosing(torch.abs),
    "always to the first experts": _choosing(lambda y: y - 1e4 * torch.arange(y.shape[-1])),
    "always to the last experts": _choosing(lambda y: y + 1e4 * torch.arange(y.shape[-1])),
    "never to the last expert": _choosing(lambda y: torch.cat((y[..., :-1], y[..., -1:] - 1e9), dim=-1)),
    "never to the first expert": _choosing(lambda y: torch.cat((y[..., :1] - 1e9, y[..., 1:]), dim=-1)),
}
_LARGEST_ALONE = "the largest share, or by 0"
_SHARES: dict[str, Rewire] = {
    "1": _sharing(lambda _logits, own: torch.ones_like(own)),
    "equal shares": _sharing(lambda _logits, own: 1 / (own > 0).sum(-1, keepdim=True).expand_as(own)),
    "the sigmoid of their logits": _sharing(lambda logits, _own: torch.sigmoid(logits)),
    "the sigmoid of their logits over its sum": _sharing(
        lambda logits, own: _over_sum(torch.where(own > 0, torch.sigmoid(logits), 0.0))
    ),
    "their logits": _sharing(lambda logits, _own: logits),
    "softmax of their shares": _sharing(
        lambda _logits, own: torch.softmax(torch.where(own > 0, own, -torch.inf), dim=-1)
    ),
    "their shares in reverse order": _sharing(lambda _logits, own: _reversed(own)),
    _LARGEST_ALONE: _sharing(lambda _logits, own: torch.where(_largest(own), own, 0.0)),
    "0 if theirs is the largest share, or by their own": _sharing(
        lambda _logits, own: torch.where(_largest(own), 0.0, own)
    ),
    "their shares of the position before": _sharing(lambda logits, _own: torch.softmax(_late(logits), dim=-1)),
    "the squares of their shares": _sharing(lambda _logits, own: own.square()),
}


def _with_router(load: Load, layer: int) -> Load:
    return lambda name: load(of_layer(name, layer) if name.endswith(".feed_forward.router.weight") else name)
