"""inspect reads checkpoints too, and states sizes that agree with the files."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.command_line import run


def test_a_directory_and_a_checkpoint_are_shown_with_parameters_and_sizes(one_model: Path) -> None:
    of_directory = json.loads(run("inspect", one_model / "hf", "--json").stdout)
    of_checkpoint = json.loads(run("inspect", one_model / "checkpoint.pt", "--json").stdout)
    of_file = json.loads(run("inspect", one_model / "m.bin", "--json").stdout)
    assert (of_directory["format"], of_checkpoint["format"], of_file["format"]) == ("huggingface", "llama2c", "v0")
    assert of_directory["parameters"] == of_checkpoint["parameters"] == of_file["parameters"]
    size = sum(path.stat().st_size for path in (one_model / "hf").iterdir())
    assert of_directory["bytes"] == size
    assert of_directory["bits_a_weight"] == 8 * size / of_directory["parameters"]
    assert of_file["mib"] == (one_model / "m.bin").stat().st_size / 2**20
    shown = run("inspect", one_model / "hf").stdout.splitlines()
    assert shown[1].startswith(f"{of_file['parameters']:,} parameters, 0.1")
    assert shown[1].endswith(" bits a weight")
    # RoPE's tables in v0 are no parameters
    assert "freqs_cos" in {tensor["name"] for tensor in of_file["tensors"]}
