"""What is asked of the hub: safetensors, and pickles only where there are none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from verify.errors import CannotJudgeError
from verify.sources import hub


def faked(monkeypatch: pytest.MonkeyPatch, directory: Path, fails: bool = False) -> list[list[str]]:
    asked: list[list[str]] = []

    def download(_name: str, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        if fails:
            raise OSError("no network\nat all")
        return str(directory)

    @contextmanager
    def quiet() -> Iterator[Any]:
        yield SimpleNamespace(snapshot_download=download)

    monkeypatch.setattr(hub, "quiet_hub", quiet)
    return asked


def test_pickles_are_asked_for_only_where_there_are_no_safetensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = faked(monkeypatch, tmp_path)
    assert hub.snapshot("owner/name") == tmp_path
    settings = asked[0][:12]
    assert settings == asked[1][:12]
    assert {"config.json", "tokenizer.json", "merges.txt", "*.tiktoken", "chat_template.*"} <= set(settings)
    assert asked[0][12:] == ["model*.safetensors", "model.safetensors.index.json"]
    assert asked[1][12:] == ["pytorch_model*.bin", "pytorch_model.bin.index.json"]
    (tmp_path / "model-1.safetensors").touch()
    assert hub.snapshot("owner/name") == tmp_path
    assert len(asked) == 3


def test_what_goes_wrong_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faked(monkeypatch, tmp_path, fails=True)
    with pytest.raises(CannotJudgeError) as caught:
        hub.snapshot("owner/name")
    assert str(caught.value).startswith(
        "owner/name: expected a path or a model on the Hugging Face hub, found no such file or directory here, and "
        "on the hub: "
    )
    assert "\n" not in str(caught.value)
