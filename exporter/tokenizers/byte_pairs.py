"""Read vocab.json with merges.txt: byte-level byte pairs, whose other rules the class in transformers has.

Source: GPT2Tokenizer and Qwen2Tokenizer of transformers.
"""

from __future__ import annotations

from collections.abc import Iterator

from exporter.errors import CheckpointError
from exporter.strict_json import shown
from exporter.tokenizers.added_tokens import read_added_token
from exporter.tokenizers.files import Files
from exporter.tokenizers.model import AddedToken, Pattern, TokenizerModel
from exporter.tokenizers.settings import Settings
from exporter.tokenizers.vocabulary import build_vocabulary

_CLASSES: dict[str, Pattern] = {"GPT2Tokenizer": "gpt2", "Qwen2Tokenizer": "qwen2"}
# the special token of both classes where tokenizer_config.json names no other
_DEFAULT = "<|endoftext|>"


def read_byte_pairs(files: Files, settings: Settings) -> TokenizerModel:
    """Read vocab.json, merges.txt and what tokenizer_config.json says of them. Raises CheckpointError."""
    where, vocab = str(files.path), files.object()
    pattern = _pattern(files, settings)
    prefix = settings.config.get("add_prefix_space", False)
    if prefix is not False and pattern != "gpt2":
        raise CheckpointError(f"{settings.where}: add_prefix_space: expected false, found {shown(prefix)}")
    added = _added(settings, vocab)
    vocabulary = build_vocabulary(where, "bytes", vocab, _merges(files), added)
    bos, eos = settings.bos(vocabulary.ids), settings.eos(vocabulary.ids)
    if eos is None:
        eos = vocabulary.ids.get(_DEFAULT)
    return TokenizerModel(
        where=where,
        kind="bytes",
        pieces=vocabulary.pieces,
        merges=vocabulary.merges,
        added=vocabulary.added,
        pattern=pattern,
        begins_with_bos=bool(settings.begins_with_bos) and bos is not None,
        ends_with_eos=bool(settings.ends_with_eos) and eos is not None,
        nfc=pattern == "qwen2",
        space_first=bool(prefix),
        bos=bos,
        eos=eos,
        eos_ids=settings.stops(eos),
        template=settings.template,
    )


def _pattern(files: Files, settings: Settings) -> Pattern:
    """Return how the class that tokenizer_config.json names cuts a text into words, or that a Qwen 2 implies."""
    said = settings.config.get("tokenizer_class")
    if said is None and files.object_beside("config.json").get("model_type") == "qwen2":
        said = "Qwen2Tokenizer"
    name = said.removesuffix("Fast") if isinstance(said, str) else None
    if name not in _CLASSES:
        raise CheckpointError(
            f"{settings.where}: tokenizer_class: expected {' or '.join(_CLASSES)} for vocab.json with merges.txt, "
            f"found {'none' if said is None else shown(said)}: give the model's tokenizer.json"
        )
    return _CLASSES[name]


def _merges(files: Files) -> Iterator[tuple[str, str]]:
    """Yield the merges of merges.txt, whose first line may state a version."""
    content = files.content_beside("merges.txt")
    path = files.path.with_name("merges.txt")
    if content is None:
        raise CheckpointError(f"{path}: no such file or directory: it belongs to {files.path.name}")
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: expected UTF-8, found other bytes at {error.start}") from error
    for number, line in enumerate(lines, start=1):
        text = line.removesuffix("\r")
        if not text or (number == 1 and text.startswith("#version")):
            continue
        pair = text.split(" ")
        if len(pair) != 2:
            raise CheckpointError(f"{path}: line {number}: expected two pieces, found {shown(text)}")
        yield pair[0], pair[1]


def _added(settings: Settings, vocab: dict[str, object]) -> list[tuple[str, AddedToken]]:
    """Return the tokens of added_tokens_decoder, and special tokens that it leaves out."""
    where = f"{settings.where}: added_tokens_decoder"
    decoder = settings.config.get("added_tokens_decoder", {})
    if not isinstance(decoder, dict):
        raise CheckpointError(f"{where}: expected an object, found {shown(decoder)}")
    added: dict[str, AddedToken] = {}
    for key, entry in decoder.items():
        number = int(key) if key.isascii() and key.isdecimal() and len(key) < 10 else key
        text, token = read_added_token(f"{where}: {shown(key)}", number, entry)
        added[text] = token
    for text in (*settings.special.values(), _DEFAULT):
        token_id = vocab.get(text)
        if text not in added and isinstance(token_id, int):
            added[text] = AddedToken(token_id)
    return list(added.items())
