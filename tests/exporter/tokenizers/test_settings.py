"""What stands beside a tokenizer, by the rules of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import CheckpointError
from exporter.tokenizers.files import Files
from exporter.tokenizers.settings import Settings, read_settings


def settings(directory: Path, **files: dict[str, Any]) -> Settings:
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    return read_settings(Files(directory / "tokenizer.json"))


def test_nothing_beside_it_says_nothing(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert (found.bos({}), found.eos({}), found.stops(None), found.stops(4)) == (None, None, (), (4,))
    assert (found.begins_with_bos, found.ends_with_eos, found.template) == (None, None, "")


def test_tokenizer_config_counts_before_special_tokens_map_and_generation_config_before_config(
    tmp_path: Path,
) -> None:
    found = settings(
        tmp_path,
        tokenizer_config={"bos_token": {"content": "a"}, "eos_token": None},
        special_tokens_map={"bos_token": "b", "eos_token": "b"},
        generation_config={"eos_token_id": [9, 7, 9], "bos_token_id": [5, 4]},
        config={"eos_token_id": 8, "bos_token_id": 6},
    )
    assert (found.bos({"a": 1}), found.eos({"b": 2})) == (1, 7)
    assert found.stops(2) == (7, 9)
    assert found.bos_id == 5


def test_ids_stand_in_for_tokens_that_nothing_names(tmp_path: Path) -> None:
    most = (1 << 24) - 1
    found = settings(tmp_path, config={"bos_token_id": 0, "eos_token_id": most})
    assert (found.bos({}), found.eos({}), found.stops(3)) == (0, most, (most,))
    found = settings(tmp_path, tokenizer_config={"bos_token": "a", "add_bos_token": True, "add_eos_token": False})
    assert (found.bos({"a": 1}), found.begins_with_bos, found.ends_with_eos) == (1, True, False)
    with pytest.raises(CheckpointError, match="bos_token: expected a token of the vocabulary, found 'a': correct "):
        found.bos({"b": 1})


def test_all_special_tokens_have_a_name(tmp_path: Path) -> None:
    names = ("bos_token", "eos_token", "unk_token", "pad_token")
    texts = {name: f"<{name}>" for name in names}
    found = settings(tmp_path, tokenizer_config={**texts, "pad_token": {"content": texts["pad_token"]}, "x_token": 1})
    assert found.special == texts


def test_chat_template_jinja_counts_before_the_one_of_tokenizer_config(tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    assert settings(tmp_path, tokenizer_config={"chat_template": "c"}).template == "c"
    assert settings(tmp_path, tokenizer_config={"chat_template": ["x", *named]}).template == "d"
    assert settings(tmp_path, tokenizer_config={"chat_template": named[:1]}).template == ""
    (tmp_path / "chat_template.jinja").write_text("j\u00e9\n")
    assert settings(tmp_path).template == "j\u00e9\n"
    (tmp_path / "chat_template.jinja").write_bytes(b"a\xff")
    with pytest.raises(CheckpointError, match=r"chat_template\.jinja: expected UTF-8, found other bytes at 1"):
        settings(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("generation_config", {"eos_token_id": "2"}, "eos_token_id: expected token ids, found '2'"),
        ("config", {"eos_token_id": [1, -1]}, "eos_token_id: expected token ids, found -1"),
        ("config", {"eos_token_id": 1 << 24}, "eos_token_id: expected token ids, found 16777216"),
        ("tokenizer_config", {"add_bos_token": 1}, "add_bos_token: expected true or false, found 1"),
        ("tokenizer_config", {"pad_token": {"content": 7}}, "pad_token: expected a text, found 7"),
        ("config", {"bos_token_id": True}, "bos_token_id: expected token ids, found True"),
        ("tokenizer_config", {"chat_template": 3}, "chat_template: expected a text, found 3"),
    ],
)
def test_values_of_another_type_are_refused(tmp_path: Path, file: str, content: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError) as refused:
        settings(tmp_path, **{file: content})
    assert str(refused.value) == f"{tmp_path / file}.json: {message}"


def test_a_link_out_of_the_directory_is_followed_only_where_the_user_trusts_it(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside.json", tmp_path / "model"
    inside.mkdir()
    outside.write_text('{"eos_token_id": 4}')
    (inside / "generation_config.json").symlink_to(outside)
    with pytest.raises(CheckpointError, match="found a link out of it: give --follow-links if you trust it"):
        read_settings(Files(inside / "tokenizer.json"))
    assert read_settings(Files(inside / "tokenizer.json", follow_links=True)).eos_ids == (4,)
