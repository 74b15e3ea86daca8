"""One sentence for a file whose tensors are not what the source gives: each known mistake is made of the source's
tensors, until the file's bits come out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import reader_c
from verify.diagnosis.case import Case
from verify.diagnosis.damage import damage, resemblance
from verify.diagnosis.displaced import diagnose_displaced
from verify.diagnosis.origins import diagnose_origins
from verify.diagnosis.result import Diagnosis, diagnosis, layer_and_kind
from verify.diagnosis.signatures import SIGNATURES, Signature
from verify.sources import Source


def diagnose_tensors(model: reader_c.Model, source: Source, differing: Sequence[str]) -> Diagnosis | None:
    """The likeliest single mistake behind the tensors named, those that check `tensors` found to differ; of several
    mistakes the one that explains most tensors. None where none of them does differ."""
    case, present = Case(model, source), set(model.names)
    alike = [name for name in differing if name in present and case.shapes.get(name) == model.storage(name).shape]
    names = [name for name in alike if case.first_difference(name) is not None]
    if not names:
        return None
    best: Diagnosis | None = None
    for attempt in (_within_tensors, diagnose_origins, diagnose_displaced, _damaged):
        found = attempt(case, names)
        if found is not None and (best is None or found.explained > best.explained):
            best = found
        if best is not None and best.explained == 1:
            break
    return best or _last_resort(case, names)


def _within_tensors(case: Case, names: Sequence[str]) -> Diagnosis | None:
    """Each kind's mistake is looked for in one tensor of it, in the middle, then confirmed on the others."""
    explained: dict[Signature, list[str]] = defaultdict(list)
    for of_kind in _by_kind(names):
        signature = _first_signature(case, _probes(of_kind))
        if signature is not None:
            explained[signature] += [name for name in of_kind if signature.explains(case, name)]
    if not explained:
        return None
    signature = max(explained, key=lambda key: len(explained[key]))
    held = explained[signature]
    return diagnosis(signature.name, signature.text(case.hyperparameters), held, held, len(names))


def _by_kind(names: Iterable[str]) -> list[list[str]]:
    kinds: dict[str, list[str]] = defaultdict(list)
    for name in names:
        kinds[layer_and_kind(name)[1]].append(name)
    return list(kinds.values())


def _probes(names: Sequence[str]) -> list[str]:
    """One in the middle, and the ends in case that one has a damage of its own."""
    return list(dict.fromkeys((names[len(names) // 2], names[0], names[-1])))


def _first_signature(case: Case, probes: Sequence[str]) -> Signature | None:
    for probe in probes:
        for signature in SIGNATURES:
            if signature.explains(case, probe):
                return signature
    return None


def _damaged(case: Case, names: Sequence[str]) -> Diagnosis | None:
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in names:
        seen = damage(case, name)
        if seen is not None:
            found[seen].append(name)
    if not found:
        return None
    signature, what = max(found, key=lambda key: len(found[key]))
    held = found[signature, what]
    return diagnosis(signature, what, held, held, len(names))


def _last_resort(case: Case, names: Sequence[str]) -> Diagnosis:
    """What was measured on the kind's middle tensor; nothing is explained."""
    probes = [of_kind[len(of_kind) // 2] for of_kind in _by_kind(names)]
    seen = {probe: resemblance(case, probe) for probe in probes}
    signature, what = seen[probes[0]]
    about = [probe for probe in probes if seen[probe][0] == signature]
    return diagnosis(signature, what, about, [], len(names))
