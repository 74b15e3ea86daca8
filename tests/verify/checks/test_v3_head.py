"""v3's head is assembled a second time, and what differs is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.arch_draws import MODELS
from helpers.arch_files import random_weights, write
from helpers.checkpoints import save, state_dict
from helpers.models import arrays, config, toy_file

import exporter
import reader_c
from verify.checks import v3_head
from verify.checks.v3_head import head_findings
from verify.sources import open_source
from verify.testing import source_of


class Shown:
    """A model whose reader shows another content or other metadata."""

    def __init__(self, model: reader_c.Model, **shown: object) -> None:
        self._model, self._shown = model, shown

    def __getattr__(self, name: str) -> object:
        return self._shown.get(name) or getattr(self._model, name)


def test_a_healthy_head_has_no_findings(tmp_path: Path) -> None:
    source = open_source(save(tmp_path, state_dict()))
    with reader_c.open(toy_file(tmp_path, "v3", tied=True)) as model:
        assert head_findings(model, source, 33) == []
        assert head_findings(model, source, 20) == [
            "head: byte 32 differs from what the source, the storages and the tensors require"
        ]


def test_a_changed_payload_is_found_by_its_digest(tmp_path: Path) -> None:
    source = open_source(save(tmp_path, state_dict()))
    with reader_c.open(toy_file(tmp_path, "v3", tied=True)) as model:
        content = bytearray(model.content)
        content[model.head_size + 5] ^= 1
        findings = head_findings(Shown(model, content=memoryview(bytes(content))), source, 33)  # type: ignore[arg-type]
        assert findings[0].startswith("tok_embeddings.weight: digest: expected ")
        assert ", computed from its bytes, found " in findings[0]


def many_fields(**changes: object) -> exporter.ModelConfig:
    """A model whose every field differs from its default and from every other field."""
    fields: dict[str, object] = {
        "head_dim": 10,
        "norm_eps": 3e-6,
        "rope_theta": 5e5,
        "qkv_bias": True,
        "wo_bias": True,
        "mlp_bias": True,
        "activation": "gelu_tanh",
        "rope_scaling": exporter.RopeScaling(
            "yarn",
            factor=4.0,
            original_max_positions=17,
            beta_fast=31.0,
            beta_slow=1.5,
            attention_factor=1.25,
            truncate=True,
        ),
    }
    return config(**{**fields, **changes})


MIXED = {"*": "fp32", "*.w1.*": "q8_0", "*.wq.weight": "bf16", "*.wo.weight": "fp16", "tok_embeddings.weight": "q8_0"}


def written(directory: Path, model: exporter.ModelConfig, storage: object = "source", group_size: int = 8) -> Path:
    path = directory / "m.bin"
    checkpoint = exporter.Checkpoint.from_arrays(model, arrays(model))
    exporter.export(checkpoint, path, format="v3", storage=storage, group_size=group_size, overwrite=True)  # type: ignore[arg-type]
    return path


def findings(shown: Any, model: exporter.ModelConfig, max_seq_len: int = 33) -> list[str]:
    """Of a file against the model itself, held in memory."""
    return head_findings(shown, source_of(exporter.Checkpoint.from_arrays(model, arrays(model))), max_seq_len)


@pytest.mark.parametrize("storage", ["source", "q8_0", "bf16", "fp16", MIXED], ids=str)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tied": True},
        {"qkv_bias": False, "activation": "gelu"},
        {"wo_bias": False, "activation": "silu", "rope_scaling": exporter.RopeScaling("linear", factor=2.0)},
        {"mlp_bias": False, "rope_scaling": exporter.RopeScaling("dynamic", factor=2.0, original_max_positions=40)},
        {
            "rope_scaling": exporter.RopeScaling(
                "llama3", factor=8.0, original_max_positions=16, low_freq_factor=1.0, high_freq_factor=4.0
            )
        },
    ],
    ids=str,
)
def test_the_head_of_every_kind_of_model_is_assembled_again(
    tmp_path: Path, changes: dict[str, object], storage: object
) -> None:
    model = many_fields(**changes)
    with reader_c.open(written(tmp_path, model, storage)) as shown:
        assert findings(shown, model) == []


LONGROPE = exporter.RopeScaling(
    "longrope", original_max_positions=40, attention_factor=1.25, short_factors=(1.0, 1.5, 2.0, 3.0, 9.0)
)


def test_the_factors_of_longrope_are_part_of_the_head(tmp_path: Path) -> None:
    model = many_fields(rope_scaling=LONGROPE)
    with reader_c.open(written(tmp_path, model)) as shown:
        assert findings(shown, model) == []
        other = exporter.RopeScaling(**{**vars(LONGROPE), "short_factors": (1.0, 1.5, 2.0, 3.5, 9.0)})
        assert findings(shown, many_fields(rope_scaling=other)) != []


@pytest.mark.parametrize("name", MODELS)
def test_the_switches_of_every_model_are_packed_as_a_second_writer_has_them(tmp_path: Path, name: str) -> None:
    path, arch = tmp_path / "m.bin", MODELS[name]
    write(path, arch, random_weights(arch))
    model = exporter.open_checkpoint(path).config
    with reader_c.open(path) as shown:
        assert [one for one in findings(shown, model, model.max_seq_len) if one.startswith("head: ")] == []


OTHERS = {
    "norm_eps": 4e-6,
    "rope_theta": 4e5,
    "activation": "gelu",
    "rope_scaling": exporter.RopeScaling(
        "yarn",
        factor=4.0,
        original_max_positions=18,
        beta_fast=31.0,
        beta_slow=1.5,
        attention_factor=1.25,
        truncate=True,
    ),
}


@pytest.mark.parametrize("field", OTHERS)
def test_another_value_than_the_source_s_differs_in_the_header(tmp_path: Path, field: str) -> None:
    path = written(tmp_path, many_fields())
    with reader_c.open(path) as shown:
        (found,) = findings(shown, many_fields(**{field: OTHERS[field]}))
    at = int(found.split(" ")[2])
    assert found == f"head: byte {at} differs from what the source, the storages and the tensors require"
    assert at < 124


def test_a_change_of_any_byte_of_the_head_is_found(tmp_path: Path) -> None:
    model = config(n_layers=1, tied=True)
    with reader_c.open(written(tmp_path, model, MIXED)) as shown:
        size = shown.head_size
        # bytes 124 to 127 say how the tensors are aligned, and are believed
        for at in [*range(0, 124, 3), *range(128, 300, 3), *range(300, size, 41), *range(size - 33, size)]:
            content = bytearray(shown.content)
            content[at] ^= 1
            found = findings(Shown(shown, content=memoryview(bytes(content))), model)
            assert found == [f"head: byte {at} differs from what the source, the storages and the tensors require"]


def test_a_file_of_another_size_is_found(tmp_path: Path) -> None:
    model = config(tied=True)
    with reader_c.open(written(tmp_path, model)) as shown:
        size = shown.file_size
        longer = Shown(shown, content=memoryview(bytes(shown.content) + b"\0"))
        assert findings(longer, model) == [f"size: expected {size} bytes, found {size + 1}"]
        short = Shown(shown, content=memoryview(bytes(shown.content)[: shown.head_size - 7]))
        found = findings(short, model)
        assert f"size: expected {size} bytes, found {shown.head_size - 7}" in found
        # the digest of the model is that of tensors without bytes
        assert found[-1].startswith("head: byte 160 differs")


@pytest.mark.parametrize("storage", ["source", "q8_0", MIXED], ids=str)
def test_every_byte_of_the_tensors_belongs_to_one_digest(tmp_path: Path, storage: object) -> None:
    """Padding too: the first and the last byte of each tensor's extent change that tensor's digest alone."""
    model = config(n_layers=1, hidden_dim=72)
    with reader_c.open(written(tmp_path, model, storage)) as shown:
        starts = [min(span.offset for span in shown.spans(name)) for name in shown.names]
        ends = [*starts[1:], shown.file_size]
        for name, start, end in zip(shown.names, starts, ends, strict=True):
            for at in (start, end - 1):
                content = bytearray(shown.content)
                content[at] ^= 1
                first, *others = findings(Shown(shown, content=memoryview(bytes(content))), model)
                assert first.startswith(f"{name}: digest: expected ")
                assert first.endswith(f", computed from its bytes, found {shown.storage(name).digest}")
                # the head then lacks the digest that these bytes have
                assert len(others) == 1


@pytest.mark.parametrize("tokenizer", [b"", b"t" * 128], ids=["bare", "with a tokenizer"])
def test_the_head_ends_at_the_first_multiple_of_the_alignment_that_has_room(tmp_path: Path, tokenizer: bytes) -> None:
    """Whatever the size of the metadata: 64 lengths of it, so that each remainder comes once."""
    path, arch = tmp_path / "m.bin", next(iter(MODELS.values()))
    weights, sizes = random_weights(arch), set[int]()
    write(path, arch, weights)
    model = exporter.open_checkpoint(path).config
    source = source_of(exporter.Checkpoint.from_arrays(model, arrays(model)))
    for length in range(64):
        write(path, arch, weights, metadata={"note": "x" * length}, tokenizer=tokenizer)
        with reader_c.open(path) as shown:
            found = head_findings(shown, source, model.max_seq_len)
            assert [one for one in found if one.startswith(("head: ", "size: "))] == []
            sizes.add(shown.head_size)
    assert len(sizes) == 2


def test_all_four_bytes_of_the_alignment_are_read(tmp_path: Path) -> None:
    model = config(n_layers=1, tied=True)
    with reader_c.open(written(tmp_path, model)) as shown:
        content = bytearray(shown.content)
        content[127] ^= 1
        found = findings(Shown(shown, content=memoryview(bytes(content))), model)
    # another alignment makes other sizes, which follow it
    assert 128 <= int(found[-1].removeprefix("head: byte ").split(" ")[0]) < 136


def test_a_head_that_ends_early_differs_where_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = config(n_layers=1, tied=True)
    with reader_c.open(written(tmp_path, model)) as shown:
        size = shown.head_size
        table = v3_head._table(shown, list(shown.names), 64)
        monkeypatch.setattr(v3_head, "_table", lambda *_of: table)
        cut = Shown(shown, content=memoryview(bytes(shown.content)[: size - 7]))
        assert findings(cut, model)[-1] == (
            f"head: byte {size - 7} differs from what the source, the storages and the tensors require"
        )
