"""For tests of other projects: Hypothesis strategies that draw models, and an assertion that their files are right.

    @given(checkpoints())
    def test_what_we_export_is_what_we_have(checkpoint):
        assert_roundtrip(checkpoint, format="v3")

It requires hypothesis: pip install 'export-and-verify[testing]'.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

import exporter
from exporter.checkpoint import Dtype
from exporter.config import ACTIVATIONS, ROPE_SCALING_FIELDS, tensor_shapes
from verify.errors import CannotJudgeError
from verify.report.finding_lines import finding, likely

try:
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hnp
except ImportError as error:
    raise ImportError(
        "hypothesis: required for verify.testing and could not be imported: pip install 'export-and-verify[testing]'"
    ) from error

if TYPE_CHECKING:
    from verify.report.model import Report
    from verify.sources import Source

__all__ = [
    "assert_roundtrip",
    "checkpoints",
    "configs",
    "random_arrays",
    "rope_scalings",
    "source_of",
    "token_windows",
    "weights",
]

Arrays = dict[str, NDArray[np.float32]]


# ---- the assertion ----


def assert_roundtrip(
    source: str | os.PathLike[str] | exporter.Checkpoint,
    *,
    format: str = "v3",  # noqa: A002  # as exporter.export() has it
    group_size: int = 64,
    storage: str | Mapping[str, str] = "source",
    policy: str | os.PathLike[str] | None = None,
    depth: str = "quick",
) -> Report:
    """Export source to a temporary file, verify it, and return the report.

    source: the path of any source, a hub id, or a Checkpoint in memory, as checkpoints() draws it.
    Raises AssertionError with what failed and why; exporter.ExportError if nothing can be exported; CannotJudgeError
    or reader_c.ReaderError if nothing can be judged.
    """
    __tracebackhide__ = True
    from verify.run.requested import Requested  # noqa: PLC0415
    from verify.verdict import verify  # noqa: PLC0415  # torch is not needed before a file is judged

    judged_by: Source | str | os.PathLike[str]
    if isinstance(source, exporter.Checkpoint):
        checkpoint, judged_by = source, source_of(source)
    else:
        checkpoint, judged_by = exporter.open_checkpoint(source), source
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / ("model" if format == "hf" else "model.bin")
        exporter.export(
            checkpoint,
            path,
            format=format,
            group_size=group_size,
            storage=storage,
            # drawn numbers come from no file that could have a digest
            provenance=bool(checkpoint.files),
        )
        report = verify(judged_by, path, policy, depth=depth, requested=Requested(format, group_size, storage))
    if not report.passed:
        found, names = report.to_dict(), [check.name for check in report.blamed]
        blamed = "\n".join(finding(check) for check in found["checks"] if check["name"] in names) or report.reason
        raise AssertionError(
            f"{checkpoint.where} as {format}: expected a file that passes, found\n{blamed}{likely(found)}"
        )
    return report


def source_of(checkpoint: exporter.Checkpoint) -> Source:
    """Return a checkpoint in memory as a source for verify(). Raises CannotJudgeError if it was read from files.

    The numbers are used as they are, and not through a file. A llama2.c .pt cannot express head sizes, scalings,
    biases or activations, nor a classifier that equals the embedding without being tied to it, and a Hugging Face
    directory cannot express others. A mistake in writing such a file would look like a mistake of the exporter.
    Nothing that the exporter computed is used: only its configuration, and the numbers before it changed them.
    """
    from verify.sources import Hyperparameters, RopeScaling  # noqa: PLC0415  # likewise
    from verify.sources.in_memory import MemorySource  # noqa: PLC0415

    if checkpoint.files:
        raise CannotJudgeError(
            f"{checkpoint.where}: expected the source's path, found a checkpoint that the exporter has read: "
            "the verifier reads files by its own code"
        )
    said = dataclasses.asdict(checkpoint.config)
    scaling = RopeScaling(**said.pop("rope_scaling"))
    return MemorySource(Hyperparameters(**said, rope_scaling=scaling), checkpoint.load, checkpoint.dtype)


# ---- shapes ----


@st.composite
def configs(
    draw: st.DrawFn,
    *,
    grouped_queries: bool = True,
    max_layers: int = 3,
    least_positions: int = 1,
    head_sizes: bool = False,
    scalings: bool = False,
    biases: bool = False,
    activations: bool = False,
    numbers: bool = False,
) -> exporter.ModelConfig:
    """Draw configurations: any head count and ratio, head sizes from 2 up, widths with few divisors, tied and untied.

    The switches add what v0 to v2 cannot express: heads of another size than dim / n_heads, RoPE scalings, biases,
    activations, and any norm_eps and rope_theta. least_positions: the least max_seq_len; verify() requires 2, to have
    a next token.
    """
    n_kv_heads = draw(st.integers(1, 4))
    n_heads = n_kv_heads * (draw(st.integers(1, 4)) if grouped_queries else 1)
    max_seq_len = draw(st.integers(least_positions, 40))
    more: dict[str, Any] = {}
    if head_sizes:
        more["head_dim"] = 2 * draw(st.integers(1, 6))
    if scalings:
        more["rope_scaling"] = draw(rope_scalings(max_seq_len))
    if biases:
        more |= {name: draw(st.booleans()) for name in ("qkv_bias", "wo_bias", "mlp_bias")}
    if activations:
        more["activation"] = draw(st.sampled_from(ACTIVATIONS))
    if numbers:
        more["norm_eps"] = draw(st.floats(1e-8, 1e-2))
        more["rope_theta"] = draw(st.floats(1.5, 1e7))
    return exporter.ModelConfig(
        dim=n_heads * 2 * draw(st.integers(1, 5)),
        hidden_dim=draw(st.integers(1, 41)),
        n_layers=draw(st.integers(1, max_layers)),
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        vocab_size=draw(st.integers(1, 40)),
        max_seq_len=max_seq_len,
        tied=draw(st.booleans()),
        **more,
    )


@st.composite
def rope_scalings(draw: st.DrawFn, max_seq_len: int) -> exporter.RopeScaling:
    """Draw any kind of RoPE scaling, with different numbers in all fields."""
    kind = draw(st.sampled_from(sorted(ROPE_SCALING_FIELDS)))
    low = draw(st.floats(0.5, 2))
    values: dict[str, Any] = {
        "factor": draw(st.floats(1, 16)),
        # dynamic: the length at which scaling begins, the only one that works with a KV cache
        "original_max_positions": max_seq_len if kind == "dynamic" else draw(st.integers(1, 64)),
        "low_freq_factor": low,
        "high_freq_factor": low + draw(st.floats(0.25, 8)),
        "beta_fast": draw(st.floats(2, 64)),
        "beta_slow": draw(st.floats(0.25, 2)),
        "attention_factor": draw(st.floats(0.5, 2)),
        "truncate": draw(st.booleans()),
    }
    return exporter.RopeScaling(kind, **{field: values[field] for field in ROPE_SCALING_FIELDS[kind]})


# ---- numbers ----


@st.composite
def checkpoints(draw: st.DrawFn, of: st.SearchStrategy[exporter.ModelConfig] | None = None) -> exporter.Checkpoint:
    """Draw whole models in memory. Every format can hold them, unless `of` draws configs() that only v3 can hold.

    The weights are random, of a usual size, rounded to float32, float16 or bfloat16; some groups are made zero,
    subnormal, or small around one outlier. They are small enough for float32 arithmetic to stay within any policy.
    """
    config = draw(configs(least_positions=2) if of is None else of)
    dtype = draw(st.sampled_from(list(_DTYPES)))
    arrays = random_arrays(config, draw(st.integers(0, 2**32 - 1)))
    for name in draw(st.lists(st.sampled_from(sorted(arrays)), max_size=6)):
        # a view of the rows; a vector counts as one row
        rows = arrays[name].reshape(-1, arrays[name].shape[-1])
        first, start = draw(st.integers(0, rows.shape[0] - 1)), draw(st.integers(0, rows.shape[1] - 1))
        last, stop = draw(st.integers(first, rows.shape[0] - 1)), draw(st.integers(start, rows.shape[1] - 1))
        group = rows[first : last + 1, start : stop + 1]
        group[...] = _AWKWARD_GROUPS[draw(st.sampled_from(list(_AWKWARD_GROUPS)))](group)
    held = {name: array.astype(_DTYPES[dtype]).astype(np.float32) for name, array in arrays.items()}
    return exporter.Checkpoint(
        config,
        tensor_shapes(config),
        held.__getitem__,
        where=f"{dtype} weights in memory of {config}",
        kind="memory",
        dtypes=dict.fromkeys(held, dtype),
    )


def random_arrays(config: exporter.ModelConfig, seed: int = 0) -> Arrays:
    """Return random weights by name, of a size that keeps activations near 1; norms are near 1."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, shape in tensor_shapes(config).items():
        values = rng.standard_normal(shape)
        scaled = 1 + 0.1 * values if len(shape) == 1 else values / np.sqrt(shape[1])
        made[name] = scaled.astype(np.float32)
    return made


@st.composite
def token_windows(draw: st.DrawFn, config: exporter.ModelConfig, *, most: int = 4) -> list[NDArray[np.int64]]:
    """Draw up to `most` windows of 2 to max_seq_len token ids, as verify(windows=...) takes them.

    Raises ValueError for a model of one position, which has no next token.
    """
    if config.max_seq_len < 2:
        raise ValueError(f"max_seq_len: expected at least 2, to have a next token, found {config.max_seq_len}")
    lengths = st.integers(2, config.max_seq_len)
    window = hnp.arrays(np.int64, lengths, elements=st.integers(0, config.vocab_size - 1))
    return draw(st.lists(window, min_size=1, max_size=most))


@st.composite
def weights(draw: st.DrawFn, group_size: int) -> NDArray[np.float32]:
    """Draw rows of whole groups: zero, subnormal, tie-making, huge and mixed values."""
    shape = (draw(st.integers(1, 5)), group_size * draw(st.integers(1, 4)))
    element = st.one_of(
        st.sampled_from(_AWKWARD).map(np.float32),
        st.floats(width=32, allow_nan=False, allow_infinity=False),
        st.integers(-254, 254).map(lambda i: np.float32(i / 2)),
    )
    return draw(hnp.arrays(np.float32, shape, elements=element))


_SUBNORMAL = 2.0**-149
_AWKWARD = [0.0, -0.0, _SUBNORMAL, -_SUBNORMAL, 2.0**-126, -(2.0**-126), 127 * 2.0**-126, 3.4e38, -3.4e38, 1e-22, 1e3]


def _around_an_outlier(group: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep the first number and make the others hundreds of times smaller: an outlier that overflows nothing."""
    small = group / np.float32(512)
    small[:, 0] = group[:, 0]
    return small


_AWKWARD_GROUPS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "zero": np.zeros_like,
    "subnormal": lambda group: group * np.float32(2.0**-130),
    "outlier": _around_an_outlier,
}

_DTYPES: dict[Dtype, Any] = {"fp32": np.float32, "fp16": np.float16, "bf16": ml_dtypes.bfloat16}
