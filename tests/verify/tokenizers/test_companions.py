"""The files beside a tokenizer: which of them counts for a token, for ids, and for the chat template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from verify.errors import CannotJudgeError
from verify.tokenizers.companions import Companions, companions_beside


def beside(directory: Path, **files: Any) -> Companions:
    for name, said in files.items():
        (directory / f"{name}.json").write_text(json.dumps(said))
    return companions_beside(directory / "tokenizer.json")


def test_without_files_nothing_is_said(tmp_path: Path) -> None:
    assert beside(tmp_path) == Companions({}, {}, {}, {}, "")


def test_each_file_is_read_under_its_own_name(tmp_path: Path) -> None:
    files = {name: {"file": name} for name in ("special_tokens_map", "generation_config", "config")}
    found = beside(tmp_path, tokenizer_config={"chat_template": "x"}, **files)
    assert found == Companions({"chat_template": "x"}, *files.values(), "x")


@pytest.mark.parametrize(
    ("config", "special", "expected"),
    [
        ({"bos_token": "<s>"}, {"bos_token": "<t>"}, "<s>"),
        ({"bos_token": {"content": "<s>"}}, {}, "<s>"),
        ({"bos_token": None}, {"bos_token": "<t>"}, "<t>"),
        ({"bos_token": {"content": None}}, {"bos_token": {"content": "<t>"}}, "<t>"),
        ({"eos_token": "<s>"}, {}, None),
        ({"bos_token": 3}, {"bos_token": ["<t>"]}, None),
    ],
)
def test_a_token_s_text(config: Any, special: Any, expected: str | None) -> None:
    assert Companions(config, special, {}, {}, "").token("bos_token") == expected


@pytest.mark.parametrize(
    ("generation", "model", "expected"),
    [
        ({"eos_token_id": 3}, {"eos_token_id": 4}, [3]),
        ({"eos_token_id": [5, 3]}, {}, [5, 3]),
        ({}, {"eos_token_id": 4}, [4]),
        ({"eos_token_id": None}, {"eos_token_id": 0}, [0]),
        ({"eos_token_id": []}, {"eos_token_id": [4]}, [4]),
        ({"eos_token_id": [True, "1", 2]}, {}, [2]),
        ({}, {"bos_token_id": 1}, []),
    ],
)
def test_ids_are_those_of_the_first_file_that_names_any(generation: Any, model: Any, expected: list[int]) -> None:
    assert Companions({}, {}, generation, model, "").ids("eos_token_id") == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("text", "text"),
        (None, ""),
        ([{"name": "tool", "template": "no"}, {"name": "default", "template": "yes"}], "yes"),
        ([{"name": "tool", "template": "no"}], ""),
        (["text", {"name": "default", "template": "yes"}], "yes"),
        ({"default": "no"}, ""),
    ],
)
def test_a_template_of_the_config(tmp_path: Path, config: Any, expected: str) -> None:
    assert beside(tmp_path, tokenizer_config={"chat_template": config}).template == expected


def test_a_template_s_own_file_counts_before_the_config(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("")
    assert beside(tmp_path, tokenizer_config={"chat_template": "x"}).template == ""
    (tmp_path / "chat_template.jinja").write_text("\u00e9\n")
    assert beside(tmp_path).template == "\u00e9\n"


def test_a_template_that_is_not_utf8_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "chat_template.jinja"
    path.write_bytes(b"\xff")
    with pytest.raises(CannotJudgeError) as error:
        beside(tmp_path)
    assert str(error.value).startswith(f"{path}: expected a chat template in UTF-8, found none: 'utf-8' codec")


@pytest.mark.parametrize("name", ["tokenizer_config", "special_tokens_map", "generation_config", "config"])
def test_a_file_that_is_no_object_is_damage(tmp_path: Path, name: str) -> None:
    with pytest.raises(CannotJudgeError, match=f"{name}.json"):
        beside(tmp_path, **{name: [1]})


def test_files_may_be_large_and_not_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("verify.tokenizers.companions.read_object", lambda _, most: asked.append(most) or {})
    monkeypatch.setattr("verify.tokenizers.companions.read_given", lambda _, most: asked.append(most) or b"")
    (tmp_path / "chat_template.jinja").write_text("")
    beside(tmp_path, config={})
    assert asked == [64 << 20, 64 << 20]
