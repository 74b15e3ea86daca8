"""Read Hugging Face's tokenizer.json: byte pair encoding over bytes or characters.

What a file says is understood exactly or refused by its name. Source: the serialization of
github.com/huggingface/tokenizers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from exporter.errors import CheckpointError
from exporter.strict_json import Json, shown
from exporter.tokenizers.added_tokens import read_added_token
from exporter.tokenizers.files import Files
from exporter.tokenizers.model import AddedToken, TokenizerModel, byte_piece
from exporter.tokenizers.pipeline import Pipeline, read_pipeline, read_template
from exporter.tokenizers.settings import Settings
from exporter.tokenizers.vocabulary import Vocabulary, build_vocabulary

# Of a model, the fields that must say "none", with the values that say it.
_FIXED: dict[str, tuple[object, ...]] = {
    "dropout": (None, 0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
}
_READ = ("type", "vocab", "merges", "unk_token", "fuse_unk", "byte_fallback", "ignore_merges")


def read_tokenizer_json(files: Files, settings: Settings) -> TokenizerModel:
    """Read a tokenizer.json. Raises CheckpointError: file: field: expected ..., found ..."""
    where, file = str(files.path), files.object()
    model = _model(where, file)
    pipeline = read_pipeline(where, file)
    added = _added(where, file)
    vocabulary = build_vocabulary(where, pipeline.kind, model["vocab"], _pairs(where, model["merges"]), added)
    _check_new_ids(where, model["vocab"], added)
    _check_unknown(where, model, pipeline, vocabulary)
    _check_normalized(where, pipeline, vocabulary)
    bos, eos = settings.bos(vocabulary.ids), settings.eos(vocabulary.ids)
    bos, eos, begins, ends = _ends(where, file, vocabulary, bos, eos)
    unk = model.get("unk_token")
    return TokenizerModel(
        where=where,
        kind=pipeline.kind,
        pieces=vocabulary.pieces,
        merges=vocabulary.merges,
        added=vocabulary.added,
        pattern=pipeline.pattern,
        begins_with_bos=begins,
        ends_with_eos=ends,
        nfc=pipeline.nfc,
        digits=pipeline.digits,
        space_first=pipeline.space_first,
        byte_fallback=pipeline.kind == "characters",
        whole_words=bool(model.get("ignore_merges")),
        bos=bos,
        eos=eos,
        unk=vocabulary.ids.get(unk) if isinstance(unk, str) and pipeline.kind == "characters" else None,
        eos_ids=settings.stops(eos),
        template=settings.template,
    )


def _model(where: str, file: Json) -> Json:
    """Return the field model, whose fields all have a meaning here. Raises CheckpointError."""
    model = file.get("model")
    if not isinstance(model, dict):
        raise CheckpointError(f"{where}: model: expected an object, found {shown(model)}")
    if model.get("type", "BPE") != "BPE":
        raise CheckpointError(f"{where}: model: type: expected BPE, found {shown(model['type'])}")
    for name, value in model.items():
        if name in _FIXED:
            if value not in _FIXED[name]:
                raise CheckpointError(f"{where}: model: {name}: expected none, found {shown(value)}")
        elif name not in _READ:
            raise CheckpointError(f"{where}: model: expected one of {', '.join(_READ)}, found {shown(name)}")
    for name in ("fuse_unk", "byte_fallback", "ignore_merges"):
        if not isinstance(model.get(name, False), bool):
            raise CheckpointError(f"{where}: model: {name}: expected true or false, found {shown(model[name])}")
    if not isinstance(model.get("vocab"), dict) or not isinstance(model.get("merges"), list):
        raise CheckpointError(f"{where}: model: expected an object vocab and a list merges, found no such pair")
    return model


def _pairs(where: str, merges: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Yield merges as two texts; old files have them in one, with a space between."""
    for rank, merge in enumerate(merges):
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise CheckpointError(f"{where}: merges: {rank}: expected two pieces, found {shown(merge)}")
        yield pair[0], pair[1]


def _added(where: str, file: Json) -> list[tuple[str, AddedToken]]:
    entries = file.get("added_tokens") or []
    if not isinstance(entries, list):
        raise CheckpointError(f"{where}: added_tokens: expected a list, found {shown(entries)}")
    added: dict[str, AddedToken] = {}
    for number, entry in enumerate(entries):
        at = f"{where}: added_tokens: {number}"
        text, token = read_added_token(at, entry.get("id") if isinstance(entry, dict) else None, entry)
        if text in added:
            raise CheckpointError(f"{at}: expected a new token, found {shown(text)} again")
        added[text] = token
    return list(added.items())


def _check_new_ids(where: str, vocab: Json, added: Sequence[tuple[str, AddedToken]]) -> None:
    """Refuse ids that the library would not give: it numbers new tokens itself, whatever the file says."""
    following = len(vocab)
    for text, token in added:
        if text not in vocab and token.id != following:
            raise CheckpointError(
                f"{where}: added token {shown(text)}: id: expected {following}, the next one, found {token.id}"
            )
        following = max(following, token.id + 1)


def _check_unknown(where: str, model: Json, pipeline: Pipeline, vocabulary: Vocabulary) -> None:
    """Require that no character is unknown: characters fall back to bytes, and a byte without a piece is dropped."""
    pieces = set(vocabulary.pieces)
    if pipeline.kind == "bytes":
        missing = [byte for byte in range(256) if bytes([byte]) not in pieces]
        if model.get("unk_token") not in (None, "") and missing:
            raise CheckpointError(
                f"{where}: model: unk_token: expected none where byte 0x{missing[0]:02X} has no piece, "
                f"found {shown(model['unk_token'])}"
            )
        if model.get("byte_fallback"):
            raise CheckpointError(f"{where}: model: byte_fallback: expected false with ByteLevel, found true")
        return
    if not model.get("byte_fallback"):
        raise CheckpointError(f"{where}: model: byte_fallback: expected true without ByteLevel, found false")
    missing = [byte for byte in range(256) if byte_piece(byte) not in pieces]
    if missing:
        raise CheckpointError(
            f"{where}: vocab: expected pieces for all bytes, found none for {byte_piece(missing[0]).decode()}"
        )


def _check_normalized(where: str, pipeline: Pipeline, vocabulary: Vocabulary) -> None:
    """Refuse added tokens that the library normalizes before it seeks them, where that may change them."""
    for token in vocabulary.added:
        piece = vocabulary.pieces[token.id]
        if token.normalized and (pipeline.kind == "characters" or (pipeline.nfc and not piece.isascii())):
            text = shown(piece.decode())
            raise CheckpointError(f"{where}: added token {text}: normalized: expected false, found true")


def _ends(
    where: str, file: Json, vocabulary: Vocabulary, bos: int | None, eos: int | None
) -> tuple[int | None, int | None, bool, bool]:
    """Return (bos, eos, whether encoding adds each), by post_processor, which alone decides that."""
    before, after = read_template(where, file)
    for token in (*before, *after):
        if not 0 <= token < len(vocabulary.pieces):
            raise CheckpointError(f"{where}: post_processor: expected an id of the vocabulary, found {token}")
    if len(before) > 1 or len(after) > 1:
        raise CheckpointError(
            f"{where}: post_processor: expected at most one token at each end, found {len(before)} and {len(after)}"
        )
    return before[0] if before else bos, after[0] if after else eos, bool(before), bool(after)
