"""Diagnose a file whose tensors differ from what the source gives.

Each known mistake is applied to the source's tensors until one gives the file's bits.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence

import reader_c
from verify.diagnosis.adapter_merges import diagnose_adapter
from verify.diagnosis.affine_fits import factors_of_rows, folded_norm, lines
from verify.diagnosis.bit_comparison import BitComparison
from verify.diagnosis.block_orders import diagnose_blocks
from verify.diagnosis.checkpoint_changes import diagnose_changed
from verify.diagnosis.damage import damage
from verify.diagnosis.displaced_bytes import diagnose_displaced
from verify.diagnosis.flat_fits import displaced_values
from verify.diagnosis.fused_rows import diagnose_fused
from verify.diagnosis.int8_changes import part_changes
from verify.diagnosis.mistakes import Mistake
from verify.diagnosis.mixed_rows import diagnose_mixed
from verify.diagnosis.own_scales import own_scales
from verify.diagnosis.resemblance import diagnose_rearranged, last_resort
from verify.diagnosis.result import Diagnosis, diagnosis_of_tensors, layer_and_kind, most_shown
from verify.diagnosis.rope_table_mistakes import diagnose_tables
from verify.diagnosis.row_fits import displaced_rows, int8_fits, negated_rows, orders
from verify.diagnosis.smoothed_norms import diagnose_smoothed
from verify.diagnosis.substitutes import FirstMistake, diagnose_substituted
from verify.diagnosis.swapped_tensors import diagnose_swapped
from verify.diagnosis.tensor_factors import diagnose_factors
from verify.diagnosis.tensor_mistakes import TensorMistake, tensor_mistakes
from verify.diagnosis.text_mode import diagnose_text_mode
from verify.diagnosis.unloaded import never_loaded
from verify.diagnosis.value_fits import value_changes
from verify.diagnosis.weighted_average import diagnose_average
from verify.diagnosis.zero_run import diagnose_zero_run
from verify.sources import Source
from verify.sources.row_order import in_file_order


def diagnose_tensors(model: reader_c.Model, source: Source, differing: Sequence[str]) -> Diagnosis | None:
    """Return the most likely single mistake behind the tensors that check `tensors` found to differ.

    If there are several mistakes, it is the one that explains most tensors. None if none of the tensors differs.
    """
    compared, present = BitComparison(model, in_file_order(source, model.format)), set(model.names)
    same_shape = [
        name for name in differing if name in present and compared.shapes.get(name) == model.storage(name).shape
    ]
    names = [name for name in same_shape if compared.first_difference(name) is not None]
    if not names:
        return diagnose_tables(model, source.hyperparameters)
    best: Diagnosis | None = None
    for attempt in _ATTEMPTS:
        found = attempt(compared, names)
        if found is not None and (best is None or found.explained > best.explained):
            best = found
        if best is not None and best.explained == 1:
            break
    if best is not None:
        return never_loaded(compared, names, best) or best
    unexplained = (look(compared, names) for look in (diagnose_rearranged, diagnose_average, diagnose_changed))
    return next((found for found in unexplained if found is not None), None) or last_resort(compared, names)


def _within_tensors(compared: BitComparison, names: Sequence[str]) -> Diagnosis | None:
    return _confirmed(compared, names, _first_mistake)


def _within_parts(compared: BitComparison, names: Sequence[str]) -> Diagnosis | None:
    return _confirmed(compared, names, _first_change_of_part)


def _confirmed(compared: BitComparison, names: Sequence[str], first_mistake: FirstMistake) -> Diagnosis | None:
    """Search each kind's mistake in one of its tensors, in the middle, then confirm it on the others."""
    explained: dict[TensorMistake, list[str]] = defaultdict(list)
    for of_kind in _by_kind(names):
        first = first_mistake(compared, _probes(of_kind))
        if first is not None:
            explained[first] += [name for name in of_kind if first.explains(compared, name)]
    if not explained:
        return None
    best = max(explained, key=lambda key: len(explained[key]))
    # another mistake may give the same bits of some tensors, and was tried before
    held = [name for name in names if name in explained[best] or best.explains(compared, name)]
    return diagnosis_of_tensors(best.mistake.name, best.sentence(compared, held), held, held, len(names))


def _by_kind(names: Iterable[str]) -> list[list[str]]:
    kinds: dict[str, list[str]] = defaultdict(list)
    for name in names:
        kinds[layer_and_kind(name)[1]].append(name)
    return list(kinds.values())


def _probes(names: Sequence[str]) -> list[str]:
    """Return the tensor in the middle, and those at both ends in case it has damage of its own."""
    return list(dict.fromkeys((names[len(names) // 2], names[0], names[-1])))


def _first_mistake(compared: BitComparison, probes: Sequence[str]) -> TensorMistake | None:
    """Try what is known, then what is fitted to the tensor's own numbers; the simplest comes first."""
    for probe in probes:
        fitted = itertools.chain.from_iterable(fit(compared, probe) for fit in _FITS)
        for mistake in itertools.chain(tensor_mistakes(compared.model.format), fitted):
            if mistake.explains(compared, probe):
                return mistake
    return None


def _first_change_of_part(compared: BitComparison, probes: Sequence[str]) -> TensorMistake | None:
    for probe in probes:
        for mistake in part_changes(compared, probe):
            if mistake.explains(compared, probe):
                return mistake
    return None


_READ_OFF = (int8_fits, lines, negated_rows, orders, folded_norm, factors_of_rows, value_changes)
# scales of its own explain any int8 that fits them, so they come last
_FITS = (*_READ_OFF, displaced_rows, displaced_values, own_scales)


def _damaged(compared: BitComparison, names: Sequence[str]) -> Diagnosis | None:
    found: dict[tuple[Mistake, str], list[str]] = defaultdict(list)
    for name in names:
        seen = damage(compared, name)
        if seen is not None:
            found[seen].append(name)
    return most_shown(found, len(names))


def _substituted(compared: BitComparison, names: Sequence[str]) -> Diagnosis | None:
    return diagnose_substituted(compared, names, _first_mistake)


_ATTEMPTS = (
    diagnose_adapter,
    diagnose_smoothed,
    _within_tensors,
    diagnose_blocks,
    diagnose_factors,
    diagnose_swapped,
    diagnose_fused,
    diagnose_mixed,
    diagnose_displaced,
    diagnose_text_mode,
    _substituted,
    _within_parts,
    _damaged,
    diagnose_zero_run,
)
