"""One model, however it is laid out: the same files, on every road."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import checkpoints, meta
from helpers.models import BIN_FORMATS, Arrays, arrays, config, same_bits
from hypothesis import given
from hypothesis import strategies as st

import exporter
import reader_c
from verify.sources import open_source
from verify.testing import configs

# what both params.json and a .pt can say, and v0 to v2 can hold
MODEL = config(dim=48, n_heads=8, n_kv_heads=4, vocab_size=32)


def layouts(directory: Path, model: exporter.ModelConfig, mine: Arrays) -> dict[str, Path]:
    """The same weights as a .pt, as Hugging Face's directory (whole and in shards), as Meta's, and as v3."""
    checkpoint = exporter.Checkpoint.from_arrays(model, mine)
    with_classifier = mine | {"output.weight": mine.get("output.weight", mine["tok_embeddings.weight"])}
    said = {key: getattr(model, key) for key in ("norm_eps", "rope_theta", "hidden_dim")}
    state = {name: torch.from_numpy(array) for name, array in with_classifier.items()}
    shape = ("dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len")
    found = {"llama2c": directory / "checkpoint.pt", "hf": directory / "hf", "v3": directory / "source.bin"}
    checkpoints.save(directory, state, {**{key: getattr(model, key) for key in shape}, **said})
    exporter.export(checkpoint, found["hf"], format="hf")
    exporter.export(checkpoint, found["v3"], format="v3")
    found["sharded"] = sharded(found["hf"], directory / "sharded")
    for count in (1, 2, 4):
        found[f"meta in {count}"] = meta.write(
            directory / f"meta{count}", mine, model, count, embedding_axis=count % 4 // 2
        )
    return found


def sharded(directory: Path, out: Path) -> Path:
    """By transformers' own hand: it splits what it saves at a size."""
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).save_pretrained(out, max_shard_size="20KB")
    assert len(list(out.glob("model-*.safetensors"))) > 2
    return out


def reading(path: Path, model: exporter.ModelConfig) -> dict[str, Any]:
    """What a .pt leaves open, whose two matrices model.py would tie."""
    return {"tied": False} if path.suffix == ".pt" and not model.tied else {}


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_every_layout_of_one_model_gives_the_same_bytes_in_every_format(tmp_path: Path, *, tied: bool) -> None:
    model = dataclasses.replace(MODEL, tied=tied)
    sources = layouts(tmp_path, model, arrays(model))
    for format_name in BIN_FORMATS:
        storages = ("source", "q8_0", "fp16", "bf16") if format_name == "v3" else ("source",)
        for storage in storages:
            digests = {}
            for kind, source in sources.items():
                summary = exporter.export(
                    exporter.open_checkpoint(source, **reading(source, model)),
                    tmp_path / "out.bin",
                    format=format_name,
                    storage=storage,
                    provenance=False,
                    group_size=8,
                    overwrite=True,
                )
                digests[kind] = summary.sha256
            assert len(set(digests.values())) == 1, (format_name, storage, digests)


def test_with_provenance_the_models_digest_and_every_tensors_are_the_same(tmp_path: Path) -> None:
    seen = set()
    heads = set()
    for source in layouts(tmp_path, MODEL, arrays(MODEL)).values():
        checkpoint = exporter.open_checkpoint(source, **reading(source, MODEL))
        exporter.export(checkpoint, tmp_path / "out.bin", format="v3", overwrite=True)
        with reader_c.open(tmp_path / "out.bin", check_digests=True) as model:
            seen.add((bytes(model.content[160:192]), *(model.storage(name).digest for name in model.names)))
            heads.add(bytes(model.content[: model.head_size]))
            assert "source.sha256" in model.metadata
    assert len(seen) == 1
    assert len(heads) > 1


@pytest.mark.parametrize("tied", [True, False])
def test_both_roads_read_the_same_tensors_from_every_layout(tmp_path: Path, *, tied: bool) -> None:
    model = dataclasses.replace(MODEL, tied=tied)
    mine = arrays(model)
    for kind, path in layouts(tmp_path, model, mine).items():
        options = reading(path, model)
        checkpoint, source = exporter.open_checkpoint(path, **options), open_source(path, **options)
        assert checkpoint.names == tuple(mine), kind
        assert source.hyperparameters.shapes().keys() == mine.keys(), kind
        for name, array in mine.items():
            assert same_bits(np.array(checkpoint.load(name)), array), (kind, name)
            assert same_bits(source.tensor(name).numpy(), array), (kind, name)


@given(
    configs(head_sizes=True, scalings=True, biases=True, activations=True, numbers=True),
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    st.integers(0, 2**32 - 1),
)
def test_v3_holds_any_model_bit_for_bit(model: exporter.ModelConfig, dtype: torch.dtype, seed: int) -> None:
    """Config, weights and types: written from memory, read by C, read as a source by both roads, written again."""
    mine = {name: torch.from_numpy(array).to(dtype).float().numpy() for name, array in arrays(model, seed).items()}
    narrow = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]
    first = exporter.Checkpoint(
        model,
        exporter.config.tensor_shapes(model),
        mine.__getitem__,
        where="memory",
        kind="memory",
        dtypes=dict.fromkeys(mine, narrow),
    )
    with tempfile.TemporaryDirectory() as directory:
        path, again = Path(directory) / "a.bin", Path(directory) / "b.bin"
        exporter.export(first, path, format="v3", provenance=False)
        with reader_c.open(path, check_digests=True) as read:
            assert {read.storage(name).storage for name in read.names} == {narrow}
            for name, array in mine.items():
                assert np.array(read.tensor(name)).tobytes() == array.tobytes()
        second, source = exporter.open_checkpoint(path), open_source(path)
        assert second.config == model
        assert dataclasses.asdict(source.hyperparameters) == dataclasses.asdict(model)
        assert all(source.dtype(name) == narrow for name in mine)
        exporter.export(second, again, format="v3", provenance=False)
        assert path.read_bytes() == again.read_bytes()


@given(configs(), st.sampled_from([torch.float32, torch.float16, torch.bfloat16]), st.data())
def test_from_hugging_face_to_v3_and_back_no_bit_is_lost(
    model: exporter.ModelConfig, dtype: torch.dtype, data: st.DataObject
) -> None:
    import safetensors.torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(data.draw(st.integers(0, 99)))
    made: Any = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=model.vocab_size,
            hidden_size=model.dim,
            intermediate_size=model.hidden_dim,
            num_hidden_layers=model.n_layers,
            num_attention_heads=model.n_heads,
            num_key_value_heads=model.n_kv_heads,
            max_position_embeddings=model.max_seq_len,
            tie_word_embeddings=model.tied,
            attention_bias=data.draw(st.booleans()),
            mlp_bias=data.draw(st.booleans()),
            head_dim=data.draw(st.sampled_from([2, 6, model.head_dim])),
            bos_token_id=None,
            eos_token_id=None,
        )
    ).to(dtype)
    with tempfile.TemporaryDirectory() as directory:
        before, middle, after = (Path(directory) / name for name in ("before", "middle.bin", "after"))
        made.save_pretrained(before)
        exporter.export(exporter.open_checkpoint(before), middle, format="v3")
        exporter.export(exporter.open_checkpoint(middle), after, format="hf")
        old, new = (safetensors.torch.load_file(path / "model.safetensors") for path in (before, after))
        assert old.keys() == new.keys()
        for name, tensor in old.items():
            assert tensor.dtype == new[name].dtype
            assert torch.equal(tensor.view(torch.uint8), new[name].view(torch.uint8)), name
