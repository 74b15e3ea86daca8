"""Do correct engines choose the tokens that are certified?

    make certify SMOLLM2=DIR RESULTS=DIR

Windows of 128 tokens of SmolLM2-135M, from its Hugging Face directory: random ids, or a text's with --text. For each
position the most likely token by the verifier's reference, with its margin in standard deviations of float32 rounding
as a verdict measures it; beside it the choice of the C reader's two arithmetics and of transformers, all in float32.
llama_cpp_tokens.py adds llama.cpp's choice. Each window has a file of its own in RESULTS, so a run that was
interrupted continues, and runs with other seeds or texts merge.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import exporter
import reader_c
from verify.evidence.tokenizers import encode
from verify.oracle import llama
from verify.oracle.logit_margins import Margins
from verify.oracle.logit_sigma import LogitNoise
from verify.oracle.transformers import TransformersOracle
from verify.oracle.weight_cache import WeightCache
from verify.run.compared_windows import ARITHMETICS
from verify.sources.huggingface import HuggingFaceSource
from verify.sources.options import SourceOptions
from verify.system.numerics import pinned_numerics

_LENGTH = 128
_LIMIT = 10
_ENGINES = (*ARITHMETICS, "transformers", "llama.cpp")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--show", action="store_true", help="only count what earlier runs found")
    arguments = parser.parse_args()
    arguments.results.mkdir(exist_ok=True)
    if not arguments.show:
        source = HuggingFaceSource(arguments.smollm2, SourceOptions(None, False, None, None, None, None))
        run(source, arguments.results, list(windows(source, arguments)))
    show(arguments.results)


def windows(source: HuggingFaceSource, arguments: argparse.Namespace) -> Iterator[tuple[str, np.ndarray]]:
    """Yield a name and the tokens of each window."""
    if arguments.text is not None:
        text = encode(arguments.text, source.tokenizer_path, source.hyperparameters.vocab_size)
        for number in range(min(arguments.windows, len(text) // _LENGTH)):
            yield f"text-{number:04}", text[number * _LENGTH : (number + 1) * _LENGTH]
        return
    for number in range(arguments.windows):
        rng = np.random.default_rng([arguments.seed, number])
        yield f"random-{arguments.seed}-{number:04}", rng.integers(source.hyperparameters.vocab_size, size=_LENGTH)


def run(source: HuggingFaceSource, results: Path, asked: list[tuple[str, np.ndarray]]) -> None:
    hyper, load = source.hyperparameters, WeightCache(source.tensor, 1 << 30)
    transformers = TransformersOracle(source)
    with tempfile.TemporaryDirectory() as directory, pinned_numerics():
        file = Path(directory) / "model.bin"
        exporter.export(exporter.open_checkpoint(source.path), file, format="v3")
        with reader_c.open(file, mapped=True) as model:
            for number, (name, ids) in enumerate(asked):
                target = results / f"{name}.npz"
                if target.exists():
                    continue
                tokens = torch.from_numpy(ids)[None]
                reference = llama.logits(hyper, load, tokens).numpy()
                drawn = Margins(hyper, load, reference)
                noise = LogitNoise(hyper, load, tokens, reference, number, seen=drawn.add)
                noise.draw()
                margins = drawn.window(0, noise)
                logits = {"transformers": transformers.logits(tokens)[0].numpy()}
                for arithmetic in ARITHMETICS:
                    logits[arithmetic] = model.forward(ids, arithmetic=arithmetic)
                chosen = {engine: found.argmax(axis=1) for engine, found in logits.items()}
                # a whole file or none
                with target.with_suffix(".part").open("wb") as part:
                    np.savez(part, tokens=ids, first=margins.first, margins=margins.sigmas, **chosen)
                target.with_suffix(".part").rename(target)
                print(f"{name}: {number + 1} of {len(asked)}", flush=True)


def show(results: Path) -> None:
    """Count over all windows; of llama.cpp, those that it has run."""
    for kind in ("random", "text"):
        for engine in _ENGINES:
            margins, differs = gathered(sorted(results.glob(f"{kind}-*.npz")), engine)
            if not len(margins):
                continue
            certified = margins >= _LIMIT
            worst = margins[differs].max() if differs.any() else 0.0
            print(
                f"{kind}, {engine}: {len(margins):,} positions; of {certified.sum():,} certified "
                f"({certified.mean():.2%}) another token at {(differs & certified).sum()}, of {(~certified).sum()} "
                f"others at {(differs & ~certified).sum()}, with margins up to {worst:.2f}"
            )


def gathered(files: list[Path], engine: str) -> tuple[np.ndarray, np.ndarray]:
    """Return every position's margin, and whether the engine chose another token."""
    margins, differs = [np.zeros(0)], [np.zeros(0, bool)]
    for file in files:
        with np.load(file) as window:
            beside = file.with_suffix(".llama.npy")
            if engine == "llama.cpp" and not beside.exists():
                continue
            chosen = np.load(beside) if engine == "llama.cpp" else window[engine]
            margins.append(window["margins"])
            differs.append(chosen != window["first"])
    return np.concatenate(margins), np.concatenate(differs)


if __name__ == "__main__":
    main()
