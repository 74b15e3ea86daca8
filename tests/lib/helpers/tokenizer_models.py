"""Small Hugging Face models with a tokenizer of their vocabulary beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers import huggingface
from helpers.tokenizer_families import source

# More ids than any family's tokenizer has.
VOCAB_SIZE = 810


def with_tokenizer(directory: Path, family: str, **changes: Any) -> Path:
    """Save a model and a family's tokenizer as one directory."""
    shape = {"vocab_size": VOCAB_SIZE, "max_position_embeddings": 200, **changes}
    huggingface.save(directory, huggingface.model(**shape))
    source(family, directory)
    return directory
