"""What goes in comes out: fp32 formats give the source's bits, Q8_0 formats what quantize_q80 gives."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from helpers.models import BIN_FORMATS, LEGACY_FORMATS, LLAMA_2_7B, arrays, same_bits
from hypothesis import given
from hypothesis import strategies as st

import exporter
import reader_c
from exporter.config import tensor_shapes
from exporter.formats import v3
from exporter.formats.layout import QUANTIZED_FORMATS, Layout, choose_group_size, lay_out
from verify.testing import configs


@given(configs(), st.sampled_from(BIN_FORMATS), st.integers(1, 64), st.integers(0, 2**32 - 1))
def test_every_tensor_comes_back(config: exporter.ModelConfig, format_name: str, group_size: int, seed: int) -> None:
    mine = arrays(config, seed)
    mine["norm.weight"][0] = -0.0
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "out.bin"
        source = exporter.Checkpoint.from_arrays(config, mine)
        summary = exporter.export(source, out, format=format_name, group_size=group_size)
        with reader_c.open(out) as model:
            assert model.format == format_name
            assert set(model.names) - {"freqs_cos", "freqs_sin"} == set(mine)
            for name, array in mine.items():
                stored = model.tensor(name)
                if isinstance(stored, reader_c.QuantizedTensor):
                    expected = exporter.quantize_q80(array, summary.group_size)
                    assert same_bits(stored.q, expected.q)
                    assert stored.scale.tobytes() == expected.scale.tobytes()
                else:
                    assert stored.tobytes() == array.tobytes()


@given(configs(), st.sampled_from(LEGACY_FORMATS), st.integers(1, 64))
def test_header_and_offsets_of_reader_and_writer_agree(
    config: exporter.ModelConfig, format_name: str, group_size: int
) -> None:
    """The layout is written twice, as data in Python and as code in C: this holds the two together."""
    widths = {"dim": config.dim, "hidden_dim": config.hidden_dim}
    group = choose_group_size(widths, group_size, exact=False) if format_name in QUANTIZED_FORMATS else 0
    layout = lay_out(config, format_name, group)
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "out.bin"
        summary = exporter.export(
            exporter.Checkpoint.from_arrays(config, arrays(config)), out, format=format_name, group_size=group_size
        )
        assert out.stat().st_size == summary.bytes == layout.size
        with reader_c.open(out) as model:
            read = {(s.name, s.part): s for name in model.names for s in model.spans(name)}
            written = {(p.tensor, p.part): p for p in layout.parts}
            assert read.keys() == written.keys()
            for key, part in written.items():
                assert (read[key].shape, read[key].offset, read[key].nbytes) == (part.shape, part.offset, part.nbytes)
            shared = {"tied": model.config.shared_classifier}
            for field in ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len"):
                assert getattr(model.config, field) == getattr(config, field)
            assert shared["tied"] == config.tied
            assert model.config.group_size == group


@pytest.mark.slow
def test_a_model_of_llama_2_7b_shape_is_laid_out_beyond_32_bits(tmp_path: Path) -> None:
    """Sparse file, real sizes: vocab * dim, layers * dim * dim and every offset past 2^32 bytes."""
    stored = {
        name: v3.Stored("q8_0", 64) if len(shape) == 2 else v3.Stored("fp32")
        for name, shape in tensor_shapes(LLAMA_2_7B).items()
    }
    plan = v3.plan(LLAMA_2_7B, stored, {})
    layouts = {name: lay_out(LLAMA_2_7B, name, 64) for name in LEGACY_FORMATS}
    # the digests of tensors are not checked on opening
    layouts["v3"] = Layout(v3.encode_head(plan, [bytes(32)] * len(stored)), tuple(plan.parts()), plan.size)
    for format_name, layout in layouts.items():
        path = tmp_path / format_name
        with path.open("wb") as file:
            file.write(layout.header)
            file.truncate(layout.size)
        # one is copied, where there is memory for it; holes of the others need not be
        with reader_c.open(path, mapped=None if format_name == "v2" else True) as model:
            assert model.file_size == layout.size > 2**32
            for part in layout.parts:
                (span,) = (s for s in model.spans(part.tensor) if s.part == part.part)
                assert (span.offset, span.nbytes) == (part.offset, part.nbytes)
            last = model.tensor("output.weight")
            assert np.count_nonzero((last.q if isinstance(last, reader_c.QuantizedTensor) else last)[-1]) == 0
        path.unlink()
