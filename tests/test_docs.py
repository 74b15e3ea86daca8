"""What the documentation shows is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from helpers.defects import DEFECTS
from helpers.hexdump import hexdump

import exporter
import reader_c
from exporter.bin_file import write_v3
from exporter.config import tensor_shapes
from exporter.formats import v3
from exporter.payload import PayloadWriter

DOCS = Path(__file__).parent.parent / "docs"
EXAMPLE = exporter.ModelConfig(
    dim=4,
    hidden_dim=6,
    n_layers=1,
    n_heads=2,
    n_kv_heads=1,
    vocab_size=3,
    max_seq_len=8,
    tied=True,
    rope_theta=100000.0,
)
# the parts that docs/format-v3.md shows, in its order
SHOWN = ((0, 0x100), (0x100, 0x240), (0x240, 0x300), (0x300, 0x3C0), (0xA80, 0xAC0), (0xAC0, 0xB40))


def example_file(path: Path) -> bytes:
    shapes = tensor_shapes(EXAMPLE)
    weights = {name: np.arange(np.prod(shape), dtype=np.float32) / 8 - 1 for name, shape in shapes.items()}
    arrays = {name: weights[name].reshape(shape) for name, shape in shapes.items()}
    stored = {name: v3.Stored("q8_0", 2) if len(shape) == 2 else v3.Stored("fp32") for name, shape in shapes.items()}
    payload = PayloadWriter(exporter.Checkpoint.from_arrays(EXAMPLE, arrays))
    metadata = {"note": "hello"}
    with path.open("wb+") as file:
        write_v3(file, payload, v3.plan(EXAMPLE, stored, metadata), lambda: metadata)
    return path.read_bytes()


def test_the_worked_example_of_v3_is_a_file_of_this_exporter(tmp_path: Path) -> None:
    content = example_file(tmp_path / "example.bin")
    shown = re.findall(r"```\n([0-9a-f]{8}  .*?)\n```", (DOCS / "format-v3.md").read_text(), re.DOTALL)
    assert len(content) == 3968
    assert shown == [hexdump(content, start, stop) for start, stop in SHOWN]
    with reader_c.open(tmp_path / "example.bin", check_digests=True) as model:
        assert model.metadata == {"note": "hello"}


def test_the_defect_matrix_lists_the_catalogue_in_its_order() -> None:
    of_toys, _, of_smollm2 = (DOCS / "defects.md").read_text().partition("## SmolLM2")
    names = [defect.name for defect in DEFECTS]
    assert re.findall(r"^\| (.+?) \| \d+ \|", of_toys, re.MULTILINE) == names
    assert set(re.findall(r"^\| (.+?) \| \d+ \|", of_smollm2, re.MULTILINE)) < set(names)
