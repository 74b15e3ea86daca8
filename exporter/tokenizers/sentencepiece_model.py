"""Read SentencePiece's tokenizer.model: byte pair encoding whose scores decide which pair merges.

Source: sentencepiece_model.proto and model_interface.cc of github.com/google/sentencepiece.
"""

from __future__ import annotations

import math

from exporter.errors import CheckpointError
from exporter.strict_json import shown
from exporter.tokenizers.files import Files
from exporter.tokenizers.model import LONGEST_PIECE, MOST_TOKENS, SPACE, TokenizerModel
from exporter.tokenizers.protobuf import Message
from exporter.tokenizers.settings import Settings

_BPE = 2
_OTHER_MODEL_TYPES = {1: "unigram", 3: "word", 4: "char"}
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
_TYPES = {_NORMAL: "normal", _UNKNOWN: "unknown", _CONTROL: "control", 4: "user defined", 5: "unused", _BYTE: "byte"}


def read_sentencepiece(files: Files, settings: Settings) -> TokenizerModel:
    """Read a tokenizer.model. Raises CheckpointError, which names the field that no other format could express.

    A text begins with bos unless tokenizer_config.json says otherwise, as in transformers, Meta's code and run.c.
    """
    where = str(files.path)
    message = Message(where, files.content())
    trainer = Message(f"{where}: trainer_spec", message.content(2))
    normalizer = Message(f"{where}: normalizer_spec", message.content(3))
    _check_algorithm(where, trainer, normalizer, Message(f"{where}: denormalizer_spec", message.content(5)))
    pieces, scores, types = _pieces(where, message)
    of_text = {piece: token for token, piece in enumerate(pieces)}

    def special(field: int, default: bytes) -> int | None:
        token = of_text.get(trainer.content(field, default))
        return token if token is not None and types[token] == _CONTROL else None

    bos, eos = special(46, b"<s>"), special(47, b"</s>")
    begins = settings.begins_with_bos
    return TokenizerModel(
        where=where,
        kind="characters",
        pieces=tuple(pieces),
        scores=tuple(scores),
        reserved=frozenset(token for token, kind in enumerate(types) if kind != _NORMAL),
        begins_with_bos=bos is not None if begins is None else begins,
        ends_with_eos=bool(settings.ends_with_eos),
        space_first=normalizer.boolean(3, default=True),
        byte_fallback=trainer.boolean(35, default=False),
        strips_spaces=normalizer.boolean(4, default=True),
        bos=bos,
        eos=eos,
        unk=next((token for token, kind in enumerate(types) if kind == _UNKNOWN), None),
        eos_ids=settings.stops(eos),
        template=settings.template,
    )


def _check_algorithm(where: str, trainer: Message, normalizer: Message, denormalizer: Message) -> None:
    """Refuse everything but byte pair encoding of the text as it is."""
    model_type = trainer.integer(3, 1)
    if model_type != _BPE:
        found = _OTHER_MODEL_TYPES.get(model_type, str(model_type))
        raise CheckpointError(f"{where}: trainer_spec: model_type: expected BPE, found {found}")
    if trainer.boolean(24, default=False):
        raise CheckpointError(f"{where}: trainer_spec: treat_whitespace_as_suffix: expected false, found true")
    for spec, message in (("normalizer_spec", normalizer), ("denormalizer_spec", denormalizer)):
        if message.content(2):
            name = shown(message.content(1).decode(errors="replace"))
            raise CheckpointError(f"{where}: {spec}: expected no normalizer (identity), found {name}")
    if not normalizer.boolean(5, default=True):
        raise CheckpointError(f"{where}: normalizer_spec: escape_whitespaces: expected true, found false")


def _pieces(where: str, message: Message) -> tuple[list[bytes], list[float], list[int]]:
    """Return the pieces, their scores and their types."""
    entries = message.contents(1)
    if not 1 <= len(entries) <= MOST_TOKENS:
        raise CheckpointError(f"{where}: pieces: expected 1 to {MOST_TOKENS}, found {len(entries)}")
    pieces: dict[bytes, int] = {}
    scores, types = [], []
    for token, entry in enumerate(entries):
        at = f"{where}: piece {token}"
        parsed = Message(at, entry)
        piece, score, kind = parsed.content(1), parsed.float32(2), parsed.integer(3, _NORMAL)
        _check_piece(at, piece, score, kind)
        if piece in pieces:
            raise CheckpointError(f"{at}: expected a new piece, found that of {pieces[piece]}")
        pieces[piece] = token
        scores.append(score)
        types.append(kind)
    return list(pieces), scores, types


def _check_piece(where: str, piece: bytes, score: float, kind: int) -> None:
    if not 1 <= len(piece) <= LONGEST_PIECE:
        raise CheckpointError(f"{where}: expected 1 to {LONGEST_PIECE} bytes, found {len(piece)}")
    try:
        text = piece.decode()
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{where}: expected UTF-8, found {shown(repr(piece))}") from error
    if not math.isfinite(score):
        raise CheckpointError(f"{where}: score: expected a finite number, found {score}")
    if kind not in (_NORMAL, _UNKNOWN, _CONTROL, _BYTE):
        found = _TYPES.get(kind, str(kind))
        raise CheckpointError(
            f"{where}: type: expected normal, unknown, control or byte, found {found} ({shown(text)}): "
            "give the model's tokenizer.json"
        )
    if " " in text:
        raise CheckpointError(f"{where}: expected {shown(SPACE)} for a space, found a space in {shown(text)}")
