"""The verifier finds a source's tokenizer in one order of formats, and refuses a link out of its directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import checkpoints, huggingface

from verify.errors import CannotJudgeError
from verify.sources import open_source
from verify.sources.tokenizer_place import tokenizer_beside


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ([], "tokenizer.model"),
        (["vocab.json"], "tokenizer.model"),
        (["merges.txt"], "tokenizer.model"),
        (["vocab.json", "merges.txt"], "vocab.json"),
        (["vocab.json", "merges.txt", "tokenizer.model"], "tokenizer.model"),
        (["vocab.json", "merges.txt", "tokenizer.model", "tokenizer.json"], "tokenizer.json"),
    ],
)
def test_one_order_of_formats(tmp_path: Path, there: list[str], found: str) -> None:
    for name in there:
        (tmp_path / name).write_bytes(b"")
    assert tokenizer_beside(tmp_path) == tmp_path / found


def test_sources_have_the_tokenizer_beside_them(tmp_path: Path) -> None:
    model = huggingface.save(tmp_path / "model", huggingface.model())
    single = checkpoints.save(tmp_path, checkpoints.state_dict())
    for source, directory in ((model, model), (single, tmp_path)):
        for name in ("merges.txt", "vocab.json"):
            (directory / name).write_bytes(b"")
        assert open_source(source).tokenizer_path == directory / "vocab.json"


@pytest.mark.parametrize("name", ["merges.txt", "tokenizer_config.json", "added_tokens.json"])
def test_nothing_is_read_by_a_link_out_of_the_directory(tmp_path: Path, name: str) -> None:
    model = huggingface.save(tmp_path / "model", huggingface.model())
    for file in {"vocab.json", "merges.txt", name}:
        (tmp_path / file).write_bytes(b"{}")
        (model / file).symlink_to(tmp_path / file) if file == name else (model / file).write_bytes(b"{}")
    with pytest.raises(CannotJudgeError, match=f"{name}: expected a file in its directory, found a link out of it"):
        _ = open_source(model).tokenizer_path
    assert open_source(model, follow_links=True).tokenizer_path == model / "vocab.json"
