"""SmolLM2's tokenizer in the formats that hold it, and its refusal by the one that does not.

make smollm2 runs it, as test_smollm2.py.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from helpers.block_reading import read_block

import exporter

DIRECTORY = Path(os.environ.get("SMOLLM2", ""))

pytestmark = pytest.mark.skipif("SMOLLM2" not in os.environ, reason="SMOLLM2 names no directory: make smollm2")


def test_the_block_says_what_the_directory_says(tmp_path: Path) -> None:
    out = tmp_path / "tokenizer.block"
    summary = exporter.export_tokenizer(DIRECTORY, out, format="v3", vocab_size=49152)
    said = read_block(out.read_bytes())
    file = json.loads((DIRECTORY / "tokenizer.json").read_text())
    assert (summary.tokens, summary.notes) == (49152, ())
    assert (said["kind"], said["pre_tokenizer"], said["flags"]) == (1, 1, set())
    assert (said["token_count"], said["merge_count"]) == (49152, len(file["model"]["merges"]))
    assert said["added"] == [(number, 1) for number in range(17)]
    assert said["pieces"][:3] == [b"<|endoftext|>", b"<|im_start|>", b"<|im_end|>"]
    assert (said["bos"], said["eos"], said["unk"], said["eos_ids"]) == (1, 2, -1, [2])
    assert said["template"] == (DIRECTORY / "chat_template.jinja").read_text()


def test_qwen3_c_s_file_has_every_piece_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    summary = exporter.export_tokenizer(DIRECTORY, tmp_path / "model.bin.tokenizer", format="qwen3c")
    assert summary.tokens == 49152
    assert [note.partition(": ")[2] for note in summary.notes] == [
        "qwen3.c cuts no text into words, so that some texts have other token ids there"
    ]


def test_llama2_c_s_format_refuses_it_by_name(tmp_path: Path) -> None:
    with pytest.raises(exporter.FormatError) as refused:
        exporter.export_tokenizer(DIRECTORY, tmp_path / "tokenizer.bin", format="llama2c")
    assert str(refused.value) == (
        f"{DIRECTORY}/tokenizer.json: llama2c: pre-tokenizer: expected none, found GPT-2's regular expression"
    )
    assert list(tmp_path.iterdir()) == []
