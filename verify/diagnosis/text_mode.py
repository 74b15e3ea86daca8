"""Recognise a file that was written or copied as text: a byte of 10 became two bytes, 13 and 10, or the reverse."""

from __future__ import annotations

from collections.abc import Sequence

import reader_c
from verify.diagnosis import read_off_mistakes as r
from verify.diagnosis.bit_comparison import BitComparison, bits
from verify.diagnosis.result import Diagnosis, diagnosis_of_tensors
from verify.oracle.expected import parts

_LF, _CRLF = b"\n", b"\r\n"
# Changed places without which the change is another one.
_FEWEST = 4


def diagnose_text_mode(compared: BitComparison, differing: Sequence[str]) -> Diagnosis | None:
    """Return which of both changes gives the bytes from the first differing tensor on; None if neither does."""
    spans = sorted(
        (span for name in compared.model.names for span in compared.model.spans(name)), key=lambda span: span.offset
    )
    first = min(span.offset for name in differing for span in compared.model.spans(name))
    spans = [span for span in spans if span.offset >= first]
    for old, new, what in ((_LF, _CRLF, "a byte of 13 before each of 10"), (_CRLF, _LF, "no byte of 13 before 10")):
        explained = [name for name in _explained(compared, spans, old, new) if name in differing]
        if explained:
            about = r.TEXT_MODE.of_file(what=what)
            return diagnosis_of_tensors(r.TEXT_MODE.name, about, explained, explained, len(differing))
    return None


def _explained(compared: BitComparison, spans: Sequence[reader_c.Span], old: bytes, new: bytes) -> list[str]:
    """Return the tensors whose bytes, changed, follow one another in the file."""
    names: list[str] = []
    at, changed = spans[0].offset, 0
    content, end = compared.model.content, spans[0].offset
    for span in spans:
        if span.name not in compared.shapes:
            break
        right = _right_bytes(compared, span)
        made = right.replace(old, new)
        at += span.offset - end
        here = bytes(content[at : at + len(made)])
        if here != made[: len(here)] or (not here and not names):
            break
        changed += right.count(old)
        at, end = at + len(made), span.offset + span.nbytes
        names.append(span.name)
    return list(dict.fromkeys(names)) if changed >= _FEWEST else []


def _right_bytes(compared: BitComparison, span: reader_c.Span) -> bytes:
    how = compared.model.storage(span.name)
    return bits(parts(compared.weights(span.name), how.storage, how.group_size)[span.part]).tobytes()
