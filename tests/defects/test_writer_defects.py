"""Every mistake that exporters are known to make, seeded, and the check that must catch it.

A defect is a change of the tensors before they are written, or of the bytes after; the source stays whole.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.checkpoints import save, state_dict
from helpers.models import LEGACY_FORMATS, Arrays, arrays, config
from hypothesis import given
from hypothesis import strategies as st

import exporter
import reader_c
import verify
from exporter.formats.layout import lay_out
from verify.checks.result import CheckResult

FORMATS = LEGACY_FORMATS
QUANTIZED = ("v1", "v2")
FP32 = ("v0", "v1-fp32")


def judge(source: Path, file: Path, **options: object) -> dict[str, CheckResult]:
    report = verify.verify(source, file, depth="quick", **options)  # type: ignore[arg-type]
    return {check.name: check for check in report.checks}


def written(directory: Path, mine: Arrays, format_name: str, model: exporter.ModelConfig | None = None) -> Path:
    out = directory / "out.bin"
    source = exporter.Checkpoint.from_arrays(model or config(), mine)
    exporter.export(source, out, format=format_name, group_size=8, overwrite=True)
    return out


def half_split(w: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head in Hugging Face's order: first halves of the pairs, then second halves."""
    return w.reshape(heads, -1, 2, w.shape[1]).transpose(0, 2, 1, 3).reshape(w.shape)


def permuted_with(heads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Half-split undone as if there were this many heads."""

    def undo(w: np.ndarray) -> np.ndarray:
        return w.reshape(heads, 2, -1, w.shape[1]).transpose(0, 2, 1, 3).reshape(w.shape)

    return undo


Q, K, V, O = (f"layers.1.attention.w{letter}.weight" for letter in "qkvo")  # noqa: E741
W1, W3 = (f"layers.0.feed_forward.w{digit}.weight" for digit in "13")


def swap(mine: Arrays, a: str, b: str) -> None:
    mine[a], mine[b] = mine[b], mine[a]


def change(name: str, function: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], None]:
    def apply(mine: Arrays) -> None:
        mine[name] = np.ascontiguousarray(function(mine[name]))

    return apply


def nudge(mine: Arrays) -> None:
    row = mine[V][20]
    row[40] = np.nextafter(row[40], np.float32(2))


DEFECTS: dict[str, tuple[Callable[[Arrays], None], str]] = {
    "q left in half-split order": (change(Q, lambda w: half_split(w, 6)), Q),
    "k left in half-split order": (change(K, lambda w: half_split(w, 3)), K),
    "k permuted with n_heads": (change(K, lambda w: permuted_with(6)(half_split(w, 3))), K),
    "a square matrix transposed": (change(O, lambda w: w.T), O),
    "w1 and w3 swapped": (lambda mine: swap(mine, W1, W3), W1),
    "two layers swapped": (lambda mine: swap(mine, V, V.replace("1", "0", 1)), V.replace("1", "0", 1)),
    "norms swapped": (
        lambda mine: swap(mine, "layers.0.attention_norm.weight", "layers.0.ffn_norm.weight"),
        "layers.0.attention_norm.weight",
    ),
    "embedding shifted by a row": (
        change("tok_embeddings.weight", lambda w: np.roll(w, 1, axis=0)),
        "tok_embeddings.weight",
    ),
    "the classifier is the embedding's": (
        lambda mine: mine.update({"output.weight": mine["tok_embeddings.weight"]}),
        "output.weight",
    ),
    "a tensor rounded to half precision": (change(V, lambda w: w.astype(np.float16).astype(np.float32)), V),
    "a tensor of zeros": (change(V, np.zeros_like), V),
    "a tensor of random numbers, as a missing one ships": (
        change(V, lambda w: np.random.default_rng(9).normal(size=w.shape).astype(np.float32)),
        V,
    ),
}


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("defect", DEFECTS)
def test_wrong_tensors_are_caught_at_the_tensor(tmp_path: Path, defect: str, format_name: str) -> None:
    seed_defect, tensor = DEFECTS[defect]
    mine = arrays(config())
    seed_defect(mine)
    checks = judge(save(tmp_path, state_dict()), written(tmp_path, mine, format_name))
    assert checks["config"].status == checks["file"].status == "pass"
    assert checks["tensors"].status == "fail"
    assert checks["tensors"].where["tensor"] == tensor


@pytest.mark.parametrize("format_name", FP32)
def test_one_weight_an_ulp_off_is_caught_at_its_index(tmp_path: Path, format_name: str) -> None:
    mine = arrays(config())
    nudge(mine)
    checks = judge(save(tmp_path, state_dict()), written(tmp_path, mine, format_name))
    assert checks["tensors"].where["tensor"] == V
    assert checks["tensors"].where["index"] == [20, 40]
    # far below what logits show
    assert checks["execution"].status == "pass"


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_healthy_file_passes_every_check(tmp_path: Path, format_name: str) -> None:
    checks = judge(save(tmp_path, state_dict()), written(tmp_path, arrays(config()), format_name))
    assert {check.status for check in checks.values()} == {"pass"}
    assert list(checks) == ["config", "file", "tensors", "operations", "execution", "quantization"]


def span_of(path: Path, name: str, part: str) -> reader_c.Span:
    with reader_c.open(path) as model:
        return next(span for span in model.spans(name) if span.part == part)


@pytest.mark.parametrize("format_name", QUANTIZED)
@pytest.mark.parametrize(
    ("defect", "where"),
    [
        ("one int8 changed by one", "int8"),
        ("scales shifted by a group", "scale"),
        ("scales in half precision", "scale"),
    ],
)
def test_damaged_q8_parts_are_caught_at_the_tensor(tmp_path: Path, format_name: str, defect: str, where: str) -> None:
    path = written(tmp_path, arrays(config()), format_name)
    span = span_of(path, V, where)
    content = bytearray(path.read_bytes())
    part = np.frombuffer(content, np.int8 if where == "int8" else np.float32, np.prod(span.shape), span.offset)
    if defect == "one int8 changed by one":
        at = 5 * 48 + 7
        content[span.offset + at] = (content[span.offset + at] + 1) % 256
        index = [5, 7]
    else:
        changed = np.roll(part, 1) if "shifted" in defect else part.astype(np.float16).astype(np.float32)
        content[span.offset : span.offset + span.nbytes] = changed.tobytes()
        index = [0, 0]
    path.write_bytes(content)
    checks = judge(save(tmp_path, state_dict()), path)
    assert checks["tensors"].status == "fail"
    assert (checks["tensors"].where["tensor"], checks["tensors"].where["part"]) == (V, where)
    assert checks["tensors"].where["index"] == index


def test_every_flipped_payload_bit_is_caught_whatever_the_logits_say(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    directory = tmp_path_factory.mktemp("flips")
    source = save(directory, state_dict())
    files = {name: written(directory, arrays(config()), name).read_bytes() for name in FORMATS}

    @given(st.sampled_from(FORMATS), st.data())
    def flip(format_name: str, data: st.DataObject) -> None:
        content = bytearray(files[format_name])
        start = 28 if format_name == "v0" else 256
        bit = data.draw(st.integers(8 * start, 8 * len(content) - 1))
        content[bit // 8] ^= 1 << bit % 8
        path = directory / "flipped.bin"
        path.write_bytes(content)
        with reader_c.open(path) as model:
            table = [s for n in model.names if n.startswith("freqs") for s in model.spans(n)]
        if any(s.offset <= bit // 8 < s.offset + s.nbytes for s in table):
            return  # tables are judged by their bound, below
        assert judge(source, path, windows=1)["tensors"].status == "fail"

    flip()


@pytest.mark.parametrize("shift", [1, -1])
def test_rope_tables_of_another_position_are_caught(tmp_path: Path, shift: int) -> None:
    path = written(tmp_path, arrays(config()), "v0")
    content = bytearray(path.read_bytes())
    for name in ("freqs_cos", "freqs_sin"):
        span = span_of(path, name, "fp32")
        table = np.frombuffer(content, np.float32, np.prod(span.shape), span.offset).reshape(span.shape)
        content[span.offset : span.offset + span.nbytes] = np.roll(table, shift, axis=0).tobytes()
    path.write_bytes(content)
    checks = judge(save(tmp_path, state_dict()), path)
    assert checks["tensors"].status == "fail"
    assert "RoPE tables" in checks["tensors"].detail


@pytest.mark.parametrize("name", ["freqs_cos", "freqs_sin"])
@pytest.mark.parametrize("value", [float("nan"), 0.999])
def test_one_wrong_entry_of_the_rope_tables_is_caught(tmp_path: Path, name: str, value: float) -> None:
    path = written(tmp_path, arrays(config()), "v0")
    content = bytearray(path.read_bytes())
    content[span_of(path, name, "fp32").offset : span_of(path, name, "fp32").offset + 4] = struct.pack("<f", value)
    path.write_bytes(content)
    assert judge(save(tmp_path, state_dict()), path)["tensors"].status == "fail"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("format_name", FORMATS)
def test_a_nan_in_the_file_fails_and_is_never_averaged_away(tmp_path: Path, format_name: str, value: float) -> None:
    path = written(tmp_path, arrays(config()), format_name)
    span = span_of(path, "norm.weight", "fp32")
    content = bytearray(path.read_bytes())
    content[span.offset : span.offset + 4] = struct.pack("<f", value)
    path.write_bytes(content)
    checks = judge(save(tmp_path, state_dict()), path)
    for name in ("tensors", "operations", "execution", "quantization"):
        assert checks[name].status == "fail"


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_nan_in_the_source_cannot_pass(tmp_path: Path, format_name: str) -> None:
    path = written(tmp_path, arrays(config()), format_name)
    state = state_dict()
    state["norm.weight"][3] = float("nan")
    checks = judge(save(tmp_path, state), path)
    assert checks["tensors"].status == "fail"
    assert checks["execution"].status == checks["quantization"].status == "skipped"


@pytest.mark.parametrize(("field", "value"), [("rope_theta", 500000.0), ("norm_eps", 1e-6)])
def test_a_model_that_the_format_cannot_express_fails_at_config(tmp_path: Path, field: str, value: float) -> None:
    """The exporter refuses it; someone else's did not."""
    from helpers.checkpoints import ARGS

    path = written(tmp_path, arrays(config()), "v2")
    checks = judge(save(tmp_path, state_dict(), {**ARGS, field: value}), path)
    assert checks["config"].status == "fail"
    assert checks["config"].where["field"] == field
    # the C reader computes with what the format implies, so the file's logits are another model's
    assert checks["execution"].status == "fail"


def test_a_header_that_says_a_shorter_length_fails_at_config_and_stops(tmp_path: Path) -> None:
    content = bytearray(written(tmp_path, arrays(config()), "v2").read_bytes())
    content[32:36] = struct.pack("<i", 1)
    path = tmp_path / "short.bin"
    path.write_bytes(content)
    checks = judge(save(tmp_path, state_dict()), path)
    assert checks["config"].where == {"field": "max_seq_len", "expected": 33, "found": "1"}
    assert checks["execution"].status == "skipped"


def test_an_untied_classifier_lost_to_tying_fails_at_config(tmp_path: Path) -> None:
    """The v1 writer that this format comes from always says shared, and drops the classifier."""
    mine = arrays(config())
    mine.pop("output.weight")
    path = written(tmp_path, mine, "v1", config(tied=True))
    checks = judge(save(tmp_path, state_dict()), path)
    assert checks["config"].status == "fail"
    assert checks["config"].where["field"] == "tied"
    assert {checks[name].status for name in ("file", "tensors", "operations", "execution", "quantization")} == {
        "skipped"
    }


@pytest.mark.parametrize("format_name", FORMATS)
def test_another_length_fails_at_config_unless_it_was_meant(tmp_path: Path, format_name: str) -> None:
    out = tmp_path / "short.bin"
    source = exporter.Checkpoint.from_arrays(config(), arrays(config()))
    exporter.export(source, out, format=format_name, group_size=8, max_seq_len=20)
    checkpoint = save(tmp_path, state_dict())
    checks = judge(checkpoint, out)
    assert (checks["config"].status, checks["config"].where["field"]) == ("fail", "max_seq_len")
    meant = judge(checkpoint, out, max_seq_len=20)
    assert {check.status for check in meant.values()} == {"pass"}


def test_groups_that_straddle_rows_are_refused(tmp_path: Path) -> None:
    """The original backs off until the group divides dim alone: 16 divides 48 and not 40."""
    model = config()
    layout = lay_out(model, "v2", 8)
    header = bytearray(layout.header)
    header[37:41] = struct.pack("<i", 16)
    path = tmp_path / "straddling.bin"
    matrices = sum(p.nbytes for p in layout.parts if p.part == "int8")
    norms = sum(p.nbytes for p in layout.parts if p.part == "fp32")
    path.write_bytes(header + bytes(norms + matrices + 4 * matrices // 16))
    with pytest.raises(
        reader_c.InvalidFileError, match="group_size at 37: expected a divisor of hidden_dim = 40, found 16"
    ):
        verify.verify(save(tmp_path, state_dict()), path)


def test_v1_read_as_v2_is_caught(tmp_path: Path) -> None:
    """Same header but for the version, same size: only the tensors tell."""
    content = bytearray(written(tmp_path, arrays(config()), "v1").read_bytes())
    content[4] = 2
    path = tmp_path / "mixed.bin"
    path.write_bytes(content)
    checks = judge(save(tmp_path, state_dict()), path)
    assert checks["tensors"].status == "fail"
