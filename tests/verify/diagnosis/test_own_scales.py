"""Q8_0 that is right by scales of its own says so, and how large they are; other int8 do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.mistake_files import diagnosed, written
from helpers.mistake_tables import GROUP, MODELS, healthy

import reader_c
from verify.diagnosis.result import Diagnosis

MODEL = MODELS["grouped"]
RIGHT = healthy(0, MODEL)
W2 = "layers.1.feed_forward.w2.weight"


def of(directory: Path, factors: np.ndarray, *, right_int8: bool = False) -> Diagnosis:
    """The diagnosis of W2 with scales times these factors."""
    path = written(directory / "x.bin", MODEL, RIGHT, "v2")
    grouped = RIGHT[W2].reshape(-1, GROUP)
    right = np.abs(grouped).max(1) / np.float32(127)
    scale = (right * factors).astype(np.float32)
    int8 = np.clip(np.rint(grouped / (right if right_int8 else scale)[:, None]), -127, 127).astype(np.int8)
    content = bytearray(path.read_bytes())
    with reader_c.open(path) as file:
        spans = {span.part: span for span in file.spans(W2)}
    for part, values in (("int8", int8), ("scale", scale)):
        content[spans[part].offset : spans[part].offset + spans[part].nbytes] = values.tobytes()
    path.write_bytes(content)
    found = diagnosed(path, MODEL, RIGHT)
    assert found is not None
    return found


def random_factors(low: float, high: float) -> np.ndarray:
    count = RIGHT[W2].size // GROUP
    return np.linspace(low, high, count).astype(np.float32)


def test_smaller_scales_are_named_with_what_they_clip(tmp_path: Path) -> None:
    found = of(tmp_path, random_factors(0.75, 0.95))
    assert (found.signature, found.explained) == ("scales-chosen", 1)
    assert "0.75 to 0.95 times the largest magnitude of each group over 127, so that the largest" in found.sentence


def test_larger_scales_clip_nothing(tmp_path: Path) -> None:
    found = of(tmp_path, random_factors(1.1, 1.5))
    assert found.signature == "scales-chosen"
    assert found.sentence.endswith("over 127")


def test_int8_that_do_not_fit_their_scales_are_not_called_right(tmp_path: Path) -> None:
    assert of(tmp_path, random_factors(0.75, 0.95), right_int8=True).signature != "scales-chosen"
