"""List the ways in which engines take the matrices of other experts than the chosen ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from verify.sources import Hyperparameters

# A tensor's name -> the name of the one that is taken in its place.
Rename = Callable[[str], str]

_EXPERTS = ".feed_forward.experts."


def other_experts(hyper: Hyperparameters) -> Iterator[tuple[str, Rename]]:
    """Yield (which experts are taken, the names of their tensors)."""
    last = hyper.n_experts - 1
    by_text = sorted(range(hyper.n_experts), key=str)
    orders: list[tuple[str, list[int]]] = [
        ("the experts after", [*range(1, hyper.n_experts), 0]),
        ("the experts before", [last, *range(last)]),
        ("the experts in reverse order", list(range(last, -1, -1))),
        ("experts that were sorted as text", by_text),
        ("experts whose places were sorted as text", [by_text.index(expert) for expert in range(hyper.n_experts)]),
        ("the first expert everywhere", [0] * hyper.n_experts),
    ]
    seen = [list(range(hyper.n_experts))]
    for found, order in orders:
        if order not in seen:
            seen.append(order)
            yield found, _by(order)


def _by(order: list[int]) -> Rename:
    def rename(name: str) -> str:
        prefix, is_expert, rest = name.partition(_EXPERTS)
        if not is_expert:
            return name
        expert, _, matrix = rest.partition(".")
        return f"{prefix}{_EXPERTS}{order[int(expert)]}.{matrix}"

    return rename


def of_matrix(name: str, **others: str) -> str:
    """Return an expert's name with another matrix in the place of its own: of_matrix(name, w1="w3")."""
    prefix, is_expert, rest = name.partition(_EXPERTS)
    if not is_expert:
        return name
    expert, matrix, kind = rest.split(".")
    return f"{prefix}{_EXPERTS}{expert}.{others.get(matrix, matrix)}.{kind}"


def of_layer(name: str, layer: int) -> str:
    """Return a tensor's name in another layer."""
    return f"layers.{layer}.{name.split('.', 2)[2]}"
