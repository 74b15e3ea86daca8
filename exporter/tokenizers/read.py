"""Read a tokenizer of any known format: the content tells the formats apart, and for vocab.json the name."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from exporter.errors import CheckpointError
from exporter.formats.layout import MAGIC
from exporter.formats.v3 import VERSION
from exporter.sources.source_files import first_bytes
from exporter.sources.v3 import read_head
from exporter.tokenizers.block_parse import parse_block
from exporter.tokenizers.byte_pairs import read_byte_pairs
from exporter.tokenizers.files import find
from exporter.tokenizers.model import TokenizerModel
from exporter.tokenizers.sentencepiece_model import read_sentencepiece
from exporter.tokenizers.settings import read_settings
from exporter.tokenizers.tiktoken_ranks import RANKED_LINE, read_ranks
from exporter.tokenizers.tokenizer_bin import is_tokenizer_bin, read_tokenizer_bin
from exporter.tokenizers.tokenizer_json import read_tokenizer_json

# No token of a rank file is longer.
_SNIFFED = 4096
# a SentencePiece model begins with its first piece: field 1, of bytes
_FIRST_PIECE = b"\n"
# the magic of v1 to v3, and the version
_V3 = struct.pack("<Ii", MAGIC, VERSION)


def read_tokenizer(source: str | os.PathLike[str], *, follow_links: bool = False) -> TokenizerModel:
    """Read a tokenizer's file, or that of a directory, with what stands beside it.

    follow_links: also read files that links outside the directory lead to. Raises CheckpointError for a tokenizer
    that is damaged, or that no format here could hold exactly: file: field: expected ..., found ...
    """
    files = find(Path(source), follow_links=follow_links)
    path = files.path
    if path.name == "merges.txt":
        raise CheckpointError(f"{path}: expected a tokenizer, found its merges alone: give the vocab.json beside it")
    settings = read_settings(files)
    start = first_bytes(path, _SNIFFED)
    if path.name == "vocab.json":
        return read_byte_pairs(files, settings)
    if path.suffix == ".json" or start.lstrip().startswith(b"{"):
        return read_tokenizer_json(files, settings)
    if RANKED_LINE.match(start):
        return read_ranks(files, settings)
    if start.startswith(_V3):
        return parse_block(str(path), _block_of(path))
    if start.startswith(_FIRST_PIECE) and not is_tokenizer_bin(start):
        return read_sentencepiece(files, settings)
    return read_tokenizer_bin(files, settings)


def _block_of(path: Path) -> bytes:
    """Return the tokenizer block of a v3 file."""
    block = read_head(path).plan.tokenizer
    if not block:
        raise CheckpointError(f"{path}: expected a v3 file with a tokenizer block, found one without")
    return block
