"""Find rows of queries, keys and values, or of gate and up, that a writer took from a fused matrix in the wrong way.

fused_rows.py knows how gate and up are usually mixed; this finds each row of the file among those of the whole layer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from verify.diagnosis import mistakes as m
from verify.diagnosis.bit_comparison import BitComparison, Bits, bits
from verify.diagnosis.result import Diagnosis, diagnosis_of_tensors, layer_and_kind

_FUSED: tuple[tuple[str, ...], ...] = (
    ("attention.wq.weight", "attention.wk.weight", "attention.wv.weight"),
    ("feed_forward.w1.weight", "feed_forward.w3.weight"),
)
_FEWEST_ROWS = 4


def diagnose_mixed(compared: BitComparison, differing: Sequence[str]) -> Diagnosis | None:
    """Return the tensors whose every row is one of the layer's, but not all of them their own."""
    mixed: dict[tuple[str, ...], list[str]] = defaultdict(list)
    examples: dict[tuple[str, ...], str] = {}
    for layer in sorted({layer for name in differing if (layer := layer_and_kind(name)[0]) is not None}):
        for kinds in _FUSED:
            names = [name for kind in kinds if (name := f"layers.{layer}.{kind}") in differing]
            example = _example(compared, [f"layers.{layer}.{kind}" for kind in kinds], names)
            if example:
                mixed[kinds] += names
                examples.setdefault(kinds, example)
    if not mixed:
        return None
    kinds = max(mixed, key=lambda key: len(mixed[key]))
    held = mixed[kinds]
    return diagnosis_of_tensors(m.FUSED_ROWS.name, examples[kinds], held, held, len(differing))


def _example(compared: BitComparison, sources: Sequence[str], names: Sequence[str]) -> str:
    """Return the sentence about a row that another tensor has; nothing if any row is unknown or all are their own."""
    if not names or any(name not in compared.shapes for name in sources):
        return ""
    known: dict[bytes, tuple[str, int]] = {}
    for source in sources:
        if compared.shapes[source][1] != compared.shapes[names[0]][1]:
            return ""
        rows = _rows(
            {key: bits(part) for key, part in compared.rows(source, 0, compared.shapes[source][0]).healthy().items()}
        )
        known.update({row: (source, number) for number, row in reversed(list(enumerate(rows)))})
    example = ""
    for name in names:
        for number, row in enumerate(_rows(compared.found(name))):
            if row not in known:
                return ""
            other, of = known[row]
            if other != name and not example:
                example = m.FUSED_ROWS.of_file(row=number, tensor=name, of=of, other=other)
    # so few rows could be each other's for other reasons
    return example if len(known) > _FEWEST_ROWS else ""


def _rows(parts: Bits) -> list[bytes]:
    count = len(next(iter(parts.values())))
    return [b"".join(part[row].tobytes() for part in parts.values()) for row in range(count)]
