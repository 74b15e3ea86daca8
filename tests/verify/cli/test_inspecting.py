"""inspect on the command line: header, tensors, provenance, and what is assumed."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_line import refused, run
from helpers.qwen3c import qwen3c_config, qwen3c_file


def test_inspect_of_a_file_imports_no_pytorch(good: Path) -> None:
    code = (
        "import sys; from verify.cli import main; sys.argv[0] = 'x'\ntry:\n    main()\nexcept SystemExit as stop:\n"
    )
    code += "    sys.exit(stop.code or 'torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code, "inspect", str(good)], check=False, capture_output=True)
    assert ended.returncode == 0


def test_inspect_tells_header_tensors_and_what_is_assumed(good: Path) -> None:
    result = run("inspect", good)
    assert result.returncode == 0
    for word in ("v2", "n_kv_heads", "rope_theta 10000", "layers.1.attention.wk.weight", "24 x 48", "scale"):
        assert word in result.stdout
    contents = json.loads(run("inspect", good, "--json").stdout)
    assert contents["config"]["n_kv_heads"] == 3
    parts = [part["bytes"] for tensor in contents["tensors"] for part in tensor["parts"]]
    assert sum(parts) + 256 == contents["head_bytes"] + sum(parts) == contents["bytes"] == good.stat().st_size


def test_inspect_tells_what_qwen3_c_assumes(tmp_path: Path) -> None:
    result = run("inspect", qwen3c_file(tmp_path / "model.bin", qwen3c_config()))
    assert result.returncode == 0
    assumed = (
        "rope_theta 1000000, no RoPE scaling, norm_eps 1e-6, norms of queries and keys per head, no biases, SiLU"
    )
    assert f"assumed by readers, because the format cannot state it: {assumed}\n" in result.stdout


@pytest.mark.slow
def test_inspect_of_very_many_tensors_lists_what_somebody_may_read(tmp_path: Path) -> None:
    layers, path = 3000, tmp_path / "deep.bin"
    with path.open("wb") as file:
        file.write(struct.pack("<7i", 2, 1, layers, 1, 1, 1, 1))
        file.truncate(28 + 4 * (2 + layers * (2 + 2 + 16 + 6) + 2 + 2))
    result = run("inspect", path)
    assert result.returncode == 0
    assert result.stdout.endswith(f"\n{4 + 9 * layers - 2000:,} more tensors: use --json to list them\n")
    assert len(json.loads(run("inspect", path, "--json").stdout)["tensors"]) == 4 + 9 * layers


def test_inspect_of_v3_tells_scaling_provenance_and_digests(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "a v3.bin"
    arguments = ("--format", "v3", "--storage", "q8_0", "--storage", "*.w2.*=fp16", "--group-size", "8")
    assert run("export", source, out, *arguments).returncode == 0
    result = run("inspect", out)
    assert result.returncode == 0
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    for word in (f"{digest}  {source.name}", "source.kind: llama2c", "all digests correct", "blake3", "fp16"):
        assert word in result.stdout
    assert "assumed" not in result.stdout
    contents = json.loads(run("inspect", out, "--json").stdout)
    assert {t["storage"] for t in contents["tensors"]} == {"fp32", "q8_0", "fp16"}
    assert contents["config"]["rope_scaling"]["type"] == "none"
    damaged = bytearray(out.read_bytes())
    damaged[-100] ^= 4
    out.write_bytes(damaged)
    refused(run("inspect", out), "norm.weight: digest")
