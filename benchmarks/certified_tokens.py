"""Do correct engines choose the tokens that are certified?

    make certify SMOLLM2=DIR

Windows of 128 random tokens of SmolLM2-135M, from its Hugging Face directory. The most likely token of each position
by the verifier's reference, with its margin in standard deviations of float32 rounding; beside it the choice of the
C reader's two arithmetics and of transformers, all in float32.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

import exporter
import reader_c
from verify.oracle import llama
from verify.oracle.logit_sigma import LogitNoise
from verify.oracle.transformers import TransformersOracle
from verify.oracle.weight_cache import WeightCache
from verify.run.compared_windows import ARITHMETICS
from verify.sources.huggingface import HuggingFaceSource
from verify.sources.options import SourceOptions
from verify.system.numerics import pinned_numerics
from verify.vectors.margins import Margins

_LENGTH = 128
_DRAWS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    source = HuggingFaceSource(arguments.smollm2, SourceOptions(None, False, None, None, None, None))
    hyper, load = source.hyperparameters, WeightCache(source.tensor, 1 << 30)
    transformers = TransformersOracle(source)
    rng = np.random.default_rng(arguments.seed)
    margins: list[np.ndarray] = []
    different: dict[str, list[np.ndarray]] = {name: [] for name in (*ARITHMETICS, "transformers")}
    with tempfile.TemporaryDirectory() as directory, pinned_numerics():
        file = Path(directory) / "model.bin"
        exporter.export(exporter.open_checkpoint(arguments.smollm2), file, format="v3")
        with reader_c.open(file, mapped=True) as model:
            for number in range(arguments.windows):
                ids = rng.integers(hyper.vocab_size, size=_LENGTH)
                tokens = torch.from_numpy(ids)[None]
                reference = llama.logits(hyper, load, tokens).numpy()
                found = Margins(hyper, load, reference)
                LogitNoise(hyper, load, tokens, reference, number, seen=found.add).draw(_DRAWS)
                margins.append(found.sigmas[0])
                for arithmetic in ARITHMETICS:
                    chosen = model.forward(ids, arithmetic=arithmetic).argmax(axis=1)
                    different[arithmetic].append(chosen != found.first[0])
                chosen = transformers.logits(tokens)[0].numpy().argmax(axis=1)
                different["transformers"].append(chosen != found.first[0])
                print(f"window {number + 1} of {arguments.windows}", end="\r", flush=True)
    show(np.concatenate(margins), {name: np.concatenate(parts) for name, parts in different.items()})


def show(margins: np.ndarray, different: dict[str, np.ndarray]) -> None:
    certified = margins >= 10
    print(f"{margins.size:,} positions; certified at {certified.sum():,} ({certified.mean():.2%})")
    for name, differs in different.items():
        worst = margins[differs].max() if differs.any() else 0.0
        print(
            f"{name}: another token at {(differs & certified).sum()} certified positions, and at "
            f"{(differs & ~certified).sum()} of the {(~certified).sum()} others; largest margin there {worst:.2f}"
        )


if __name__ == "__main__":
    main()
