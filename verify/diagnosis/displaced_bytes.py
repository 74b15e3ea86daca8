"""Find the right bytes in the wrong place: after a tensor or a header of another size, or in the order
of the other version."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import reader_c
from verify.diagnosis import mistakes as m
from verify.diagnosis.bit_comparison import BitComparison, bits
from verify.diagnosis.result import Diagnosis, diagnosis_of_tensors
from verify.oracle.expected import parts

_NEEDLE = 64  # bytes that the search for a part looks for
_WINDOW = 1 << 24  # bytes of the file that are searched at a time
_HITS = 8  # places with these bytes that are compared with the whole part
_TELLING = 4  # different bytes without which a place tells nothing
_MOST_KEPT = 0.5  # share of a part that its own place still has where it is displaced
_LOST = 3  # parts that are not found anywhere before the search ends


@dataclass(frozen=True)
class _Place:
    """Says how many bytes after its own place a part's right bytes are; None if they are nowhere."""

    span: reader_c.Span
    by: int | None

    @property
    def ends(self) -> tuple[int, int]:
        assert self.by is not None
        return self.span.offset + self.by, self.span.offset + self.by + self.span.nbytes


def diagnose_displaced(compared: BitComparison, differing: Sequence[str]) -> Diagnosis | None:
    """Say where the bytes of the differing tensors are instead; None if they are not in the file."""
    spans = sorted((span for name in differing for span in compared.model.spans(name)), key=lambda span: span.offset)
    other = _other_layout(compared.model)
    places = list(_places(compared, spans, other))
    found = [place for place in places if place.by is not None]
    moved = [place for place in found if place.by]
    if not moved:
        return None
    covered = _union(place.ends for place in found)
    here = {place.span: place.by is not None or _inside(place.span, covered) for place in places}
    explained = [name for name in differing if all(here.get(span, False) for span in compared.model.spans(name))]
    about = explained or [moved[0].span.name]
    if all(place.by == other.get((place.span.name, place.span.part)) for place in moved):
        mistake, mine = m.V1_V2_MIXED_UP, compared.model.format
        what = mistake.of_file(found="v2" if mine == "v1" else "v1", expected=mine)
    elif len({place.by for place in moved}) > 1:
        mistake, what = m.BYTES_DISPLACED, m.BYTES_DISPLACED.of_file()
    else:
        mistake, what = m.BYTES_SHIFTED, _shift(compared, places, moved)
    return diagnosis_of_tensors(mistake.name, what, about, explained, len(differing))


def _shift(compared: BitComparison, places: Sequence[_Place], moved: Sequence[_Place]) -> str:
    """Describe one distance that all moved parts share."""
    by = moved[0].by
    assert by is not None
    onset = next(place.span for place in places if place.by != 0)
    parts = {place.span.part for place in moved}
    named = parts & {"int8", "scale"}
    what = "bytes" if len(parts) > 1 or not named else f"{named.pop().replace('scale', 'scales')}, but"
    return m.BYTES_SHIFTED.of_file(
        what=what,
        count=f"{abs(by)} byte{'' if abs(by) == 1 else 's'}",
        direction="late" if by > 0 else "early",
        reason=_reason(compared.model, onset, by)
        if _is_rest_of_file(compared, places, onset)
        else _edges(compared, moved),
    )


def _is_rest_of_file(compared: BitComparison, places: Sequence[_Place], onset: reader_c.Span) -> bool:
    """Return whether all parts from the first one on are displaced, or nowhere."""
    spans = (span for name in compared.model.names if name in compared.shapes for span in compared.model.spans(name))
    after = {span for span in spans if span.offset > onset.offset}
    return bool(after) and after <= {place.span for place in places if place.by != 0}


def _edges(compared: BitComparison, moved: Sequence[_Place]) -> str:
    """Say what stands where the parts do not reach."""
    is_zero = True
    for place in moved:
        by = place.by
        assert by is not None
        whole = bytes(compared.model.content[place.span.offset : place.span.offset + place.span.nbytes])
        is_zero = is_zero and not any(whole[:by] if by > 0 else whole[by:])
    side = "before" if (moved[0].by or 0) > 0 else "after"
    return f", as if read from a wrong offset, with {'zeros' if is_zero else 'other ones'} {side} them"


def _places(
    compared: BitComparison, spans: Sequence[reader_c.Span], other: dict[tuple[str, str], int]
) -> Iterator[_Place]:
    """Find each part: try the distance of the part before, then search the file. Ends early if nothing is found."""
    lost, last = 0, 0
    for span in spans:
        right = _right_bytes(compared, span)
        likely = [0, last, other.get((span.name, span.part), 0)]
        by = _distance(compared.model, span, right, likely)
        if by is None and lost < _LOST:
            by = _distance(compared.model, span, right, list(_search(compared.model, span, right)))
            lost += by is None
            if lost == _LOST and not last and not other:
                return
        if by:
            last = by
        yield _Place(span, by)


def _right_bytes(compared: BitComparison, span: reader_c.Span) -> bytes:
    how = compared.model.storage(span.name)
    return bits(parts(compared.weights(span.name), how.storage, how.group_size)[span.part]).tobytes()


def _distance(model: reader_c.Model, span: reader_c.Span, right: bytes, candidates: Sequence[int]) -> int | None:
    """Return the first distance at which the whole part stands, or else most of it within its own place."""
    whole = next((by for by in candidates if _stands(model, span, right, by)), None)
    return (
        whole
        if whole is not None
        else next((by for by in candidates if _stands_within(model, span, right, by)), None)
    )


def _stands_within(model: reader_c.Model, span: reader_c.Span, right: bytes, by: int) -> bool:
    """Return whether the part's own place has it so many bytes on, but for what that pushes out at one end."""
    kept = len(right) - abs(by)
    if not by or kept < max(_NEEDLE, _MOST_KEPT * len(right)):
        return False
    start = span.offset + max(by, 0)
    here = bytes(model.content[start : start + kept])
    return here == right[max(-by, 0) :][:kept] and len(set(here)) >= _TELLING


def _stands(model: reader_c.Model, span: reader_c.Span, right: bytes, by: int) -> bool:
    """Return whether the part is so many bytes after its place, as far as the file reaches."""
    start = span.offset + by
    here = model.content[max(start, 0) : max(start + len(right), 0)]
    wanted = right[max(-start, 0) :][: len(here)]
    # a part that the end of the file cuts off counts if enough of it is left
    return len(here) >= min(len(right), _NEEDLE) and len(here) == len(wanted) and here == wanted


def _search(model: reader_c.Model, span: reader_c.Span, right: bytes) -> Iterator[int]:
    """Yield the distances at which the middle of the part is found."""
    at = max(0, len(right) // 2 - _NEEDLE // 2)
    needle = right[at : at + _NEEDLE]
    if len(set(needle)) < _TELLING:
        return
    hits = 0
    for window in range(0, model.file_size, _WINDOW):
        content = bytes(model.content[window : window + _WINDOW + len(needle)])
        start = content.find(needle)
        while start >= 0 and hits < _HITS:
            hits += 1
            yield window + start - at - span.offset
            start = content.find(needle, start + 1)


def _other_layout(model: reader_c.Model) -> dict[tuple[str, str], int]:
    """Return (tensor, part) -> how many bytes after its place v2 has it, for a v1 file, and the reverse for v2.

    Both have the matrices in the same order after the norms: v1 all int8, then all scales; v2 the int8 of each
    matrix, then its scales.
    """
    if model.format not in ("v1", "v2"):
        return {}
    spans = [span for name in model.names for span in model.spans(name) if span.part != "fp32"]
    spans.sort(key=lambda span: span.offset)
    ints, scales = ([span for span in spans if span.part == part] for part in ("int8", "scale"))
    pairs = itertools.chain.from_iterable(zip(ints, scales, strict=True))
    moved: dict[tuple[str, str], int] = {}
    at = spans[0].offset
    for span in pairs if model.format == "v1" else ints + scales:
        moved[span.name, span.part] = at - span.offset
        at += span.nbytes
    return moved


def _union(stretches: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join stretches of bytes that touch or overlap."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(stretches):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def _inside(span: reader_c.Span, stretches: Sequence[tuple[int, int]]) -> bool:
    return any(start <= span.offset and span.offset + span.nbytes <= end for start, end in stretches)


def _reason(model: reader_c.Model, first: reader_c.Span, by: int) -> str:
    """Name what has the size of the shift and lies where the shift begins."""
    spans = sorted((span for name in model.names for span in model.spans(name)), key=lambda span: span.offset)
    start = spans.index(first)
    if start == 0 and abs(by) < spans[0].offset:
        return f", as after a header of {spans[0].offset + by} bytes instead of {spans[0].offset}"
    run = spans[start:] if by < 0 else spans[:start][::-1]
    for count, size in enumerate(itertools.accumulate(span.nbytes for span in run), 1):
        if size == abs(by):
            names = list(dict.fromkeys(span.name for span in run[:count]))
            listed = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
            return f", as if {listed} had been {'omitted' if by < 0 else 'written twice'}"
    return f", from {first.name} on"
