"""The source's own library as judge: how it encodes a text and decodes ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from verify.evidence.byte_pairs import BytePairs
from verify.evidence.ranked_tokens import RankedTokens
from verify.evidence.untrusted import untrusted
from verify.system.optional_imports import wanted


class Library(Protocol):
    """Encodes texts as the source's library does. name: of the library, for a report.

    finds_added: whether it looks for the added tokens inside a text.
    """

    name: str
    finds_added: bool

    def encode(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        """Return the ids of each text. special: with the ids that begin and end a text."""
        ...

    def decode(self, texts: Sequence[Sequence[int]]) -> list[str]:
        """Return the text of each sequence of ids, which were encoded without special ids."""
        ...


class FastLibrary:
    """Hugging Face's `tokenizers`: a tokenizer.json, or what transformers makes of vocab.json with merges.txt."""

    name = "tokenizers"
    finds_added = True

    def __init__(self, path: Path, backend: Any) -> None:
        self._path, self._backend = path, backend
        backend.no_truncation()
        backend.no_padding()

    @classmethod
    def of_json(cls, path: Path) -> FastLibrary:
        """Open a tokenizer.json. Raises CannotJudgeError."""
        with untrusted(path, "a tokenizer.json, found none that loads"):
            return cls(path, wanted("tokenizers").Tokenizer.from_file(str(path)))

    @classmethod
    def of_byte_pairs(cls, path: Path) -> FastLibrary:
        """Open vocab.json with merges.txt. Raises CannotJudgeError."""
        return cls(path, BytePairs(path).backend)

    def json(self) -> str:
        """Return the tokenizer as a tokenizer.json has it."""
        return str(self._backend.to_str())

    def encode(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        with untrusted(self._path, "a tokenizer that encodes any text, found none that does"):
            found = self._backend.encode_batch_fast(list(texts), add_special_tokens=special)
        return [list(one.ids) for one in found]

    def decode(self, texts: Sequence[Sequence[int]]) -> list[str]:
        with untrusted(self._path, "a tokenizer that decodes its own ids, found none that does"):
            return list(self._backend.decode_batch([list(ids) for ids in texts], skip_special_tokens=False))

    def id_of(self, text: str) -> int | None:
        """Return the id of a token by its text."""
        found: int | None = self._backend.token_to_id(text)
        return found


class SentencePieceLibrary:
    """SentencePiece. begins, ends: whether bos stands before each text, and eos after it."""

    name = "sentencepiece"
    finds_added = False

    def __init__(self, path: Path, *, begins: bool, ends: bool) -> None:
        import sentencepiece  # noqa: PLC0415  # needed only for a text

        self._path, self.begins, self.ends = path, begins, ends
        with untrusted(path, "a SentencePiece model, found none that loads"):
            self._processor = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def ids(self) -> tuple[int, int, int]:
        """Return bos, unk and eos, -1 for one that the model lacks."""
        return self._processor.bos_id(), self._processor.unk_id(), self._processor.eos_id()

    def encode(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        begin, end = special and self.begins, special and self.ends
        with untrusted(self._path, "a SentencePiece model that encodes any text, found none that does"):
            return [list(self._processor.encode(text, add_bos=begin, add_eos=end)) for text in texts]

    def decode(self, texts: Sequence[Sequence[int]]) -> list[str]:
        with untrusted(self._path, "a SentencePiece model that decodes its own ids, found none that does"):
            return [str(self._processor.decode(list(ids))) for ids in texts]


class RanksLibrary:
    """tiktoken, which begins each text with bos, as Meta's code does for Llama 3."""

    name = "tiktoken"
    finds_added = False

    def __init__(self, path: Path) -> None:
        self._path, self._tokens = path, RankedTokens(path)

    @property
    def ranks(self) -> dict[bytes, int]:
        """Return token -> rank."""
        return self._tokens.ranks

    def encode(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        bos = [len(self.ranks)] if special else []
        with untrusted(self._path, "a tokenizer that encodes any text, found none that does"):
            return [[*bos, *self._tokens.encode_plain(text)] for text in texts]

    def decode(self, texts: Sequence[Sequence[int]]) -> list[str]:
        with untrusted(self._path, "a tokenizer that decodes its own ids, found none that does"):
            return [self._tokens.decode(ids) for ids in texts]
