"""generate --chat: a conversation by the chat template of a file, turn after turn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import reader_c
from reader_c.generation import in_batches
from verify.errors import CannotJudgeError
from verify.system.signals import heed, postponed
from verify.tokenizers.chat import Message, TemplateError, render


def tokenizer_with_template(model: reader_c.Model, file: Path) -> reader_c.Tokenizer:
    """Return the tokenizer that stands in the file. Raises CannotJudgeError if it has no chat template."""
    words = model.tokenizer
    if words is None or not words.chat_template:
        raise CannotJudgeError(
            f"{file}: --chat: expected a file with a chat template, found none: export with --format v3 from a "
            "source that has one"
        )
    return words


def turns(prompt: str) -> Iterator[str]:
    """Yield what the user says: the prompt, then lines, if a person types them; an empty line or Ctrl-D ends it."""
    typed = sys.stdin.isatty() and sys.stdout.isatty()
    if prompt:
        yield prompt
    while typed:
        # an interrupt while it is written would leave it in the buffer, to be written once more
        with postponed():
            sys.stderr.write("> ")
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            # Ctrl-D leaves the cursor behind the sign
            sys.stderr.write("\n")
        if not line.strip("\n"):
            return
        yield line.rstrip("\n")


class Conversation:
    """A conversation with a model. Its cache keeps what all turns have in common.

    how: arithmetic and activations of a pass. steps: the most tokens of the whole conversation; 0 for as many as fit.
    Raises reader_c.ReaderError.
    """

    def __init__(
        self,
        model: reader_c.Model,
        words: reader_c.Tokenizer,
        sampler: reader_c.Sampler,
        *,
        steps: int,
        threads: int | None,
        **how: Any,
    ) -> None:
        self._longest = longest = model.config.max_seq_len
        self._words, self._sampler, self._how = words, sampler, how
        self._open: Callable[[], reader_c.Session] = lambda: model.session(min(steps or longest, longest), threads)
        self._session = self._open()
        self._fed: list[int] = []
        self._messages: list[Message] = []
        end = words.eos if words.eos is not None else next(iter(words.eos_ids), None)
        self._begin, self._end = self._text_of(words.bos), self._text_of(end)

    def answer(self, said: str) -> Iterator[bytes]:
        """Yield the model's answer, token by token, up to a token that ends it.

        Raises CannotJudgeError for a template that gives no text.
        """
        self._messages.append({"role": "user", "content": said})
        try:
            text = render(self._words.chat_template, self._messages, bos=self._begin, eos=self._end)
        except TemplateError as error:
            raise CannotJudgeError(
                f"{self._words.path}: chat template: expected the text of a conversation, found none: {error}"
            ) from error
        answer = b""
        for piece in self._generate(self._words.encode(text, bos=False, eos=False)):
            answer += piece
            yield piece
        self._messages.append({"role": "assistant", "content": answer.decode(errors="replace")})

    def close(self) -> None:
        """Release the cache."""
        self._session.close()

    def _generate(self, ids: list[int]) -> Iterator[bytes]:
        """Yield the text of the tokens after these, until one ends a text or no more fits."""
        room = self._session.capacity
        if len(ids) > room:
            limit = "--steps" if room < self._longest else "max_seq_len"
            raise CannotJudgeError(
                f"{self._words.path}: {limit}: expected at least {len(ids)}, the conversation's tokens, found "
                f"{room}: begin a new conversation"
            )
        logits, previous = self._feed(ids), ids[-1]
        while True:
            token = self._sampler.sample(logits)
            if token in self._words.eos_ids:
                return
            yield self._words.decode([token], previous=previous)
            if self._session.position == room:
                return
            logits, previous = self._feed([*self._fed, token]), token

    def _feed(self, ids: list[int]) -> Any:
        """Return the logits after these tokens; those that the cache holds are not fed again."""
        if ids[: len(self._fed)] != self._fed or len(ids) == len(self._fed):
            # what was generated need not be what its text encodes to
            self._session.close()
            self._session, self._fed = self._open(), []
        for batch in in_batches(self._session, ids[len(self._fed) :], self._how):
            heed()
            logits = batch
        self._fed = list(ids)
        return logits

    def _text_of(self, token: int | None) -> str:
        return "" if token is None else self._words.decode([token], previous=token).decode(errors="replace")
