"""Write llama2.c's tokenizer.bin, or say what its reader, run.c, would do differently.

run.c puts a space before a text, begins with its characters (bytes where a character has no piece, whose ids are the
byte plus 3), and merges, again and again, the two neighbours whose joined piece has the largest score above -1e10, of
equal ones the leftmost. So the scores of SentencePiece give its own merges. Merges by rank become scores by rank: of
all pairs that join to a piece at most one can happen (see merging.py), and a piece that no merge makes gets -1e10.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from exporter.errors import FormatError
from exporter.tokenizers.merging import live_merges
from exporter.tokenizers.model import SCORE_FLOOR, SPACE, TokenizerModel, byte_piece

_BOS, _EOS, _FIRST_BYTE = 1, 2, 3
_PATTERNS = {
    "gpt2": "GPT-2's regular expression",
    "llama3": "Llama 3's regular expression",
    "qwen2": "Qwen 2's regular expression",
}
# scores of ranks are integers that float32 holds
_MOST_RANKS = 1 << 24


def write_llama2c(model: TokenizerModel) -> bytes:
    """Return the bytes of tokenizer.bin. Raises FormatError, which names what the format cannot hold."""
    _check_rules(model)
    _check_ids(model)
    pieces = [piece.replace(SPACE.encode(), b" ") for piece in model.pieces]
    for token in (_BOS, _EOS):
        # as llama2.c's tokenizer.py writes them; no text may spell them
        if not pieces[token].startswith(b"\n"):
            pieces[token] = b"\n" + pieces[token] + b"\n"
    _check_pieces(model, pieces)
    scores = _scores_of_ranks(model) if model.scores is None else _own_scores(model, pieces, model.scores)
    longest = max(map(len, pieces))
    entries = (struct.pack("<fi", score, len(piece)) + piece for piece, score in zip(pieces, scores, strict=True))
    return struct.pack("<i", longest) + b"".join(entries)


def notes_of_llama2c(model: TokenizerModel) -> tuple[str, ...]:
    """Return what run.c does with texts that the tokenizer treats differently, although every piece is the same."""
    if not model.strips_spaces:
        return ()
    return (
        f"{model.where}: SentencePiece drops spaces at the ends of a text and repeated ones "
        "(remove_extra_whitespaces); run.c keeps them: such texts have other token ids there",
    )


def _refuse(model: TokenizerModel, field: str, expected: str, found: object) -> FormatError:
    return FormatError(f"{model.where}: llama2c: {field}: expected {expected}, found {found}")


def _check_rules(model: TokenizerModel) -> None:
    """Refuse what run.c does not do."""
    if model.pattern != "none":
        raise _refuse(model, "pre-tokenizer", "none", _PATTERNS[model.pattern])
    if model.digits:
        raise _refuse(model, "pre-tokenizer", "none", "one that cuts digits apart")
    if model.nfc:
        raise _refuse(model, "normalizer", "none", "NFC")
    if model.kind != "characters":
        raise _refuse(model, "pieces", "characters as in SentencePiece", "bytes")
    if model.whole_words:
        raise _refuse(model, "ignore_merges", "false", "true")
    if not model.space_first:
        raise _refuse(model, "space before the text", "one", "none")
    if not model.byte_fallback:
        raise _refuse(model, "byte_fallback", "true", "false")


def _check_ids(model: TokenizerModel) -> None:
    """Refuse ids that are not those of run.c."""
    for name, token, expected in (("bos", model.bos, _BOS), ("eos", model.eos, _EOS)):
        if token != expected:
            raise _refuse(model, name, str(expected), "none" if token is None else token)
    if not model.begins_with_bos:
        raise _refuse(model, "text", "bos before it", "none")
    if model.ends_with_eos:
        raise _refuse(model, "text", "no eos behind it", "one")
    for added in model.added:
        if added.id not in (_BOS, _EOS, model.unk):
            raise _refuse(model, "added tokens", "unk, bos and eos alone", model.shown(added.id))
    for byte in range(256):
        at = _FIRST_BYTE + byte
        if model.pieces[at : at + 1] != (byte_piece(byte),):
            found = model.shown(at) if at < len(model.pieces) else f"{len(model.pieces)} tokens"
            raise _refuse(model, f"token {at}", byte_piece(byte).decode(), found)


def _check_pieces(model: TokenizerModel, pieces: Sequence[bytes]) -> None:
    """Refuse pieces that C's strings cannot hold or tell apart."""
    known: dict[bytes, int] = {}
    for token, piece in enumerate(pieces):
        if not piece:
            raise _refuse(model, f"token {token}", "a piece", "none")
        if b"\0" in piece:
            raise _refuse(model, f"token {token}", "no zero byte in the piece", model.shown(token))
        if piece in known:
            raise _refuse(model, f"token {token}", "a piece of its own", f"that of token {known[piece]}")
        known[piece] = token
    if b" " not in known:
        raise _refuse(model, "pieces", "one for a space, which begins every text", "none")


def _own_scores(model: TokenizerModel, pieces: Sequence[bytes], scores: Sequence[float]) -> list[float]:
    """Return SentencePiece's scores, and the lowest for a control piece that run.c would merge from two others."""
    known = {piece: token for token, piece in enumerate(pieces)}
    found = list(scores)
    for token, piece in enumerate(pieces):
        if token in model.reserved and len(piece.decode()) == 1:
            raise _refuse(model, f"token {token}", "no control piece of one character", model.shown(token))
        for left, right in _splits(piece, known):
            if token in model.reserved:
                found[token] = SCORE_FLOOR
            elif scores[token] <= SCORE_FLOOR and model.reserved:
                raise _refuse(model, f"token {token}: score", f"above {SCORE_FLOOR:g}", scores[token])
            elif {left, right} & model.reserved:
                parts = f"{model.shown(left)} and {model.shown(right)}"
                raise _refuse(model, f"token {token}", "no control piece in it", parts)
    return found


def _splits(piece: bytes, known: Mapping[bytes, int]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of tokens whose pieces join to this one."""
    for at in range(1, len(piece)):
        left, right = known.get(piece[:at]), known.get(piece[at:])
        if left is not None and right is not None:
            yield left, right


def _scores_of_ranks(model: TokenizerModel) -> list[float]:
    """Return minus the rank for each piece that a merge makes, and the lowest score for the others."""
    if len(model.merges) > _MOST_RANKS:
        raise _refuse(model, "merges", f"at most {_MOST_RANKS}", len(model.merges))
    ordinary = {piece: token for token, piece in enumerate(model.pieces) if token not in _special(model)}
    products = []
    for left, right in model.merges:
        product = ordinary.get(model.pieces[left] + model.pieces[right])
        if product is None:
            raise _refuse(model, "merges", "none to or from a special token", model.shown(left))
        products.append(product)
    symbols = {product: _symbols(model, ordinary, product) for product in products}
    scores = np.full(len(model.pieces), SCORE_FLOOR, np.float32)
    for product, rank in live_merges(model.merges, products, symbols).items():
        scores[product] = -rank
    return [float(score) for score in scores]


def _special(model: TokenizerModel) -> set[int]:
    return {added.id for added in model.added}


def _symbols(model: TokenizerModel, ordinary: Mapping[bytes, int], product: int) -> list[int]:
    """Return the tokens that a piece begins as: characters, or bytes where a character has no piece."""
    symbols = []
    for character in model.pieces[product].decode():
        encoded = character.encode()
        known = ordinary.get(encoded)
        symbols += [_FIRST_BYTE + byte for byte in encoded] if known is None else [known]
    return symbols
