"""Read what the files beside a tokenizer say: which ids begin, end and replace, and the chat template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verify.errors import CannotJudgeError
from verify.system.reading import read_given, read_object

_MOST_BYTES = 1 << 26
_CONFIG, _SPECIAL_MAP = "tokenizer_config.json", "special_tokens_map.json"
_GENERATION, _MODEL = "generation_config.json", "config.json"
_TEMPLATE = "chat_template.jinja"


@dataclass(frozen=True)
class Companions:
    """Holds what each of the files says; an empty mapping for a file that is not there.

    template: empty if there is none.
    """

    tokenizer: Mapping[str, Any]
    special: Mapping[str, Any]
    generation: Mapping[str, Any]
    model: Mapping[str, Any]
    template: str

    def token(self, name: str) -> str | None:
        """Return the text of bos_token, eos_token or unk_token, if a file has one."""
        for said in (self.tokenizer, self.special):
            found = said.get(name)
            if isinstance(found, Mapping):
                found = found.get("content")
            if isinstance(found, str):
                return found
        return None

    def ids(self, name: str) -> list[int]:
        """Return the ids that generation_config.json names, else those of config.json; none if neither does."""
        for said in (self.generation, self.model):
            found = said.get(name)
            numbers = found if isinstance(found, list) else [found]
            kept = [number for number in numbers if type(number) is int]
            if kept:
                return kept
        return []


def companions_beside(tokenizer: Path) -> Companions:
    """Read the files beside a tokenizer. Raises CannotJudgeError for one that is damaged."""
    directory = tokenizer.parent
    config = _said(directory / _CONFIG)
    return Companions(
        tokenizer=config,
        special=_said(directory / _SPECIAL_MAP),
        generation=_said(directory / _GENERATION),
        model=_said(directory / _MODEL),
        template=_template(directory, config),
    )


def _said(path: Path) -> Mapping[str, Any]:
    return read_object(path, _MOST_BYTES) if path.is_file() else {}


def _template(directory: Path, config: Mapping[str, Any]) -> str:
    """Return the file's text; else that of tokenizer_config.json, of several the default one."""
    path = directory / _TEMPLATE
    if path.is_file():
        try:
            return read_given(path, _MOST_BYTES).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise CannotJudgeError(f"{path}: expected a chat template in UTF-8, found none: {error}") from error
    found = config.get("chat_template")
    if isinstance(found, list):
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, Mapping)}
        found = named.get("default")
    return found if isinstance(found, str) else ""
