"""Mistakes with places: the right bytes stand elsewhere in the file, after a tensor or a header of another size, or
in the other version's order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import reader_c
from verify.diagnosis.case import Case, bits
from verify.diagnosis.result import Diagnosis, diagnosis
from verify.oracle.expected import parts

_NEEDLE = 64  # bytes that a part is looked for by
_WINDOW = 1 << 24  # bytes of the file searched at a time
_HITS = 8  # places where a needle stands that are held against the whole part
_LOST = 3  # parts that are found nowhere before the search ends


@dataclass(frozen=True)
class _Place:
    """A part and how many bytes after its own place the right bytes stand; None: nowhere."""

    span: reader_c.Span
    by: int | None

    @property
    def ends(self) -> tuple[int, int]:
        assert self.by is not None
        return self.span.offset + self.by, self.span.offset + self.by + self.span.nbytes


def diagnose_displaced(case: Case, differing: Sequence[str]) -> Diagnosis | None:
    """Where the differing tensors' bytes stand instead; None where they do not stand in the file."""
    spans = sorted((span for name in differing for span in case.model.spans(name)), key=lambda span: span.offset)
    other = _other_layout(case.model)
    places = list(_places(case, spans, other))
    found = [place for place in places if place.by is not None]
    moved = [place for place in found if place.by]
    if not moved:
        return None
    covered = _union(place.ends for place in found)
    here = {place.span: place.by is not None or _inside(place.span, covered) for place in places}
    explained = [name for name in differing if all(here.get(span, False) for span in case.model.spans(name))]
    about = explained or [moved[0].span.name]
    if all(place.by == other.get((place.span.name, place.span.part)) for place in moved):
        mine, others = ("v1", "v2") if case.model.format == "v1" else ("v2", "v1")
        what = f"the right bytes in {others}'s order instead of {mine}'s"
        return diagnosis("v1-v2-mixed-up", what, about, explained, len(differing))
    distances = {place.by for place in moved}
    if len(distances) > 1:
        what = "the right bytes at other places in the file, by different distances"
        return diagnosis("bytes-displaced", what, about, explained, len(differing))
    by = moved[0].by
    assert by is not None
    onset = next(place.span for place in places if place.by != 0)
    what = f"the right bytes {abs(by)} bytes too {'late' if by > 0 else 'early'}"
    return diagnosis("bytes-shifted", what + _reason(case.model, onset, by), about, explained, len(differing))


def _places(case: Case, spans: Sequence[reader_c.Span], other: dict[tuple[str, str], int]) -> Iterator[_Place]:
    """Each part's place: where others were found is tried before the file is searched. Ends early where nothing is
    found."""
    lost, last = 0, 0
    for span in spans:
        right = _right_bytes(case, span)
        likely = [0, last, other.get((span.name, span.part), 0)]
        by = next((by for by in likely if _stands(case.model, span, right, by)), None)
        if by is None and lost < _LOST:
            by = next((by for by in _search(case.model, span, right) if _stands(case.model, span, right, by)), None)
            lost += by is None
            if lost == _LOST and not last and not other:
                return
        if by:
            last = by
        yield _Place(span, by)


def _right_bytes(case: Case, span: reader_c.Span) -> bytes:
    how = case.model.storage(span.name)
    return bits(parts(case.weights(span.name), how.storage, how.group_size)[span.part]).tobytes()


def _stands(model: reader_c.Model, span: reader_c.Span, right: bytes, by: int) -> bool:
    """Whether the part stands so many bytes after its place, as far as the file goes."""
    start = span.offset + by
    here = model.content[max(start, 0) : max(start + len(right), 0)]
    wanted = right[max(-start, 0) :][: len(here)]
    # a part that the file's end cuts off says something where enough of it is left
    return len(here) >= min(len(right), _NEEDLE) and len(here) == len(wanted) and here == wanted


def _search(model: reader_c.Model, span: reader_c.Span, right: bytes) -> Iterator[int]:
    """Distances at which the middle of the part stands."""
    at = max(0, len(right) // 2 - _NEEDLE // 2)
    needle = right[at : at + _NEEDLE]
    if len(set(needle)) < 4:
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
    """(tensor, part) -> how many bytes after its place it stands in v2, of a v1 file, and the other way round.

    Both have the matrices in the same order after the norms: v1 all int8, then all scales; v2 each matrix's int8,
    then its scales."""
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
    """Stretches of bytes, joined where they touch."""
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
    """What has the size of the shift and stands where it begins."""
    spans = sorted((span for name in model.names for span in model.spans(name)), key=lambda span: span.offset)
    start = spans.index(first)
    if start == 0 and abs(by) < spans[0].offset:
        return f", as after a header of {spans[0].offset + by} bytes instead of {spans[0].offset}"
    run = spans[start:] if by < 0 else spans[:start][::-1]
    for count, size in enumerate(itertools.accumulate(span.nbytes for span in run), 1):
        if size == abs(by):
            names = list(dict.fromkeys(span.name for span in run[:count]))
            listed = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
            return f", as if {listed} {'had been left out' if by < 0 else 'stood there twice'}"
    return f", from {first.name} on"
