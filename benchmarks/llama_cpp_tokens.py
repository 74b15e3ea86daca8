"""llama.cpp's choice at every position of the windows of certified_tokens.py.

    python llama_cpp_tokens.py MODEL.gguf RESULTS

Runs in an environment of its own that has numpy and xllamacpp. The server of llama.cpp gives no logits of a prompt,
so each position is a request of its own, which continues the cache of the one before. Everything is float32 on the
processor: the weights of an F32 file (f32_gguf.py), the cache, and attention without its fused form.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import xllamacpp


def main() -> None:
    model, results = sys.argv[1], Path(sys.argv[2])
    server = xllamacpp.Server(_options(model))
    waiting = [file for file in sorted(results.glob("*.npz")) if not file.with_suffix(".llama.npy").exists()]
    for number, file in enumerate(waiting):
        with np.load(file) as window:
            tokens = window["tokens"].tolist()
        chosen = [_next(server, tokens[: end + 1]) for end in range(len(tokens))]
        part = file.with_suffix(".llama.part.npy")
        np.save(part, np.array(chosen))
        part.rename(file.with_suffix(".llama.npy"))
        print(f"{file.stem}: {number + 1} of {len(waiting)}", flush=True)


def _options(model: str) -> xllamacpp.CommonParams:
    options = xllamacpp.CommonParams()
    options.model.path = model
    options.n_ctx, options.n_parallel, options.n_gpu_layers, options.warmup = 1024, 1, 0, False
    options.cache_type_k = options.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    options.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    options.cpuparams.n_threads = options.cpuparams_batch.n_threads = 1
    options.verbosity = 0
    return options


def _next(server: xllamacpp.Server, tokens: list[int]) -> int:
    asked = {"prompt": tokens, "max_tokens": 1, "temperature": 0, "cache_prompt": True, "logprobs": 2}
    answer = server.handle_completions(asked)
    (likeliest,) = answer["choices"][0]["logprobs"]["content"]
    return int(likeliest["id"])


if __name__ == "__main__":
    main()
