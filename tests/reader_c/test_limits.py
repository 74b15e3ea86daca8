"""The largest head that v3 allows costs little to refuse, for both parsers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.models import config
from helpers.v3_files import patched

from exporter.config import tensor_shapes
from exporter.formats import v3

# Opens a file, says what is wrong with it, and what memory that took at most: Python itself has some 30 MB of it.
PROGRAM = """
import pathlib, sys
import {module}
try:
    {module}.{function}(sys.argv[1])
except {module}.{error} as error:
    print(error)
print(int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024)
"""


@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="a sanitizer's own memory would count")
@pytest.mark.parametrize(
    ("module", "function", "error"),
    [("reader_c", "open", "ReaderError"), ("exporter", "open_checkpoint", "ExportError")],
)
def test_a_bad_file_is_refused_within_256_mb_however_large_its_head(
    tmp_path: Path, module: str, function: str, error: str
) -> None:
    small = {"dim": 6, "hidden_dim": 1, "n_heads": 1, "n_kv_heads": 1, "vocab_size": 1}
    model = config(**small, n_layers=4095, qkv_bias=True, wo_bias=True, mlp_bias=True)
    shapes = tensor_shapes(model)
    assert v3.MOST_TENSORS - 16 < len(shapes) <= v3.MOST_TENSORS
    value = "x" * v3.LONGEST_VALUE
    metadata = {f"key.{number:02}": value for number in range(15)}
    plan = v3.plan(model, dict.fromkeys(shapes, v3.Stored("fp32")), metadata)
    head = v3.encode_head(plan, [bytes(32)] * len(shapes))
    at = v3.table_at(model.n_layers, 0) + 192 * (len(shapes) - 1) + 120
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.write(patched(head, (at, bytes([head[at] ^ 1]))))
        file.truncate(plan.size)
    program = PROGRAM.format(module=module, function=function, error=error)
    # elsewhere, so that what is imported is not what happens to stand here
    said, peak = subprocess.run(
        [sys.executable, "-c", program, path], check=True, capture_output=True, text=True, cwd=tmp_path
    ).stdout.splitlines()
    assert f"length at {at}" in said
    assert int(peak) < 256 << 20
