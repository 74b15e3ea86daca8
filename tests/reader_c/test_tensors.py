"""Names, shapes and places of tensors, held against the exporter's own tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.models import BIN_FORMATS, config, toy_file

import reader_c
from exporter.config import tensor_shapes
from reader_c.tensors import QuantizedTensor, find


@pytest.mark.parametrize("format_name", BIN_FORMATS)
@pytest.mark.parametrize("tied", [False, True])
def test_the_names_and_shapes_are_those_of_the_model(tmp_path: Path, format_name: str, tied: bool) -> None:
    expected = tensor_shapes(config(tied=tied))
    if format_name == "v0":
        expected |= {"freqs_cos": (33, 4), "freqs_sin": (33, 4)}
    with reader_c.open(toy_file(tmp_path, format_name, tied=tied)) as model:
        assert sorted(model.names) == sorted(expected)
        assert {name: model.storage(name).shape for name in model.names} == expected


@pytest.mark.parametrize(
    "name", ["layers.01.attention.wq.weight", "layers.-1.ffn_norm.weight", "layers.0.norm.weight", "layers.0.", "x"]
)
def test_a_name_is_parsed_strictly(tmp_path: Path, name: str) -> None:
    with reader_c.open(toy_file(tmp_path, "v0")) as model, pytest.raises(KeyError):
        find(model._open_pointer(), name)


@pytest.mark.parametrize("format_name", BIN_FORMATS)
def test_no_two_spans_overlap_and_each_is_as_long_as_its_shape(tmp_path: Path, format_name: str) -> None:
    widths = {"fp32": 4, "scale": 4, "int8": 1}
    with reader_c.open(toy_file(tmp_path, format_name)) as model:
        spans = sorted((span for name in model.names for span in model.spans(name)), key=lambda span: span.offset)
        assert all(span.nbytes == np.prod(span.shape) * widths[span.part] for span in spans)
        ends = [span.offset + span.nbytes for span in spans]
        assert all(end <= after.offset for end, after in zip(ends, spans[1:], strict=False))
        assert ends[-1] <= model.file_size


def test_dequantize_is_one_product_for_each_element() -> None:
    q = np.array([[-127, 0, 64, 127]], np.int8)
    scale = np.array([[0.1, 3.0]], np.float32)
    tensor = QuantizedTensor(q, scale, 2)
    assert tensor.shape == (1, 4)
    expected = [[np.float32(-127) * scale[0, 0], 0, np.float32(64) * 3, np.float32(127) * 3]]
    assert tensor.dequantize().tolist() == np.array(expected, np.float32).tolist()
