"""Trials of engines without the rest of a verdict: one file, whose references are computed once for each depth."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import exporter
import reader_c
from helpers.fixed_sigma import FixedSigma
from helpers.models import arrays, config, hyperparameters
from verify.checks.policy import DEFAULT_POLICY, load_policy
from verify.engine.command import Engine
from verify.engine.trial import Trial
from verify.evidence import Evidence, Window
from verify.evidence.seed import choose_seed
from verify.oracle import llama
from verify.oracle.logit_sigma import logit_sigma
from verify.run.reference_logits import References
from verify.sources import Source
from verify.sources.in_memory import MemorySource

# biases, so that they can be forgotten; a few positions more than a standard window of other models has
MODEL = config(
    dim=64, hidden_dim=96, n_layers=3, n_heads=4, n_kv_heads=2, vocab_size=96, max_seq_len=128, qkv_bias=True
)
GROUP_SIZE = 32


@dataclass(frozen=True)
class Expected:
    """Of one window: logits of the file's weights, their sigma, and the reader's own."""

    of_file: NDArray[np.float64]
    sigma: FixedSigma
    ours: NDArray[np.float32]


class Bench:
    """One file on which engines are tried. storage: "fp32" or "q8_0", which decides their activations."""

    def __init__(self, directory: Path, storage: str, model: exporter.ModelConfig = MODEL) -> None:
        self.config, self.file = model, directory / f"{storage}.bin"
        held = arrays(model)
        checkpoint = exporter.Checkpoint.from_arrays(model, held)
        exporter.export(checkpoint, self.file, format="v3", storage=storage, group_size=GROUP_SIZE, overwrite=True)
        self.activations: reader_c.Activations = "q8" if storage == "q8_0" else "fp32"
        self.hyper = hyperparameters(model)
        self.source: Source = MemorySource(self.hyper, held.__getitem__)
        self.model = reader_c.open(self.file)
        self.load = functools.cache(References(self.source, self.model).file_weights)
        self._seed = choose_seed(None, hashlib.sha256(self.file.read_bytes()).hexdigest(), None)
        self._expected: dict[bytes, Expected] = {}

    def windows(self, depth: str) -> list[Window]:
        return Evidence(depth=depth).collect(self.source, self.config.max_seq_len, self._seed)

    def expected(self, window: Window) -> Expected:
        key = window.tokens.tobytes()
        if key not in self._expected:
            tokens = torch.from_numpy(window.tokens).unsqueeze(0)
            self._expected[key] = Expected(
                llama.logits(self.hyper, self.load, tokens).numpy()[0],
                FixedSigma(logit_sigma(self.hyper, self.load, tokens, seed=0).numpy()[0]),
                self.model.forward(window.tokens, activations=self.activations, arithmetic="mirror"),
            )
        return self._expected[key]

    def trial(self, engine: Engine) -> Trial:
        return Trial(engine, self.model, self.hyper, self.load, load_policy(DEFAULT_POLICY, self.model.format))

    def judge(self, engine: Engine, windows: list[Window]) -> Trial:
        """The trial after all windows, or after the first that fails."""
        trial = self.trial(engine)
        for number, window in enumerate(windows):
            expected = self.expected(window)
            trial.add(number, window, expected.of_file, expected.sigma, expected.ours)
            if trial.verdict().status == "fail":
                break
        return trial
