"""One engine, one task, in a process of its own: prints {"seconds", "tokens", "threads"} as JSON. For reader.py.

    python engines.py ENGINE TASK DIRECTORY THREADS

Imports nothing of an engine that is not asked for: llama.cpp's has an environment of its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

THREADS = int(sys.argv[4])
# before numpy and PyTorch look at it
os.environ["OMP_NUM_THREADS"] = str(THREADS)

import numpy as np  # noqa: E402  # reads how many threads it may have

TASKS = {"prefill 512": (512, 0), "prefill 2048": (2048, 0), "decode 64": (16, 64)}

# feed(tokens) computes the logits at all of these positions; reset() empties the cache
Engine = tuple[Callable[[list[int]], object], Callable[[], None]]


def ours(directory: Path, kind: str) -> Engine:
    import reader_c  # noqa: PLC0415

    model = reader_c.open(directory / ("fp32.bin" if kind == "fp32" else "q8.bin"))
    sessions = [model.session(2048 + 64, THREADS)]

    def reset() -> None:
        sessions[0] = model.session(2048 + 64, THREADS)

    activations = "q8" if kind == "q8" else "fp32"
    return lambda tokens: sessions[0].forward(tokens, activations=activations), reset


def transformers(directory: Path, _kind: str) -> Engine:
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, DynamicCache  # noqa: PLC0415

    torch.set_num_threads(THREADS)
    model = AutoModelForCausalLM.from_pretrained(directory / "hf", dtype=torch.float32)
    caches = [DynamicCache()]

    def reset() -> None:
        caches[0] = DynamicCache()

    @torch.inference_mode()
    def feed(tokens: list[int]) -> object:
        return model(torch.tensor([tokens]), past_key_values=caches[0], use_cache=True).logits.numpy()

    return feed, reset


def llama_cpp(directory: Path, kind: str) -> Engine:
    import llama_cpp  # noqa: PLC0415

    model = llama_cpp.Llama(
        str(directory / f"{kind}.gguf"),
        n_ctx=2048 + 64,
        n_batch=512,
        n_threads=THREADS,
        n_threads_batch=THREADS,
        logits_all=True,
        verbose=False,
    )
    return model.eval, model.reset


def llama_cpp_server(directory: Path, kind: str) -> Engine:
    """llama.cpp as xllamacpp ships it: its server, in this process, continues the cache of the request before."""
    import xllamacpp  # noqa: PLC0415

    options = xllamacpp.CommonParams()
    options.model.path = str(directory / f"{kind}.gguf")
    options.n_ctx, options.n_batch, options.n_ubatch, options.n_parallel = 2048 + 64, 512, 512, 1
    options.n_gpu_layers, options.verbosity = 0, 0
    options.cpuparams.n_threads = options.cpuparams_batch.n_threads = THREADS
    server = xllamacpp.Server(options)
    history: list[int] = []

    def feed(tokens: list[int]) -> object:
        history.extend(tokens)
        asked = {"prompt": history, "max_tokens": 1, "temperature": 0, "cache_prompt": len(history) > len(tokens)}
        return server.handle_completions(asked)

    return feed, history.clear


def run_c(directory: Path, _kind: str) -> Engine:
    """llama2.c's run.c as PyPI's llamac2py compiles it; it has no batches and no grouped queries, so it gets a model
    of the same size whose kv heads are as many as its heads."""
    import ctypes  # noqa: PLC0415

    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "lib"))
    from helpers.upstream import _Config, _library, _RunState  # noqa: PLC0415

    library = _library()
    content = np.memmap(directory / "heads.bin", np.uint8, "r")
    shape = content[:28].view("<i4").tolist()
    shared, shape[5] = shape[5] > 0, abs(shape[5])
    config, state = _Config(*shape), _RunState()
    payload = ctypes.create_string_buffer(content[28:].tobytes())
    weights = ctypes.create_string_buffer(32 * ctypes.sizeof(ctypes.c_void_p))
    library.checkpoint_init_weights(weights, ctypes.byref(config), payload, int(shared))
    library.malloc_run_state(ctypes.byref(state), ctypes.byref(config))
    position = [0]

    # holds the payload too, which C's pointers lead into
    def feed(tokens: list[int], _payload: object = payload) -> object:
        for token in tokens:
            library.transformer(token, position[0], ctypes.byref(config), ctypes.byref(state), weights)
            position[0] += 1
        return None

    def reset() -> None:
        position[0] = 0

    return feed, reset


def matrix_products(_directory: Path, _kind: str) -> Engine:
    """The products of a forward pass by PyTorch's own matrix multiplication, and nothing else: what no engine of
    float32 can be faster than."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(THREADS)
    shapes = [(576, 576), (576, 192), (576, 192), (576, 576), (576, 1536), (576, 1536), (1536, 576)]
    layers = [[torch.randn(a, b) for a, b in shapes] for _ in range(30)]
    classifier = torch.randn(576, 49152)

    @torch.inference_mode()
    def feed(tokens: list[int]) -> object:
        inputs = {576: torch.randn(len(tokens), 576), 1536: torch.randn(len(tokens), 1536)}
        for layer in layers:
            for w in layer:
                inputs[w.shape[0]] @ w
        return inputs[576] @ classifier

    return feed, lambda: None


def memory(_directory: Path, kind: str) -> Engine:
    """Every weight read once a token: what no decoding can be faster than."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(THREADS)
    weights = 134_515_008
    size = weights * 4 if kind == "fp32" else weights * 17 // 16
    content = torch.ones(size // 4, dtype=torch.float32)
    return lambda tokens: [content.sum() for _ in tokens], lambda: None


ENGINES = {
    "ours": ours,
    "transformers": transformers,
    "llama.cpp": llama_cpp,
    "llama.cpp server": llama_cpp_server,
    "run.c": run_c,
    "matrix products": matrix_products,
    "memory": memory,
}


def main() -> None:
    name, _, kind = sys.argv[1].partition(" / ")
    prefill, decode = TASKS[sys.argv[2]]
    feed, reset = ENGINES[name](Path(sys.argv[3]), kind)
    tokens = np.random.default_rng(0).integers(0, 49152, prefill + decode).tolist()
    feed(tokens[:prefill])
    reset()
    start = time.perf_counter()
    feed(tokens[:prefill])
    if decode:
        start = time.perf_counter()
        for token in tokens[prefill:]:
            feed([token])
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "tokens": decode or prefill}))


if __name__ == "__main__":
    main()
