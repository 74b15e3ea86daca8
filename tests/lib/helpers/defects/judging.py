"""One defect in one model and format: seeded, judged, and what came of it as plain data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import exporter
import exporter.encode
import reader_c
import verify
from exporter.config import SWITCH_DEFAULTS
from helpers.defects.drafts import Draft
from helpers.defects.files import Bytes
from helpers.defects.kinds import FORMATS, GROUP_SIZE, Case
from helpers.defects.outcome import Finding, Outcome
from helpers.models import Arrays
from verify.evidence import Evidence
from verify.oracle import llama
from verify.sources import open_source

# What a llama2.c checkpoint has no word for.
_UNSAID = {
    "rope_scaling": exporter.RopeScaling(),
    "qkv_bias": False,
    "wo_bias": False,
    "mlp_bias": False,
    "activation": "silu",
    **SWITCH_DEFAULTS,
    **dict.fromkeys(("query_scale_positions", "n_experts", "n_active_experts", "expert_hidden_dim"), 0),
    "experts_normalized": False,
}

# Logits that someone else's comparison would take for equal.
TOLERANCE = 1e-2


def save_source(directory: Path, model: exporter.ModelConfig, weights: Arrays, *, quick: bool = False) -> Path:
    """A tied llama2.c checkpoint, or a v3 file of what that cannot say; or, quick to judge by, always that."""
    path = directory / "source.pt"
    plain = dataclasses.replace(model, head_dim=0, **_UNSAID) if model.dim % (2 * model.n_heads) == 0 else None
    if quick or model != plain or not model.tied:
        path = directory / "source.bin"
        exporter.export(exporter.Checkpoint.from_arrays(model, weights), path, format="v3", overwrite=True)
        return path
    state = {name: torch.from_numpy(array) for name, array in weights.items()}
    state["output.weight"] = state["tok_embeddings.weight"]
    said = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len")
    arguments = {field: getattr(model, field) for field in (*said, "norm_eps", "rope_theta")}
    torch.save({"model": state, "model_args": arguments}, path)
    return path


def write(draft: Draft, path: Path, format_name: str) -> Path:
    """As the exporter writes it, but with the draft's quantizer."""
    with mock.patch.object(exporter.encode, "quantize_q80", draft.quantize):
        checkpoint = exporter.Checkpoint.from_arrays(draft.model, draft.arrays)
        exporter.export(checkpoint, path, group_size=GROUP_SIZE, overwrite=True, **FORMATS[format_name])
    return path


def seeded(case: Case, directory: Path) -> tuple[Path, Path]:
    """(source, file) with the defect in the file, or in neither where it is an engine's."""
    weights = case.weights()
    # a broken engine should not be what reads the source
    source = save_source(directory, case.model, weights, quick=case.defect.place != "engine")
    draft = Draft(case.model, dict(weights))
    if case.defect.place == "writer":
        case.defect.seed(draft)
    path = write(draft, directory / f"{case.format}.bin", case.format)
    if case.defect.place == "file":
        file = Bytes.of(path, case.model, case.format)
        case.defect.seed(file)
        path.write_bytes(file.content)
    return source, path


def judged(case: Case, directory: Path) -> Outcome:
    """Seed and judge. directory is written to."""
    source, path = seeded(case, directory)
    return judge(source, path, case.window)


def judge(source: Path, path: Path, length: int) -> Outcome:
    """On one random window and the two fixed ones of this length, by the reader_c that this process has."""
    outcome = Outcome()
    try:
        report = verify.verify(source, path, evidence=Evidence(depth="quick", windows=1, length=length))
    except reader_c.InvalidFileError as error:
        outcome.opening = Finding("fail", {"field": error.field}, str(error))
        return outcome
    for check in report.checks:
        outcome.checks[check.name] = Finding(check.status, _plain(check.where), check.detail, check.utilisation)
    found: Any = getattr(report, "diagnosis", None)
    outcome.diagnosis = None if found is None else str(found.signature)
    if outcome.status("execution") != "skipped":
        outcome.top1, outcome.atol = by_others(source, path, length)
    return outcome


def by_others(source: Path, path: Path, length: int) -> tuple[bool, bool]:
    """Whether a comparison of the most likely tokens, and one with TOLERANCE, would notice the defect."""
    opened = open_source(source)
    ids = np.random.default_rng(0).integers(0, opened.hyperparameters.vocab_size, length)
    right = llama.logits(opened.hyperparameters, opened.tensor, torch.from_numpy(ids)[None])[0].numpy()
    with reader_c.open(path) as model:
        found = model.forward(ids, arithmetic="mirror")
    if not np.isfinite(found).all():
        return True, True  # any comparison sees that
    tokens = (found.argmax(axis=1) != right.argmax(axis=1)).any()
    return bool(tokens), bool(np.abs(found - right).max() > TOLERANCE)


def _plain(where: dict[str, Any]) -> dict[str, Any]:
    """As JSON has it."""
    return {
        key: value if value is None or isinstance(value, (int, str, list)) else str(value)
        for key, value in where.items()
    }
