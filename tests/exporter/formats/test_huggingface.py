"""export(format="hf"): transformers loads the directory and computes the same model; whole directories or none."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
import torch
import transformers
from helpers.models import arrays, checkpoint, config, hyperparameters, same_bits
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.special import erf

import exporter
from exporter.config import tensor_shapes
from exporter.formats.huggingface import HuggingFaceSummary, export_huggingface
from verify.testing import configs

transformers.utils.logging.disable_progress_bar()

YARN = exporter.RopeScaling("yarn", 4.0, 16, beta_fast=32.0, beta_slow=1.0, attention_factor=1.5, truncate=False)
TORCH = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
NUMPY = {"fp32": np.float32, "fp16": np.float16, "bf16": ml_dtypes.bfloat16}


def everything(**changes: Any) -> st.SearchStrategy[exporter.ModelConfig]:
    switches = {"head_sizes": True, "scalings": True, "biases": True, "activations": True, "numbers": True}
    return configs(**{**switches, **changes})


def expressible(model: exporter.ModelConfig) -> bool:
    if model.rope_scaling.type == "dynamic" and model.head_dim == 2:
        return False
    return model.qkv_bias == model.wo_bias or (model.qkv_bias and not model.mlp_bias)


def typed(model: exporter.ModelConfig, dtypes: dict[str, Any], seed: int = 0) -> exporter.Checkpoint:
    """A checkpoint whose tensors come from these types, float32 where none is given."""
    made = {
        name: array.astype(NUMPY[dtypes.get(name, "fp32")]).astype(np.float32)
        for name, array in arrays(model, seed).items()
    }
    return exporter.Checkpoint(
        model, tensor_shapes(model), made.__getitem__, where="a test", kind="memory", dtypes=dtypes
    )


@contextmanager
def exported(source: exporter.Checkpoint, **options: Any) -> Iterator[tuple[Path, HuggingFaceSummary]]:
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "model"
        options = {"overwrite": False, "progress": None, **options}
        yield out, export_huggingface(source, source.config, out, **options)
        assert os.listdir(directory) == ["model"]  # noqa: PTH208  # the hidden ones too


def loaded(out: Path, dtype: Any = "auto") -> transformers.PreTrainedModel:
    """transformers' model, which misses nothing and has nothing left."""
    model, info = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=dtype, output_loading_info=True)
    assert not any(info.values()), info
    return model.eval()


def as_transformers_has_it(name: str, array: np.ndarray, model: exporter.ModelConfig) -> tuple[str, np.ndarray]:
    """Name and rows of one canonical tensor, said once more from transformers' side."""
    parts = {
        "attention_norm": "input_layernorm",
        "attention": {f"w{x}": f"self_attn.{x}_proj" for x in "qkvo"},
        "ffn_norm": "post_attention_layernorm",
        "feed_forward": {"w1": "mlp.gate_proj", "w2": "mlp.down_proj", "w3": "mlp.up_proj"},
    }
    path = name.split(".")
    if path[0] != "layers":
        module = {"tok_embeddings": "model.embed_tokens", "norm": "model.norm", "output": "lm_head"}[path[0]]
        return f"{module}.{path[1]}", array
    found = parts[path[2]]
    module = found if isinstance(found, str) else found[path[3]]
    if path[3] in ("wq", "wk"):
        size = model.head_dim
        firsts = range(0, len(array), size)
        # transformers' head is first the even rows of ours, then the odd ones
        array = array[[first + row for first in firsts for row in (*range(0, size, 2), *range(1, size, 2))]]
    return f"model.layers.{path[1]}.{module}.{path[-1]}", array


def reference(source: exporter.Checkpoint, tokens: np.ndarray) -> np.ndarray:
    """Float64 logits of one window, in llama2.c's convention, without RoPE scaling."""
    c = source.config
    w = {name: source.load(name).astype(np.float64) for name in source.names}

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        return w[f"{name}.weight"] * x / np.sqrt((x * x).mean(-1, keepdims=True) + c.norm_eps)

    def act(x: np.ndarray) -> np.ndarray:
        if c.activation == "silu":
            return x / (1 + np.exp(-x))
        if c.activation == "gelu":
            return x / 2 * (1 + erf(x / np.sqrt(2)))
        return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    def turned(x: np.ndarray) -> np.ndarray:
        frequency = c.rope_theta ** (-np.arange(0, c.head_dim, 2) / c.head_dim)
        turns = np.exp(1j * np.arange(len(x))[:, None] * frequency)[:, None]
        pairs = (x[..., 0::2] + 1j * x[..., 1::2]) * turns
        return np.stack((pairs.real, pairs.imag), axis=-1).reshape(x.shape)

    x = w["tok_embeddings.weight"][tokens]
    past = np.tril(np.ones((len(tokens), len(tokens)), bool))
    for layer in range(c.n_layers):
        p = f"layers.{layer}."
        h = norm(f"{p}attention_norm", x)
        q, k, v = (linear(f"{p}attention.w{n}", h).reshape(len(h), -1, c.head_dim) for n in "qkv")
        each = c.n_heads // c.n_kv_heads
        k, v = turned(k).repeat(each, axis=1), v.repeat(each, axis=1)
        scores = np.einsum("qhd,khd->hqk", turned(q), k) / np.sqrt(c.head_dim)
        scores = np.exp(np.where(past, scores - scores.max(-1, keepdims=True), -np.inf))
        mixed = np.einsum("hqk,khd->qhd", scores / scores.sum(-1, keepdims=True), v)
        x = x + linear(f"{p}attention.wo", mixed.reshape(len(h), -1))
        h = norm(f"{p}ffn_norm", x)
        gated = act(linear(f"{p}feed_forward.w1", h)) * linear(f"{p}feed_forward.w3", h)
        x = x + linear(f"{p}feed_forward.w2", gated)
    return norm("norm", x) @ w["tok_embeddings.weight" if c.tied else "output.weight"].T


# ---- what transformers makes of it ----


@given(everything(), st.data())
@example(config(n_heads=5, n_kv_heads=5, head_dim=6, qkv_bias=True), None)  # Qwen2 does not divide dim
def test_transformers_has_every_tensor_bit_for_bit(model: exporter.ModelConfig, data: st.DataObject | None) -> None:
    assume(expressible(model))
    names = list(tensor_shapes(model))
    drawn = (
        data.draw(st.lists(st.sampled_from(sorted(TORCH)), min_size=len(names), max_size=len(names))) if data else []
    )
    dtypes = dict(zip(names, drawn, strict=False))
    source = typed(model, dtypes)
    expected = dict(as_transformers_has_it(name, source.load(name), model) for name in names)
    with exported(source) as (out, _):
        found = dict(loaded(out, torch.float32).state_dict())
        if model.tied:
            assert found.pop("lm_head.weight") is not None
        assert found.keys() == expected.keys()
        assert all(same_bits(found[name].numpy(), expected[name]) for name in expected)
        with safetensors.safe_open(out / "model.safetensors", "pt") as file:
            stored = {name: file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118  # no mapping
            assert file.metadata() == {"format": "pt"}
        assert stored == {
            as_transformers_has_it(name, source.load(name), model)[0]: TORCH[source.dtype(name)] for name in names
        }


@given(everything(scalings=False), st.integers(0, 2**32 - 1))
@example(config(), 0)
@example(config(head_dim=4, qkv_bias=True, wo_bias=True, mlp_bias=True, activation="gelu"), 0)
@example(config(qkv_bias=True, activation="gelu_tanh"), 0)
def test_transformers_computes_the_same_logits(model: exporter.ModelConfig, seed: int) -> None:
    assume(expressible(model))
    source = checkpoint(model, seed)
    tokens = np.random.default_rng(seed).integers(0, model.vocab_size, min(model.max_seq_len, 12))
    expected = reference(source, tokens)
    with exported(source) as (out, _), torch.inference_mode():
        found = loaded(out)(torch.from_numpy(tokens)[None]).logits[0].numpy()
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())


@given(configs(), st.integers(0, 2**32 - 1))
def test_a_plain_model_agrees_with_the_verifiers_reference(model: exporter.ModelConfig, seed: int) -> None:
    from verify.oracle import llama

    source = checkpoint(model, seed)
    tokens = np.random.default_rng(seed).integers(0, model.vocab_size, (1, min(model.max_seq_len, 12)))
    weights = {name: torch.from_numpy(array) for name, array in arrays(model, seed).items()}
    expected = llama.logits(hyperparameters(model), weights.__getitem__, torch.from_numpy(tokens))[0].numpy()
    with exported(source) as (out, _), torch.inference_mode():
        found = loaded(out)(torch.from_numpy(tokens)).logits[0].numpy()
    assert np.abs(found - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())


@given(everything())
@example(config(rope_scaling=YARN))
@example(config(rope_scaling=exporter.RopeScaling("dynamic", 2.0, 33)))
@example(config(rope_theta=1000000, norm_eps=1))  # integers, which ModelConfig takes and transformers does not
def test_every_field_comes_back_from_autoconfig(model: exporter.ModelConfig) -> None:
    assume(expressible(model))
    with exported(checkpoint(model)) as (out, _):
        found = transformers.AutoConfig.from_pretrained(out)
    rope = dict(found.rope_parameters)
    qwen = found.model_type == "qwen2"
    assert found.architectures == ["Qwen2ForCausalLM" if qwen else "LlamaForCausalLM"]
    kind = rope.pop("rope_type")
    theta = rope.pop("rope_theta")
    if kind == "dynamic":
        rope["original_max_position_embeddings"] = found.max_position_embeddings
    if "original_max_position_embeddings" in rope:
        rope["original_max_positions"] = rope.pop("original_max_position_embeddings")
    assert model == exporter.ModelConfig(
        dim=found.hidden_size,
        hidden_dim=found.intermediate_size,
        n_layers=found.num_hidden_layers,
        n_heads=found.num_attention_heads,
        n_kv_heads=found.num_key_value_heads,
        vocab_size=found.vocab_size,
        max_seq_len=found.max_position_embeddings,
        tied=found.tie_word_embeddings,
        norm_eps=found.rms_norm_eps,
        rope_theta=theta,
        head_dim=found.head_dim,
        rope_scaling=exporter.RopeScaling("none" if kind == "default" else kind, **rope),
        qkv_bias=qwen or found.attention_bias,
        wo_bias=not qwen and found.attention_bias,
        mlp_bias=not qwen and found.mlp_bias,
        activation={"gelu_pytorch_tanh": "gelu_tanh"}.get(found.hidden_act, found.hidden_act),
    )
    assert found.dtype == torch.float32
    # Llama's own defaults are two tokens of sentencepiece's
    assert found.bos_token_id is found.eos_token_id is found.pad_token_id is None
    assert not (qwen and found.use_sliding_window)


def test_transformers_has_nothing_to_say_about_it(tmp_path: Path) -> None:
    """Neither of version 4's names in config.json, nor of anything else."""
    import logging

    told: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = told.append  # type: ignore[method-assign]
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    try:
        scalings = (
            exporter.RopeScaling(),
            exporter.RopeScaling("linear", 2.0),
            exporter.RopeScaling("dynamic", 2.0, 33),
            exporter.RopeScaling("llama3", 8.0, 16, low_freq_factor=1.0, high_freq_factor=4.0),
            exporter.RopeScaling("yarn", 3, 11, beta_fast=32, beta_slow=1, attention_factor=1, truncate=True),
        )
        for number, scaling in enumerate(scalings):
            for bias in (False, True):
                out = tmp_path / f"{number}{bias}"
                exporter.export(checkpoint(config(rope_scaling=scaling, qkv_bias=bias)), out, format="hf")
                loaded(out)
    finally:
        logger.removeHandler(handler)
    assert [record.getMessage() for record in told if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("dtype", sorted(TORCH))
def test_config_json_has_the_commonest_type(tmp_path: Path, dtype: str) -> None:
    """And by default transformers loads in it: the norms are float32, and few."""
    names = tensor_shapes(config())
    source = typed(config(), {name: dtype for name, shape in names.items() if len(shape) == 2})
    exporter.export(source, tmp_path / "out", format="hf")
    assert transformers.AutoConfig.from_pretrained(tmp_path / "out").dtype == TORCH[dtype]
    assert {p.dtype for p in loaded(tmp_path / "out").parameters()} == {TORCH[dtype]}


# ---- the files ----


@given(everything(), st.integers(1, 20_000), st.sampled_from(sorted(TORCH)))
def test_shards_are_transformers_own(model: exporter.ModelConfig, shard_bytes: int, dtype: str) -> None:
    assume(expressible(model))
    # every other tensor, so that types stand side by side
    source = typed(model, dict.fromkeys(list(tensor_shapes(model))[::2], dtype))
    expected = dict(as_transformers_has_it(name, source.load(name), model) for name in source.names)
    with exported(source, shard_bytes=shard_bytes) as (out, summary):
        found = loaded(out, torch.float32).state_dict()
        assert all(same_bits(found[name].numpy(), expected[name]) for name in expected)
        total = sum(tensor.bytes for tensor in summary.tensors)
        index = out / "model.safetensors.index.json"
        assert index.exists() == (total > shard_bytes and len(summary.tensors) > 1)
        if not index.exists():
            assert sorted(summary.digests) == ["config.json", "model.safetensors"]
            return
        written = json.loads(index.read_text())
        assert written["metadata"] == {"total_size": total}
        shards = sorted({*written["weight_map"].values()})
        count = len(shards)
        assert shards == [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
        assert sorted([*shards, "config.json", index.name]) == sorted(p.name for p in out.iterdir())
        for shard in shards:
            with safetensors.safe_open(out / shard, "pt") as file:
                sizes = {name: file.get_tensor(name).nbytes for name in file.keys()}  # noqa: SIM118
            assert {name for name, place in written["weight_map"].items() if place == shard} == sizes.keys()
            assert sum(sizes.values()) <= shard_bytes or len(sizes) == 1


@given(everything(), st.sampled_from([1, 4000, 5 * 10**9]))
def test_the_same_input_is_the_same_bytes(model: exporter.ModelConfig, shard_bytes: int) -> None:
    assume(expressible(model))
    source = checkpoint(model)
    with exported(source, shard_bytes=shard_bytes) as (a, first), exported(source, shard_bytes=shard_bytes) as (b, _):
        for name, digest in first.digests.items():
            assert (a / name).read_bytes() == (b / name).read_bytes()
            assert hashlib.sha256((a / name).read_bytes()).hexdigest() == digest
        lines = [f"{first.digests[name]}  {name}\n" for name in sorted(first.digests)]
        assert hashlib.sha256("".join(lines).encode()).hexdigest() == first.sha256
        assert {p.name for p in a.iterdir()} == first.digests.keys() == {p.name for p in b.iterdir()}


def test_the_container_is_aligned_sorted_and_in_the_models_order(tmp_path: Path) -> None:
    exporter.export(checkpoint(), tmp_path / "out", format="hf")
    content = (tmp_path / "out" / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0
    assert list(header) == sorted(header)
    assert header.pop("__metadata__") == {"format": "pt"}
    named = [as_transformers_has_it(n, np.zeros(s, np.float32), config()) for n, s in tensor_shapes(config()).items()]
    by_place = sorted(header, key=lambda name: header[name]["data_offsets"])
    assert by_place == [name for name, _ in named]
    assert [header[name]["shape"] for name, _ in named] == [list(array.shape) for _, array in named]
    assert len(content) == 8 + length + 4 * sum(array.size for _, array in named)
    assert safetensors.numpy.load_file(tmp_path / "out" / "model.safetensors").keys() == header.keys()


def test_a_float32_behind_odd_counts_of_narrow_elements_is_aligned(tmp_path: Path) -> None:
    model = config(hidden_dim=5, mlp_bias=True)
    names = list(tensor_shapes(model))
    source = typed(model, {name: "bf16" for name in names if name.endswith("w1.bias")})
    exporter.export(source, tmp_path / "out", format="hf")
    content = (tmp_path / "out" / "model.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    widths = {"F32": 4, "BF16": 2}
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    assert {entry["dtype"] for entry in entries} == {"F32", "BF16"}
    assert all(entry["data_offsets"][0] % widths[entry["dtype"]] == 0 for entry in entries)


def test_the_summary_tells_what_is_on_disk(tmp_path: Path) -> None:
    out = tmp_path / "a model"
    seen: list[tuple[int, int]] = []
    half = tensor_shapes(config(tied=True))
    source = typed(config(tied=True), dict.fromkeys(half, "bf16"))
    summary = exporter.export(source, out, format="hf", progress=lambda done, total: seen.append((done, total)))
    sizes = {p.name: p.stat().st_size for p in out.iterdir()}
    assert summary.bytes == sum(sizes.values())
    assert seen[-1] == (summary.bytes, summary.bytes)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert [(t.name, t.storage, t.bytes) for t in summary.tensors] == [
        (name, "bf16", 2 * prod(shape)) for name, shape in half.items()
    ]
    # the directory's digest is what coreutils make of it
    command = "LC_ALL=C sha256sum * | sha256sum"
    found = subprocess.run(command, shell=True, cwd=out, capture_output=True, text=True, check=True).stdout
    assert found.split()[0] == summary.sha256
    assert [p.name for p in tmp_path.iterdir()] == ["a model"]


def test_a_shortened_model_is_written_as_one(tmp_path: Path) -> None:
    exporter.export(checkpoint(), tmp_path / "out", format="hf", max_seq_len=7)
    assert transformers.AutoConfig.from_pretrained(tmp_path / "out").max_position_embeddings == 7


# ---- refusals ----


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wo_bias": True}, "^wo_bias: expected none without qkv_bias"),
        ({"qkv_bias": True, "mlp_bias": True}, "^mlp_bias: expected none beside qkv_bias without wo_bias"),
        ({"n_heads": 5, "n_kv_heads": 5, "head_dim": 8}, "^n_heads: expected a divisor of dim = 48.* found 5$"),
        ({"rope_scaling": exporter.RopeScaling("dynamic", 2.0, 64)}, "^max_seq_len: expected 64.* found 33$"),
        (
            {"rope_scaling": exporter.RopeScaling("dynamic", 2.0, 33), "head_dim": 2},
            "^head_dim: expected at least 4.* found 2$",
        ),
    ],
)
def test_what_transformers_cannot_express_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(exporter.FormatError, match=message):
        exporter.export(checkpoint(config(**changes)), tmp_path / "out", format="hf")
    assert not list(tmp_path.iterdir())


def test_a_shortened_model_with_dynamic_scaling_is_refused(tmp_path: Path) -> None:
    source = checkpoint(config(rope_scaling=exporter.RopeScaling("dynamic", 2.0, 33)))
    with pytest.raises(exporter.FormatError, match=r"max_seq_len: expected 33.* found 20"):
        exporter.export(source, tmp_path / "out", format="hf", max_seq_len=20)


@pytest.mark.parametrize("name", ["layers.1.attention.wk.weight", "layers.1.feed_forward.w2.weight"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_is_refused_with_tensor_and_index(tmp_path: Path, name: str, bad: float) -> None:
    mine = arrays(config())
    mine[name][7, 11] = bad
    with pytest.raises(exporter.WeightError, match=rf"{name}: \[7, 11\]: expected a finite"):
        exporter.export(exporter.Checkpoint.from_arrays(config(), mine), tmp_path / "out", format="hf")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["layers.1.attention.wk.weight", "layers.1.feed_forward.w2.weight"])
@pytest.mark.parametrize(
    ("dtype", "bad"), [("fp16", 1 + 2.0**-11), ("fp16", 1e5), ("bf16", 1 + 2.0**-8), ("bf16", 3.4e38)]
)
def test_a_weight_that_its_type_cannot_hold_is_refused(tmp_path: Path, name: str, dtype: str, bad: float) -> None:
    source = typed(config(), {name: dtype})
    source.load(name).base[7, 11] = bad
    with pytest.raises(
        exporter.WeightError, match=rf"{name}: \[7, 11\]: expected a weight that .*float16 holds exactly"
    ):
        exporter.export(source, tmp_path / "out", format="hf")
    assert not list(tmp_path.iterdir())


@given(st.sampled_from(["fp16", "bf16"]), st.data())
def test_every_value_of_the_narrow_types_passes(dtype: str, data: st.DataObject) -> None:
    """Zeros of both signs, subnormals, the largest."""
    bits = np.array(data.draw(st.lists(st.integers(0, 2**16 - 1), min_size=48, max_size=48)), np.uint16)
    exponent = {"fp16": 0x7C00, "bf16": 0x7F80}[dtype]
    values = np.where(bits & exponent == exponent, np.uint16(0x8000), bits).view(NUMPY[dtype])
    mine = {**arrays(config()), "norm.weight": values.astype(np.float32)}
    source = exporter.Checkpoint(
        config(), tensor_shapes(config()), mine.__getitem__, where="", kind="", dtypes={"norm.weight": dtype}
    )
    with exported(source) as (out, _), safetensors.safe_open(out / "model.safetensors", "pt") as file:
        assert file.get_tensor("model.norm.weight").view(torch.int16).numpy().tobytes() == values.tobytes()


# ---- whole or not at all ----


def old_directory(out: Path) -> dict[str, bytes]:
    out.mkdir()
    (out / "config.json").write_text("{}")
    (out / "model.safetensors").write_bytes(b"the last release")
    (out / "tokenizer.json").write_text("its tokenizer")
    return contents(out)


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_an_existing_directory_stays_unless_overwriting_is_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = old_directory(out)
    with pytest.raises(exporter.WriteError, match="expected nothing there, found a directory"):
        exporter.export(checkpoint(), out, format="hf")
    assert contents(out) == before
    exporter.export(checkpoint(), out, format="hf", overwrite=True)
    assert sorted(contents(out)) == ["config.json", "model.safetensors"]
    loaded(out)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_empty_directory_is_overwritten_and_a_link_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    exporter.export(checkpoint(), tmp_path / "link", format="hf", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert sorted(contents(tmp_path / "real")) == ["config.json", "model.safetensors"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "real"]


def test_what_is_no_exported_directory_is_never_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def refused(message: str) -> None:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(exporter.WriteError, match=message):
            exporter.export(checkpoint(), out, format="hf", overwrite=True)
        assert sorted(tmp_path.rglob("*")) == before

    out.write_text("a file")
    refused("expected a directory or nothing, found something else")
    out.unlink()
    os.mkfifo(out)
    refused("expected a directory or nothing, found something else")
    out.unlink()
    out.mkdir()
    (out / "thesis.tex").write_text("the only copy")
    refused("expected an empty directory or one with a config.json to overwrite, found neither")
    (out / "config.json").write_text("{}")
    (out / ".git").mkdir()
    refused(r"expected no directories in what is overwritten, found \.git")


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(exporter.WriteError, match="expected a directory at"):
        exporter.export(checkpoint(), tmp_path / "no" / "out", format="hf")


@pytest.mark.parametrize("through", ["file", "link", "tokenizer"])
@pytest.mark.parametrize("target", ["source", "."])
def test_the_sources_own_directory_is_refused(tmp_path: Path, through: str, target: str) -> None:
    """Itself, the one around it, and one whose files are links to elsewhere, as in the hub's cache."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"weights")
    root = tmp_path / "root"
    directory = root / "source"
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    file = directory / "file"
    if through == "link":
        file.symlink_to(elsewhere)
    else:
        file.write_bytes(b"weights")
    if target == ".":
        (root / "config.json").write_text("{}")
        # links to a directory are not directories, so that only the source protects the one around it
        directory = directory.rename(tmp_path / "moved")
        (root / "source").symlink_to(directory)
        file = root / "source" / "file"
    files = {"files": (file,)} if through != "tokenizer" else {"tokenizer": file}
    source = exporter.Checkpoint(
        config(), tensor_shapes(config()), arrays(config()).__getitem__, where="", kind="", **files
    )
    with pytest.raises(
        exporter.WriteError, match=r"expected another directory than the source's, found .*file in it"
    ):
        exporter.export(source, root / target, format="hf", overwrite=True)
    assert file.read_bytes() == b"weights"


def test_a_directory_that_the_sources_links_point_into_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = old_directory(out)
    link = tmp_path / "link"
    link.symlink_to(out / "model.safetensors")
    source = exporter.Checkpoint(
        config(), tensor_shapes(config()), arrays(config()).__getitem__, where="", kind="", files=(link,)
    )
    with pytest.raises(exporter.WriteError, match=r"found .*out/model\.safetensors in it"):
        exporter.export(source, out, format="hf", overwrite=True)
    assert contents(out) == before


class InterruptedExportError(Exception):
    pass


@pytest.mark.parametrize("error", [InterruptedExportError, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("at", ["tok_embeddings.weight", "layers.1.attention.wo.weight", "output.weight"])
@pytest.mark.parametrize("existing", [False, True])
def test_a_failure_in_the_middle_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, error: type[BaseException], at: str, existing: bool
) -> None:
    source = checkpoint()
    load = source.load

    def failing(name: str) -> np.ndarray:
        if name == at:
            raise error
        return load(name)

    source.load = failing  # type: ignore[method-assign]
    out = tmp_path / "out"
    before = old_directory(out) if existing else {}
    with pytest.raises(error):
        exporter.export(source, out, format="hf", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["out"] * existing
    assert not existing or contents(out) == before


@pytest.mark.parametrize("call", range(1, 7))
@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
def test_a_failure_at_any_sync_or_rename_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, existing: bool, error: BaseException | type
) -> None:
    """Each of the calls that make the directory appear fails once, having done its work: as where an interrupt
    comes before the next line."""
    calls = 0

    def failing(does: Any) -> Any:
        def replacement(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            result = does(*arguments)
            if calls == call:
                raise error
            return result

        return replacement

    out = tmp_path / "out"
    before = old_directory(out) if existing else {}
    # config.json, model.safetensors, the directory, what was there set aside, the rename, the directory above
    last = 6 if existing else 5
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing(os.fsync))
        patched.setattr(Path, "rename", failing(Path.rename))
        if call > last:
            exporter.export(checkpoint(), out, format="hf", overwrite=True)
        else:
            expected = KeyboardInterrupt if error is KeyboardInterrupt else exporter.WriteError
            with pytest.raises(expected):
                exporter.export(checkpoint(), out, format="hf", overwrite=True)
    assert calls >= min(call, last)
    if call > last:
        before = contents(out)
        loaded(out)
    assert [p.name for p in tmp_path.iterdir()] == ["out"] * bool(before)
    assert not before or contents(out) == before


@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_is_an_error_and_leaves_what_was_there(tmp_path: Path, existing: bool) -> None:
    """The limit on a file's size ends a write as a full disk does."""
    out = tmp_path / "out"
    before = old_directory(out) if existing else {}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        with pytest.raises(exporter.WriteError, match=r"out: cannot be written: file too large$"):
            exporter.export(checkpoint(), out, format="hf", overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert [p.name for p in tmp_path.iterdir()] == ["out"] * existing
    assert not existing or contents(out) == before


def test_an_interrupt_while_the_old_directory_is_removed_leaves_no_stray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    old_directory(out)
    unlink, calls = Path.unlink, 0

    def interrupted(path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        unlink(path)

    monkeypatch.setattr(Path, "unlink", interrupted)
    with pytest.raises(KeyboardInterrupt):
        exporter.export(checkpoint(), out, format="hf", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    loaded(out)


def test_one_tensor_is_held_at_a_time(tmp_path: Path) -> None:
    """No array that load gave is alive when the next is asked for."""
    made = arrays(config())
    given: list[weakref.ref[np.ndarray]] = []

    def load(name: str) -> np.ndarray:
        assert not any(array() is not None for array in given)
        array = made[name].copy()
        given.append(weakref.ref(array))
        return array

    source = exporter.Checkpoint(config(), tensor_shapes(config()), load, where="", kind="")
    exporter.export(source, tmp_path / "out", format="hf")
    assert len(given) == len(made)
