"""Find what a Hugging Face directory has besides its model: the tokenizer's files, and the tokens that end a text."""

from __future__ import annotations

from pathlib import Path

from exporter.companions import TOKEN_IDS, Companions
from exporter.file_identity import identity
from exporter.sources.huggingface_text_part import text_config
from exporter.sources.source_files import check_file
from exporter.strict_json import read_object

_NAMES = (
    *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "tekken.json", "generation_config.json"),
)
_PATTERNS = ("chat_template.*", "*.tiktoken")


def find_companions(directory: Path, *, follow_links: bool) -> Companions:
    """Return the companions of a Hugging Face directory. Raises CheckpointError for a link that leads out of it."""
    files = {}
    patterned = (path for pattern in _PATTERNS for path in directory.glob(pattern))
    for path in sorted({*(directory / name for name in _NAMES), *patterned}):
        if path.exists():
            check_file(path, follow_links=follow_links)
            files[path] = identity(path)
    config = text_config(read_object(directory / "config.json"))
    return Companions(files, {name: config[name] for name in TOKEN_IDS if name in config})
