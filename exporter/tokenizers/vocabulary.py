"""Vocabulary: the pieces of Hugging Face's byte pair encoding by id, with its merges and added tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from exporter.errors import CheckpointError
from exporter.strict_json import shown
from exporter.tokenizers.added_tokens import encoded
from exporter.tokenizers.byte_letters import bytes_of
from exporter.tokenizers.model import LONGEST_PIECE, MOST_TOKENS, AddedToken, Kind


@dataclass(frozen=True)
class Vocabulary:
    """pieces: by id, empty for an id without one. ids: of each text, added tokens included."""

    pieces: tuple[bytes, ...]
    merges: tuple[tuple[int, int], ...]
    added: tuple[AddedToken, ...]
    ids: Mapping[str, int]


def build_vocabulary(
    where: str,
    kind: Kind,
    vocab: Mapping[str, object],
    merges: Iterable[tuple[str, str]],
    added: Sequence[tuple[str, AddedToken]],
) -> Vocabulary:
    """Join vocabulary, merges and added tokens. Raises CheckpointError where the three do not fit each other."""
    ids = _checked_ids(where, vocab)
    found = _merges(where, ids, merges)
    pieces = {token: _piece(where, kind, text) for text, token in ids.items()}
    taken = {token: text for text, token in ids.items()}
    for text, each in added:
        expected = ids.get(text, each.id)
        if each.id != expected or taken.get(each.id, text) != text:
            other = expected if each.id != expected else shown(taken[each.id])
            raise CheckpointError(
                f"{where}: added token {shown(text)}: expected an id of its own as in the vocabulary, "
                f"found {each.id} beside {other}"
            )
        content = encoded(where, text)
        if pieces.get(each.id) not in (None, content):
            raise CheckpointError(
                f"{where}: added token {shown(text)}: expected one meaning, found letters that stand for other bytes"
            )
        taken[each.id], pieces[each.id] = text, content
    for token, piece in pieces.items():
        if piece is None:
            raise CheckpointError(
                f"{where}: vocab: expected letters that stand for bytes, found {shown(taken[token])} at id {token}"
            )
    by_id = tuple(pieces.get(token) or b"" for token in range(max(pieces, default=-1) + 1))
    tokens = tuple(sorted((each for _, each in added), key=lambda each: each.id))
    return Vocabulary(by_id, found, tokens, {text: token for token, text in taken.items()})


def _piece(where: str, kind: Kind, text: str) -> bytes | None:
    return bytes_of(text) if kind == "bytes" else encoded(f"{where}: vocab", text)


def _checked_ids(where: str, vocab: Mapping[str, object]) -> dict[str, int]:
    taken: dict[int, str] = {}
    ids = {}
    for text, token in vocab.items():
        if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < MOST_TOKENS:
            raise CheckpointError(
                f"{where}: vocab: {shown(text)}: expected an id from 0 to {MOST_TOKENS - 1}, found {shown(token)}"
            )
        if token in taken:
            raise CheckpointError(f"{where}: vocab: {shown(text)}: expected an id of its own, found {token} again")
        if not 1 <= len(text) <= LONGEST_PIECE:
            raise CheckpointError(
                f"{where}: vocab: id {token}: expected 1 to {LONGEST_PIECE} characters, found {len(text)}"
            )
        taken[token] = text
        ids[text] = token
    return ids


def _merges(where: str, ids: Mapping[str, int], merges: Iterable[tuple[str, str]]) -> tuple[tuple[int, int], ...]:
    """Return the merges as ids. Each joins two pieces of the vocabulary to a third, and none is there twice."""
    found: dict[tuple[int, int], int] = {}
    for rank, (left, right) in enumerate(merges):
        for text in (left, right, left + right):
            if text not in ids:
                raise CheckpointError(
                    f"{where}: merges: {rank}: expected pieces of the vocabulary, found {shown(text)}"
                )
        pair = ids[left], ids[right]
        if pair in found:
            raise CheckpointError(f"{where}: merges: {rank}: expected a new pair, found that of {found[pair]}")
        found[pair] = rank
    return tuple(found)
