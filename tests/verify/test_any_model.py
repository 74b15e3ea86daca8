"""Random models of transformers' own, through v3 in random storage: every check passes, and a wrong number fails."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import huggingface
from hypothesis import given, settings
from hypothesis import strategies as st

import exporter
import reader_c
import verify
from exporter.bin_file import write_v3
from exporter.formats import v3
from exporter.payload import PayloadWriter
from verify.checks.file import check_file
from verify.checks.policy import policy_section
from verify.evidence import Evidence
from verify.oracle import llama
from verify.run.reference_logits import References
from verify.sources import open_source

EVIDENCE = Evidence(windows=2)
LLAMA3 = exporter.RopeScaling(
    "llama3", factor=8.0, original_max_positions=8, low_freq_factor=1.0, high_freq_factor=4.0
)


def judged(source: Path, path: Path) -> dict[str, Any]:
    report = verify.verify(source, path, evidence=EVIDENCE)
    return {check.name: check for check in report.checks}


@pytest.mark.slow
@settings(max_examples=max(8, settings().max_examples // 3))
@given(
    huggingface.models(),
    st.sampled_from(
        ["source", "fp32", "fp16", "bf16", "q8_0", {"*": "q8_0", "layers.0.*": "fp32", "*.wq.*": "source"}]
    ),
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    st.integers(0, 99),
)
def test_every_check_but_policy_passes_for_any_model(
    described: tuple[str, dict[str, Any]], storage: Any, dtype: torch.dtype, seed: int
) -> None:
    """What quantization costs a random model of a few dimensions is no matter of law."""
    architecture, changes = described
    with tempfile.TemporaryDirectory() as directory:
        source, path = Path(directory) / "source", Path(directory) / "out.bin"
        huggingface.save(source, huggingface.model(architecture, seed, **changes).to(dtype))
        exporter.export(exporter.open_checkpoint(source), path, format="v3", storage=storage, group_size=16)
        found = judged(source, path)
        for name in ("config", "file", "tensors", "execution"):
            assert found[name].status == "pass", found[name]
        if storage in ("source", "fp32"):
            assert found["quantization"].status == "pass", found["quantization"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"rope_theta": 10000.0}, "rope_theta"),
        ({"norm_eps": 1e-6}, "norm_eps"),
        ({"activation": "gelu"}, "activation"),
        ({"rope_scaling": exporter.RopeScaling()}, "rope_scaling_type"),
        ({"max_seq_len": 16}, "max_seq_len"),
        *(
            ({"rope_scaling": dataclasses.replace(LLAMA3, **{name: value})}, f"rope_scaling_{name}")
            for name, value in (
                ("factor", 4.0),
                ("low_freq_factor", 0.5),
                ("high_freq_factor", 5.0),
                ("original_max_positions", 16),
            )
        ),
    ],
)
def test_a_header_that_says_something_else_is_caught_at_config_and_by_the_logits(
    tmp_path: Path, changes: dict[str, Any], field: str
) -> None:
    """v3 can say what it should not: a writer that misreads config.json."""
    scaling = {
        "rope_type": "llama3",
        "rope_theta": 5e5,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    }
    made = huggingface.model(
        rope_parameters={**scaling, "original_max_position_embeddings": 8}, rms_norm_eps=2.0**-17
    )
    source, path = huggingface.save(tmp_path / "source", made), tmp_path / "out.bin"
    right = exporter.open_checkpoint(source)
    wrong = exporter.Checkpoint(
        dataclasses.replace(right.config, **changes),
        {name: right.shape(name) for name in right.names},
        right.load,
        where="a misreader",
        kind="huggingface",
    )
    exporter.export(wrong, path, format="v3")
    found = judged(source, path)
    assert (found["config"].status, found["config"].where["field"]) == ("fail", field)
    if field != "max_seq_len":
        assert found["file"].status == "fail"
        assert found["execution"].status == "fail" or field.endswith("freq_factor")


def test_halves_are_judged_against_their_bound_and_not_against_themselves(tmp_path: Path) -> None:
    """The file's own logits are those of the narrowed weights, and the noise around them float32's."""
    source, path = huggingface.save(tmp_path / "source", huggingface.model()), tmp_path / "out.bin"
    exporter.export(exporter.open_checkpoint(source), path, format="v3", storage="fp16")
    report = verify.verify(source, path, evidence=EVIDENCE)
    narrowed = [t for t in report.tensors if t.storage == "fp16"]
    assert len(narrowed) > 5
    for tensor in narrowed:
        assert tensor.bound is not None
        assert tensor.utilisation is not None
        assert 0 < tensor.utilisation <= 1
    opened = open_source(source)
    tokens = torch.arange(12)[None]
    with reader_c.open(path) as model:
        references = References(opened, model)
        found = references.of(tokens, [0], agree=False)[0]

        def stored(name: str) -> torch.Tensor:
            return torch.from_numpy(np.array(model.tensor(name), np.float32))

        exact = llama.logits(opened.hyperparameters, stored, tokens).numpy()[0]
    sigma = found.sigma[:]
    assert np.abs(found.of_file - exact).max() < 10 * sigma.max()
    assert sigma.max() < 1e-5 < np.abs(found.of_file - found.of_source).max()


def write_with(metadata: dict[str, str], source: Path, path: Path) -> None:
    """A healthy v3 file but for what it says of where it comes from."""
    checkpoint = exporter.open_checkpoint(source)
    stored = {name: v3.Stored("fp32") for name in checkpoint.names}
    with path.open("wb+") as file:
        plan = v3.plan(checkpoint.config, stored, metadata)
        write_v3(file, PayloadWriter(checkpoint), plan, lambda: metadata)


@pytest.mark.parametrize(
    ("key", "value", "finding"),
    [
        ("source.sha256", "trust me", "expected digest, two spaces"),
        ("source.sha256", f"{'0' * 64} config.json\n", "expected digest, two spaces"),
        ("source.sha256", f"{'A' * 64}  config.json\n", "expected digest, two spaces"),
        ("source.sha256", f"{'0' * 64}  config.json\n", "config.json: expected"),
        ("source.sha256", "", "config.json: expected"),
        ("source.sha256", None, "config.json: expected"),
        ("source.kind", None, "expected a source.kind"),
        ("tokenizer.sha256", f"{'0' * 64}  tokenizer.json\n", "tokenizer.sha256: expected"),
    ],
)
def test_false_provenance_fails_at_file(tmp_path: Path, key: str, value: str | None, finding: str) -> None:
    source, path = huggingface.save(tmp_path / "source", huggingface.model()), tmp_path / "out.bin"
    (source / "tokenizer.json").write_text("{}")
    exporter.export(exporter.open_checkpoint(source), path, format="v3")
    assert judged(source, path)["file"].status == "pass"
    with reader_c.open(path) as model:
        assert set(model.metadata) == {"exporter", "source.kind", "source.sha256", "tokenizer.sha256"}
        metadata = {k: v for k, v in model.metadata.items() if k != key} | ({key: value} if value is not None else {})
    write_with(metadata, source, path)
    found = judged(source, path)["file"]
    assert found.status == "fail"
    assert finding in found.detail


@pytest.mark.parametrize(
    ("kind", "lines", "finding"),
    [
        ("llama2c", f"{'a' * 64}  checkpoint.pt\n{{true}}\n", "expected 'checkpoint.pt' once, found it again"),
        ("llama2c", f"{{true}}\n{'b' * 64}  checkpoint.pt\n", "expected 'checkpoint.pt' once, found it again"),
        ("llama2c", "{true}\n{true}\n", "expected 'checkpoint.pt' once, found it again"),
        ("llama2c", "{true}", "expected a line break at its end"),
        ("llama2c", "{true}\n\x0c", "expected digest, two spaces and a name, found '\\x0c'"),
        ("llama2c", f"{{true}}\n{'0' * 64}  \x1b[2Kx\n", r"'\x1b[2Kx': expected no such file, found 0000"),
        ("huggingface", f"{'0' * 64}  x\x1b\n{'1' * 64}  x\x1b\n", r"expected 'x\x1b' once, found it again"),
        (
            "gguf\x1b",
            "{true}\n",
            r"source.kind: expected llama2c, as this source is, found 'gguf\x1b'",
        ),
    ],
)
def test_provenance_says_what_the_format_has_words_for_and_each_thing_once(
    tmp_path: Path, source: Path, kind: str, lines: str, finding: str
) -> None:
    path, opened = tmp_path / "out.bin", open_source(source)
    true = f"{opened.files[source.name]}  {source.name}"
    for said, expected in ((f"{true}\n", []), (lines.replace("{true}", true), [finding])):
        write_with({"source.kind": kind if expected else "llama2c", "source.sha256": said}, source, path)
        with reader_c.open(path) as model:
            found = check_file(model, opened, opened.hyperparameters.max_seq_len)
        assert (found.status == "pass", found.detail.isprintable()) == (not expected, True)
        assert all(words in found.detail for words in expected)


def test_the_policy_of_v3_is_that_of_what_was_lost(tmp_path: Path) -> None:
    made = huggingface.model().to(torch.bfloat16)
    source, path = huggingface.save(tmp_path / "source", made), tmp_path / "out.bin"
    for storage, section in (
        ("source", "v3"),
        ("fp32", "v3"),
        ("bf16", "v3"),
        ("fp16", "v3-half"),
        ({"*.w1.*": "q8_0"}, "v3-q8_0"),
    ):
        exporter.export(
            exporter.open_checkpoint(source), path, format="v3", storage=storage, group_size=8, overwrite=True
        )
        with reader_c.open(path) as model:
            assert policy_section(model, open_source(source)) == section
