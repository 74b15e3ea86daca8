"""Write v3's tokenizer block. docs/format-v3.md is the specification."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

from exporter.errors import FormatError
from exporter.tokenizers.added_tokens import encoded
from exporter.tokenizers.model import (
    MOST_TEMPLATE_BYTES,
    MOST_TOKENS,
    SCORE_FLOOR,
    Kind,
    Pattern,
    TokenizerModel,
    byte_piece,
)

ALIGNMENT = 64
HEAD = struct.Struct("<6I2iIi2IQ8x")
KINDS: dict[Kind, int] = {"bytes": 1, "characters": 2}
PATTERNS: dict[Pattern, int] = {"none": 0, "gpt2": 1, "llama3": 2, "qwen2": 3}
ADDED_FLAGS = ("special", "lstrip", "rstrip", "single_word", "normalized")


def write_block(model: TokenizerModel) -> bytes:
    """Return the block's bytes. Raises FormatError, which names what the block cannot hold."""
    template = _checked(model)
    content = b"".join(model.pieces)
    head = HEAD.pack(
        KINDS[model.kind],
        _flags(model),
        PATTERNS[model.pattern],
        len(model.pieces),
        len(model.merges),
        len(model.added),
        _or_none(model.bos),
        _or_none(model.unk),
        len(model.eos_ids),
        _or_none(model.eos),
        len(template),
        model.scores is not None,
        len(content),
    )
    ends = struct.pack(f"<{len(model.pieces)}I", *accumulate(map(len, model.pieces)))
    scores = b"" if model.scores is None else struct.pack(f"<{len(model.scores)}f", *model.scores)
    merges = struct.pack(f"<{2 * len(model.merges)}I", *(token for pair in model.merges for token in pair))
    added = b"".join(
        struct.pack("<2I", each.id, sum(getattr(each, name) << bit for bit, name in enumerate(ADDED_FLAGS)))
        for each in sorted(model.added, key=lambda each: each.id)
    )
    stops = struct.pack(f"<{len(model.eos_ids)}I", *model.eos_ids)
    block = head + ends + _padded(content, 4) + scores + merges + added + stops + template
    return _padded(block, ALIGNMENT)


def _flags(model: TokenizerModel) -> int:
    bits = (
        model.whole_words,
        model.begins_with_bos,
        model.ends_with_eos,
        model.nfc,
        model.digits,
        model.space_first,
        model.byte_fallback,
        model.strips_spaces,
    )
    return sum(bit << number for number, bit in enumerate(bits))


def _or_none(token: int | None) -> int:
    return -1 if token is None else token


def _padded(content: bytes, alignment: int) -> bytes:
    return content + bytes(-len(content) % alignment)


def _checked(model: TokenizerModel) -> bytes:
    """Return the chat template as bytes. Raises FormatError for what the block cannot hold."""

    def refuse(field: str, expected: str, found: object) -> FormatError:
        return FormatError(f"{model.where}: v3: {field}: expected {expected}, found {found}")

    count = len(model.pieces)
    if not 1 <= count <= MOST_TOKENS:
        raise refuse("tokens", f"1 to {MOST_TOKENS}", count)
    _check_kind(model, refuse)
    _check_tokens(model, refuse)
    added = {each.id for each in model.added}
    known: dict[bytes, int] = {}
    for token, piece in enumerate(model.pieces):
        if piece and token not in added and known.setdefault(piece, token) != token:
            raise refuse(f"token {token}", "a piece of its own", f"that of token {known[piece]}")
    if model.scores is not None:
        _check_scored(model, model.scores, known, refuse)
    template = encoded(f"{model.where}: v3: chat template", model.template)
    if len(template) > MOST_TEMPLATE_BYTES:
        raise refuse("chat template", f"at most {MOST_TEMPLATE_BYTES} bytes", len(template))
    return template


def _check_kind(model: TokenizerModel, refuse: Callable[..., FormatError]) -> None:
    """Refuse rules that the other kind of pieces has."""
    foreign = (
        ("bytes", "remove_extra_whitespaces", "false", str(model.strips_spaces).lower()),
        ("bytes", "byte_fallback", "false", str(model.byte_fallback).lower()),
        ("bytes", "unk", "none", "none" if model.unk is None else str(model.unk)),
        ("characters", "digits", "false", str(model.digits).lower()),
        ("characters", "pre-tokenizer", "none", model.pattern),
    )
    for kind, name, expected, found in foreign:
        if model.kind == kind and found != expected:
            raise refuse(name, f"{expected} for pieces of {kind}", found)
    if model.kind == "characters" and not model.byte_fallback:
        raise refuse("byte_fallback", "true", "false")
    scored = model.kind == "characters" and not model.merges
    if (model.scores is not None) != scored:
        expected, found = ("some", "none") if scored else ("none", "some")
        raise refuse("scores", f"{expected} for pieces of {model.kind} with {len(model.merges)} merges", found)


def _check_tokens(model: TokenizerModel, refuse: Callable[..., FormatError]) -> None:
    """Refuse special tokens that are none of the tokens, or that encoding needs and that are not there."""
    count = len(model.pieces)
    named = (("bos", model.bos), ("eos", model.eos), ("unk", model.unk), *(("eos", token) for token in model.eos_ids))
    for name, token in named:
        if token is not None and not 0 <= token < count:
            raise refuse(name, f"a token below {count}", token)
    for name, token, needed in (("bos", model.bos, model.begins_with_bos), ("eos", model.eos, model.ends_with_eos)):
        if needed and token is None:
            raise refuse(name, "a token, as encoding adds it", "none")


def _check_scored(
    model: TokenizerModel, scores: Sequence[float], known: Mapping[bytes, int], refuse: Callable[..., FormatError]
) -> None:
    """Refuse pieces that scores alone do not keep from merging, as no type of a piece stands in the block."""
    bytes_ = {known.get(byte_piece(byte)) for byte in range(256)}
    for token in sorted(model.reserved):
        if len(model.pieces[token].decode()) == 1:
            raise refuse(f"token {token}", "a control piece of several characters", model.shown(token))
    for token, piece in enumerate(model.pieces):
        splits = ((known.get(piece[:at]), known.get(piece[at:])) for at in range(1, len(piece)))
        parts = [part for split in splits if None not in split for part in split]
        if parts and (token in model.reserved or token in bytes_):
            raise refuse(f"token {token}", "a control piece that no others make", model.shown(token))
        if bytes_.intersection(parts):
            raise refuse(f"token {token}", "no control piece in it", model.shown(token))
        if parts and scores[token] <= SCORE_FLOOR:
            raise refuse(f"token {token}: score", f"above {SCORE_FLOOR:g}", scores[token])
