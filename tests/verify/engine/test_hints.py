"""Each known mistake of an engine is told from its logits alone, and told apart from the others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.fixed_sigma import FixedSigma
from helpers.models import arrays, config

import exporter
import reader_c
from verify.checks.policy import DEFAULT_POLICY, load_policy
from verify.engine import hint_search
from verify.engine.command import Engine
from verify.engine.hint_logits import mistaken_logits
from verify.engine.hint_reference import MistakenReference, logits_of
from verify.engine.hints import mistaken_references
from verify.engine.sequences import Ran, Sequences
from verify.engine.trial import Trial
from verify.evidence import Window
from verify.oracle import llama
from verify.oracle.logit_sigma import logit_sigma
from verify.sources import open_source

# shows every mistake: grouped heads, biases, an own classifier, scaled RoPE, widths that 32 does not divide
MODEL = config(
    qkv_bias=True,
    mlp_bias=True,
    rope_theta=2e5,
    rope_scaling=exporter.RopeScaling("linear", factor=2.0),
    norm_eps=3e-4,
    activation="gelu",
)
TOKENS = np.random.default_rng(5).integers(0, MODEL.vocab_size, 20)


class Scene:
    """A source and its file as Q8_0, with what a trial needs of them."""

    def __init__(self, directory: Path) -> None:
        checkpoint = exporter.Checkpoint.from_arrays(MODEL, arrays(MODEL))
        exporter.export(checkpoint, directory / "source.bin", format="v3")
        exporter.export(checkpoint, directory / "file.bin", format="v3", storage="q8_0", group_size=8)
        self.source = open_source(directory / "source.bin")
        self.file = directory / "file.bin"
        self.hyper = self.source.hyperparameters
        with reader_c.open(self.file) as read:
            self.weights = {
                name: torch.from_numpy(np.array(_dequantized(read, name))) for name in self.hyper.shapes()
            }
        tokens = torch.from_numpy(TOKENS).unsqueeze(0)
        self.reference = llama.logits(self.hyper, self.load, tokens).numpy()[0]
        self.sigma = logit_sigma(self.hyper, self.load, tokens, seed=0).numpy()[0]

    def load(self, name: str) -> torch.Tensor:
        return self.weights[name]


def _dequantized(read: reader_c.Model, name: str) -> np.ndarray:
    found = read.tensor(name)
    return found.dequantize() if isinstance(found, reader_c.QuantizedTensor) else np.asarray(found)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("scene"))


def told(scene: Scene, logits: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str, str]:
    """(status, hint's name, hint) of an engine with these logits."""
    monkeypatch.setattr(Sequences, "run", lambda *_, **__: Ran(logits.astype(np.float32), None))
    monkeypatch.setattr(Engine, "digest", lambda *_: "0" * 64)
    with reader_c.open(scene.file) as model:
        policy = load_policy(DEFAULT_POLICY, "v3-q8_0")
        trial = Trial(Engine(Path("x")), model, scene.hyper, scene.load, policy)
        zeros = np.zeros_like(scene.sigma)
        trial.add(0, Window(TOKENS, "random"), scene.reference, FixedSigma(scene.sigma), zeros)
        return trial.verdict().status, trial.report.hint_name, trial.report.hint


def test_the_right_logits_pass_without_a_hint(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(scene, scene.reference, monkeypatch) == ("pass", "", "")


@pytest.fixture
def computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute the logits of each mistake once, because every search tries all of them."""
    kept: dict[tuple[str, str, int, torch.dtype], torch.Tensor] = {}

    def logits(
        reference: MistakenReference,
        tokens: torch.Tensor,
        dtype: torch.dtype = torch.float64,
        inputs: llama.Inputs = llama.unrounded,
    ) -> torch.Tensor:
        key = reference.mistake.name, reference.sentence, len(tokens), dtype
        if key not in kept:
            kept[key] = logits_of(reference, tokens, dtype, inputs)
        return kept[key]

    monkeypatch.setattr(hint_search, "logits_of", logits)


def known(scene: Scene) -> list[MistakenReference]:
    return list(mistaken_references(scene.hyper, scene.load, 8, torch.from_numpy(TOKENS), first=7))


# Of a model whose RoPE is scaled by 2, so that twice its angles are those without the scaling.
_SAME = {"rope-frequencies": "rope-scaling-ignored"}


@pytest.mark.usefixtures("computed_once")
def test_every_mistake_is_told_by_its_name(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong, names = [], set()
    for wrong_one in known(scene):
        status, name, hint = told(scene, logits_of(wrong_one, torch.from_numpy(TOKENS)).numpy(), monkeypatch)
        names.add(wrong_one.mistake.name)
        same = _SAME.get(wrong_one.mistake.name) if "2 times" in wrong_one.sentence else None
        # two descriptions of the same omission, where rows have the same end
        right = (wrong_one.mistake.name, same, "last-inputs-dropped", "last-group")
        if status != "fail" or name not in right or not hint:
            wrong.append((wrong_one.mistake.name, wrong_one.sentence, status, name))
    assert not wrong
    assert len(names) == 62


def test_every_mistake_with_right_logits_is_told_by_its_name(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    right, names = scene.reference, set()
    engine = right * 0.8 + 0.25
    for mistake, sentence, made in mistaken_logits(right, engine):
        status, name, hint = told(scene, made, monkeypatch)
        if status == "fail":
            names.add(mistake.name)
            assert name == mistake.name, (sentence, hint)
    assert len(names) == 9


def test_two_mistakes_at_once_are_not_told_as_one(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    by_name = {one.mistake.name: one for one in known(scene)}
    silu = dataclasses.replace(scene.hyper, activation="silu")
    both = dataclasses.replace(by_name["score-scale"], hyper=silu)
    status, name, _ = told(scene, logits_of(both, torch.from_numpy(TOKENS)).numpy(), monkeypatch)
    assert (status, name) == ("fail", "")
