"""vocab.json with merges.txt: byte-level byte pairs, encoded as the class that tokenizer_config.json names does."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from verify.errors import CannotJudgeError
from verify.evidence.untrusted import untrusted
from verify.system.optional_imports import quiet_transformers
from verify.system.reading import read_given, read_object

# Qwen2's vocab.json has 3 MB.
_MOST_BYTES = 1 << 26
_CONFIG = "tokenizer_config.json"
# Those beside vocab.json that say which special tokens there are.
_ADDED = (_CONFIG, "added_tokens.json", "special_tokens_map.json")
# Both take these two files; how they cut a text into words differs, and the files do not say which it is.
_CLASSES = ("GPT2Tokenizer", "Qwen2Tokenizer")


class BytePairs:
    """The tokenizer that transformers makes of these files. backend: of the library `tokenizers`.

    Raises CannotJudgeError.
    """

    def __init__(self, path: Path) -> None:
        contents = _contents(path)
        name = _class_of(path.parent)
        # a directory of these files alone, so that transformers takes no other tokenizer that stands beside them
        with tempfile.TemporaryDirectory() as directory, quiet_transformers() as transformers:
            for file, content in contents.items():
                (Path(directory) / file).write_bytes(content)
            with untrusted(path, "a vocab.json that fits its merges.txt, found none that loads"):
                made = getattr(transformers, name).from_pretrained(directory, local_files_only=True)
                self.backend: Any = made.backend_tokenizer
                self.backend.no_truncation()
                self.backend.no_padding()

    def encode(self, text: str) -> list[int]:
        return list(self.backend.encode(text).ids) if text.strip() else []

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.backend.decode(list(ids)))


def _contents(path: Path) -> dict[str, bytes]:
    """Return name -> content of the files that make the tokenizer."""
    contents = {}
    for name in ("vocab.json", "merges.txt", *_ADDED):
        file = path.with_name(name)
        if name in _ADDED and not file.exists():
            continue
        try:
            contents[name] = read_given(file, _MOST_BYTES)
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise CannotJudgeError(f"{file}: expected a part of the tokenizer, found: {reason}") from error
    return contents


def _class_of(directory: Path) -> str:
    """Return the name of the class in transformers, as tokenizer_config.json has it or a Qwen2 implies it."""
    said = _said(directory / _CONFIG, "tokenizer_class")
    if said is None and _said(directory / "config.json", "model_type") == "qwen2":
        return "Qwen2Tokenizer"
    for name in _CLASSES:
        if said in (name, f"{name}Fast"):
            return name
    raise CannotJudgeError(
        f"{directory / _CONFIG}: tokenizer_class: expected {' or '.join(_CLASSES)} for vocab.json with merges.txt, "
        f"found {'none' if said is None else str(said)[:80]}: give the model's tokenizer.json with --tokenizer"
    )


def _said(path: Path, key: str) -> object:
    return read_object(path, _MOST_BYTES).get(key) if path.exists() else None
