"""Read what stands beside a tokenizer: special tokens, what begins and ends a text, the chat template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.errors import CheckpointError
from exporter.strict_json import Json, shown
from exporter.tokenizers.files import Files
from exporter.tokenizers.model import MOST_TOKENS

_CONFIG = "tokenizer_config.json"
_GENERATION = ("generation_config.json", "config.json")


@dataclass(frozen=True)
class Settings:
    """The fields that count of tokenizer_config.json, special_tokens_map.json, generation_config.json, config.json.

    special: bos_token, eos_token and so on to their text. begins_with_bos, ends_with_eos: None where nothing says it.
    bos_id, eos_ids: as generation_config.json or else config.json have them. config: all of tokenizer_config.json.
    """

    where: str
    special: Mapping[str, str]
    begins_with_bos: bool | None
    ends_with_eos: bool | None
    bos_id: int | None
    eos_ids: tuple[int, ...]
    template: str
    config: Json

    def bos(self, ids: Mapping[str, int]) -> int | None:
        """Return the id of bos. ids: of the vocabulary. Raises CheckpointError for a token that it lacks."""
        found = self._id("bos_token", ids)
        return self.bos_id if found is None else found

    def eos(self, ids: Mapping[str, int]) -> int | None:
        """Return the id that ends a text, likewise."""
        found = self._id("eos_token", ids)
        return self.eos_ids[0] if found is None and self.eos_ids else found

    def stops(self, eos: int | None) -> tuple[int, ...]:
        """Return the ids at which generation stops, ascending: those that are stated, or else eos."""
        return self.eos_ids or (() if eos is None else (eos,))

    def _id(self, name: str, ids: Mapping[str, int]) -> int | None:
        text = self.special.get(name)
        if text is None:
            return None
        if text not in ids:
            raise CheckpointError(
                f"{self.where}: {name}: expected a token of the vocabulary, found {shown(text)}: correct {_CONFIG}"
            )
        return ids[text]


def read_settings(files: Files) -> Settings:
    """Read what stands beside a tokenizer. Raises CheckpointError."""
    config = files.object_beside(_CONFIG)
    where = str(files.path.with_name(_CONFIG))
    bos_id, eos_ids = _generation_ids(files)
    return Settings(
        where=where,
        special=_special(where, {**files.object_beside("special_tokens_map.json"), **config}),
        begins_with_bos=_truth(where, config, "add_bos_token"),
        ends_with_eos=_truth(where, config, "add_eos_token"),
        bos_id=bos_id,
        eos_ids=eos_ids,
        template=_template(files, where, config),
        config=config,
    )


def _special(where: str, said: Json) -> dict[str, str]:
    """Return special tokens by name; a token is a text or an object with its text as content."""
    found = {}
    for name in ("bos_token", "eos_token", "unk_token", "pad_token"):
        value = said.get(name)
        text = value.get("content") if isinstance(value, dict) else value
        if text is None:
            continue
        if not isinstance(text, str):
            raise CheckpointError(f"{where}: {name}: expected a text, found {shown(text)}")
        found[name] = text
    return found


def _truth(where: str, config: Json, name: str) -> bool | None:
    value = config.get(name)
    if value is not None and not isinstance(value, bool):
        raise CheckpointError(f"{where}: {name}: expected true or false, found {shown(value)}")
    return value


def _generation_ids(files: Files) -> tuple[int | None, tuple[int, ...]]:
    """Return (bos, ids that end a text). Each comes from the first file that states it, as in transformers."""
    bos: tuple[int, ...] = ()
    eos: tuple[int, ...] = ()
    for name in _GENERATION:
        where, said = str(files.path.with_name(name)), files.object_beside(name)
        bos = bos or _ids(f"{where}: bos_token_id", said.get("bos_token_id"))
        eos = eos or _ids(f"{where}: eos_token_id", said.get("eos_token_id"))
    return (bos[0] if bos else None), tuple(sorted(set(eos)))


def _ids(where: str, value: object) -> tuple[int, ...]:
    """Return one id or several as a tuple, empty for None."""
    values = value if isinstance(value, list) else [] if value is None else [value]
    for each in values:
        if isinstance(each, bool) or not isinstance(each, int) or not 0 <= each < MOST_TOKENS:
            raise CheckpointError(f"{where}: expected token ids, found {shown(each)}")
    return tuple(values)


def _template(files: Files, where: str, config: Json) -> str:
    """Return the chat template, empty without one: chat_template.jinja, or else tokenizer_config.json's default."""
    content = files.content_beside("chat_template.jinja")
    if content is not None:
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            path = files.path.with_name("chat_template.jinja")
            raise CheckpointError(f"{path}: expected UTF-8, found other bytes at {error.start}") from error
    value = config.get("chat_template")
    if isinstance(value, list):
        named = {each.get("name"): each.get("template") for each in value if isinstance(each, dict)}
        value = named.get("default")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CheckpointError(f"{where}: chat_template: expected a text, found {shown(value)}")
    return value
