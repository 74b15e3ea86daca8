"""Compare the rules of a written tokenizer with the source's, field by field: the first that differs in each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from verify.tokenizers.rules import NONE, SWITCHES, Rules, SourceRules

# Characters of a piece or a template that a message shows.
_SHOWN = 60


@dataclass(frozen=True)
class Difference:
    """Says what differs. field: of Rules. at: the id, rank or place of the first that differs; count: how many do."""

    field: str
    detail: str
    at: int | None = None
    count: int = 1


def differences(source: SourceRules, found: Rules) -> list[Difference]:
    """Return the differences of every field of a block, in the order in which one causes the next."""
    expected = source.rules
    parts: Sequence[Iterator[Difference]] = (
        _plain("kind", expected.kind, found.kind),
        of_pieces(source, found.pieces),
        _of_added(expected, found),
        of_scores(expected.scores, found.scores),
        _of_merges(source, found),
        _plain("pre_tokenizer", expected.pre_tokenizer, found.pre_tokenizer),
        _of_switches(expected, found),
        _of_ids(source, found),
        _of_ends(source, found),
        _of_template(expected.template, found.template),
    )
    return [difference for part in parts for difference in part]


def _plain(field: str, expected: object, found: object) -> Iterator[Difference]:
    if expected != found:
        yield Difference(field, f"{field}: expected {expected}, found {found}")


def of_pieces(source: SourceRules, found: Sequence[bytes]) -> Iterator[Difference]:
    """Yield the first id whose bytes differ; ids beyond either list have none."""
    expected = source.rules.pieces
    count = max(len(expected), len(found))
    padded = [[*pieces, *[b""] * (count - len(pieces))] for pieces in (expected, found)]
    wrong = [
        token
        for token, (right, piece) in enumerate(zip(*padded, strict=True))
        if right != piece and piece not in source.pieces.get(token, ())
    ]
    if wrong:
        at = wrong[0]
        right, piece = (_piece(pieces[at]) for pieces in padded)
        more = f"; {len(wrong) - 1} more ids differ" if len(wrong) > 1 else ""
        yield Difference("pieces", f"id {at}: piece: expected {right}, found {piece}{more}", at, len(wrong))


def _of_added(expected: Rules, found: Rules) -> Iterator[Difference]:
    tokens = sorted(expected.added.keys() | found.added.keys())
    wrong = [token for token in tokens if expected.added.get(token) != found.added.get(token)]
    if wrong:
        at = wrong[0]
        right, flags = (_flags(rules, at) for rules in (expected, found))
        more = f"; {len(wrong) - 1} more ids differ" if len(wrong) > 1 else ""
        yield Difference("added", f"id {at}: added token: expected {right}, found {flags}{more}", at, len(wrong))


def _flags(rules: Rules, token: int) -> str:
    flags = rules.added.get(token)
    piece = _piece(rules.pieces[token]) if token < len(rules.pieces) else "no piece"
    return "none" if flags is None else f"{piece} with flags {flags}"


def of_scores(expected: Sequence[float] | None, found: Sequence[float] | None) -> Iterator[Difference]:
    """Yield the first id whose score differs."""
    if expected is None or found is None:
        if expected is not found:
            yield Difference("scores", f"scores: expected {_some(expected)}, found {_some(found)}")
        return
    pairs = list(zip(expected, found, strict=False))
    wrong = [token for token, (right, score) in enumerate(pairs) if right != score]
    if wrong:
        right, score = pairs[wrong[0]]
        more = f"; {len(wrong) - 1} more ids differ" if len(wrong) > 1 else ""
        detail = f"id {wrong[0]}: score: expected {right:.9g}, found {score:.9g}{more}"
        yield Difference("scores", detail, wrong[0], len(wrong))


def _of_merges(source: SourceRules, found: Rules) -> Iterator[Difference]:
    expected, merges = source.rules.merges, found.merges
    if source.more_merges:
        merges = _reachable(expected, found)
    if expected == merges:
        return
    count = max(len(expected), len(merges))
    at = next((rank for rank, (a, b) in enumerate(zip(expected, merges, strict=False)) if a != b), None)
    if at is None:
        at = min(len(expected), len(merges))
    right, pair = (_pair(rules, list_, at) for rules, list_ in ((source.rules, expected), (found, merges)))
    differing = sum(a != b for a, b in zip(expected, merges, strict=False)) + count - min(len(expected), len(merges))
    more = f"; {differing - 1} more ranks differ" if differing > 1 else ""
    yield Difference("merges", f"merge {at}: expected {right}, found {pair}{more}", at, differing)


def _reachable(expected: Sequence[tuple[int, int]], found: Rules) -> tuple[tuple[int, int], ...]:
    """Return the merges without other pairs of the same pieces, which no text reaches, if all are in ranks' order."""
    token_of = {piece: token for token, piece in enumerate(found.pieces) if token not in found.added}
    made = [token_of.get(found.pieces[left] + found.pieces[right], NONE) for left, right in found.merges]
    if made != sorted(made):
        return found.merges
    needed = set(expected)
    return tuple(pair for pair in found.merges if pair in needed)


def _pair(rules: Rules, merges: Sequence[tuple[int, int]], at: int) -> str:
    if at >= len(merges):
        return "none"
    return " + ".join(_piece(rules.pieces[token]) if token < len(rules.pieces) else "?" for token in merges[at])


def _of_switches(expected: Rules, found: Rules) -> Iterator[Difference]:
    for name, words in SWITCHES.items():
        right, switch = getattr(expected, name), getattr(found, name)
        if right != switch:
            negated = words if right else f"not that {words}"
            yield Difference(name, f"{name}: expected {negated}, found {'that' if switch else 'it does not'}")


def _of_ids(source: SourceRules, found: Rules) -> Iterator[Difference]:
    for name in ("bos", "unk", "eos"):
        right, token = getattr(source.rules, name), getattr(found, name)
        if token != right and token not in getattr(source, name):
            yield Difference(name, f"{name}: expected {_id(right)}, found {_id(token)}")


def _of_ends(source: SourceRules, found: Rules) -> Iterator[Difference]:
    """The ids by which the source's own generation ends must be there; others must be those of its other files."""
    required, ends = set(source.rules.ends), set(found.ends)
    if not required <= ends or not ends <= required | source.ends:
        yield Difference("ends", f"end ids: expected {_ids(source.rules.ends)}, found {_ids(found.ends)}")


def _of_template(expected: str, found: str) -> Iterator[Difference]:
    if expected == found:
        return
    if not expected or not found:
        right, text = (f"one of {len(text)} characters" if text else "none" for text in (expected, found))
        yield Difference("template", f"chat template: expected {right}, found {text}")
        return
    at = next(
        (n for n, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), min(len(expected), len(found))
    )
    right, text = (repr(text[at : at + _SHOWN]) for text in (expected, found))
    yield Difference("template", f"chat template: character {at}: expected {right}, found {text}", at)


def _piece(piece: Any) -> str:
    return repr(piece[:_SHOWN]) if piece else "none"


def _some(scores: Sequence[float] | None) -> str:
    return "none" if scores is None else f"{len(scores)} of them"


def _id(token: int) -> str:
    return "none" if token == NONE else str(token)


def _ids(tokens: Sequence[int]) -> str:
    return ", ".join(map(str, tokens)) or "none"
