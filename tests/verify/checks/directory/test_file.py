"""A directory's files hold each tensor once, and its source's companions, to the word."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.models import arrays, config, hyperparameters

from verify.checks.directory.file import check_directory_file, companions_of, weight_findings
from verify.checks.directory.names import stored_name

HYPER = hyperparameters(config())
NORM, EMBEDDING, CLASSIFIER = "model.norm.weight", "model.embed_tokens.weight", "lm_head.weight"
OTHERS = "lm_head.weight: expected the bits of model.embed_tokens.weight, as tie_word_embeddings says, found others"


def tensor(array: np.ndarray, file: str = "model.safetensors", storage: str = "fp32") -> Any:
    return SimpleNamespace(file=Path(file), shape=array.shape, storage=storage, read=lambda: array)


def directory(findings: tuple[str, ...] = (), digests: dict[str, str] | None = None, **changes: Any) -> Any:
    """A healthy directory; a change to None takes the tensor out."""
    tensors = {stored_name(name): tensor(array) for name, array in arrays(config()).items()}
    tensors = {name: one for name, one in {**tensors, **changes}.items() if one is not None}
    return SimpleNamespace(
        is_fused=False,
        is_mixtral=False,
        weights=SimpleNamespace(tensors=tensors, findings=list(findings)),
        files=SimpleNamespace(digests=digests or {}),
    )


def test_healthy_weights_have_no_findings() -> None:
    assert weight_findings(directory(), HYPER) == []


def test_findings_of_the_files_come_alone() -> None:
    assert weight_findings(directory(("damaged",), **{NORM: None}), HYPER) == ["damaged"]


def test_what_is_missing_or_no_part_of_the_model_or_has_another_shape() -> None:
    found = directory(
        **{
            NORM: None,
            "a.weight": tensor(np.zeros(3)),
            "z.weight": tensor(np.zeros(3), "other.safetensors"),
            CLASSIFIER: tensor(np.zeros((29, 47))),
        }
    )
    assert weight_findings(found, HYPER) == [
        "model.safetensors: a.weight: expected no such tensor by config.json, found it",
        "lm_head.weight: expected (29, 48), as config.json implies, found (29, 47)",
        "model.norm.weight: expected (48,), as config.json implies, found no such tensor",
        "other.safetensors: z.weight: expected no such tensor by config.json, found it",
    ]


def test_the_rows_of_a_fused_matrix_are_those_of_its_parts() -> None:
    parts: dict[str, list[np.ndarray]] = {}
    for name, array in arrays(config()).items():
        parts.setdefault(stored_name(name, fused=True), []).append(array)
    fused = {name: tensor(np.concatenate(found)) for name, found in parts.items()}
    found = directory()
    found.is_fused, found.weights.tensors = True, fused
    assert weight_findings(found, HYPER) == []
    qkv = "model.layers.0.self_attn.qkv_proj.weight"
    fused[qkv] = tensor(np.zeros((72, 48)))
    assert weight_findings(found, HYPER) == [f"{qkv}: expected (96, 48), as config.json implies, found (72, 48)"]


def test_a_tied_directory_may_hold_its_classifier_again_but_no_other() -> None:
    tied = hyperparameters(config(tied=True))
    embedding = arrays(config())["tok_embeddings.weight"]
    zero = np.where(embedding == embedding.flat[0], np.float32(0), embedding)
    for classifier, findings in (
        (None, []),
        (tensor(embedding.copy()), []),
        (tensor(embedding + np.float32(1)), [OTHERS]),
        (tensor(embedding.copy(), storage="fp16"), [OTHERS]),
        (tensor(embedding[:-1]), [OTHERS]),
    ):
        assert weight_findings(directory(**{CLASSIFIER: classifier}), tied) == findings
    # the sign of a zero is a bit
    both = {EMBEDDING: tensor(zero), CLASSIFIER: tensor(np.where(zero == 0, np.float32(-0.0), zero))}
    assert weight_findings(directory(**both), tied) == [OTHERS]
    without = directory(**{EMBEDDING: None, CLASSIFIER: tensor(embedding)})
    assert weight_findings(without, tied) == [
        "model.embed_tokens.weight: expected (29, 48), as config.json implies, found no such tensor"
    ]


COUNT = len(arrays(config()))


@pytest.mark.parametrize(
    ("changes", "files"),
    [({}, "1 file"), ({NORM: tensor(np.zeros(48), "2.safetensors")}, "2 files")],
    ids=["one", "two"],
)
def test_tensors_and_files_are_counted(changes: dict[str, Any], files: str) -> None:
    found = check_directory_file(directory(**changes), [], None)
    assert (found.status, found.observed) == ("pass", 0.0)
    assert found.detail == f"{COUNT} tensors cover {files} without gap or overlap"


@pytest.mark.parametrize("count", [1, 5, 6, 9])
def test_five_findings_are_named_and_the_others_counted(count: int) -> None:
    found = check_directory_file(directory(), [f"finding {number}" for number in range(count)], None)
    named = "; ".join(f"finding {number}" for number in range(min(count, 5)))
    assert found.detail == (named if count <= 5 else f"{named}; and {count - 5} more")
    assert (found.status, found.observed) == ("fail", float(count))


def companions(**digests: str) -> Any:
    return SimpleNamespace(digests=digests)


def test_companions_are_those_of_the_source() -> None:
    ours = {"merges.txt": "1", "tokenizer.json": "2", "config.json": "3", "chat_template.jinja": "4"}
    same = companions(**{name: digest for name, digest in ours.items() if name != "config.json"})
    found = check_directory_file(directory(digests=ours), [], same)
    assert found.detail == (
        f"{COUNT} tensors cover 1 file without gap or overlap; 3 files carried over from the source"
    )
    others = companions(**{"merges.txt": "1", "vocab.json": "5", "tokenizer.json": "6"})
    found = check_directory_file(directory(digests=ours), ["first"], others)
    assert (found.status, found.observed) == ("fail", 4.0)
    assert found.detail == (
        "first; chat_template.jinja: expected no such file, because the source has none, found one; "
        "tokenizer.json: expected the source's, sha256 6, found 2; "
        "vocab.json: expected the source's, found no such file: copy it from the source"
    )


@pytest.mark.parametrize("name", ["tekken.json", "qwen.tiktoken"])
def test_a_tokenizer_of_another_library_is_a_companion_too(name: str) -> None:
    found = check_directory_file(directory(digests={name: "1"}), [], companions(**{name: "2"}))
    assert found.detail == f"{name}: expected the source's, sha256 2, found 1"
    found = check_directory_file(directory(digests={name: "1"}), [], companions())
    assert found.detail == f"{name}: expected no such file, because the source has none, found one"


def test_only_a_hugging_face_source_has_companions(tmp_path: Path) -> None:
    carried = ["chat_template.jinja", "chat_template.json", "qwen.tiktoken", "tekken.json", "tokenizer.json"]
    for name in (*carried, "README.md", "config.json"):
        (tmp_path / name).touch()
    source: Any = SimpleNamespace(kind="huggingface", path=tmp_path)
    found = companions_of(source)
    assert found is not None
    assert list(found.digests) == carried
    source.kind = "meta"
    assert companions_of(source) is None
