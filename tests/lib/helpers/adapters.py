"""LoRA adapters as PEFT writes them, over helpers.hf_directories' models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

State = dict[str, torch.Tensor]

# Of helpers.hf_directories.SIZES: (rows, columns) of each projection.
PROJECTIONS = {
    "self_attn.q_proj": (48, 48),
    "self_attn.k_proj": (24, 48),
    "self_attn.v_proj": (24, 48),
    "self_attn.o_proj": (48, 48),
    "mlp.gate_proj": (40, 48),
    "mlp.up_proj": (40, 48),
    "mlp.down_proj": (48, 40),
}
CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": "base",
    "r": 4,
    "lora_alpha": 6,
    "lora_dropout": 0.05,
    "bias": "none",
    "inference_mode": True,
    "init_lora_weights": True,
    "target_modules": ["q_proj", "v_proj"],
    "megatron_core": "megatron.core",
    "qalora_group_size": 16,
    "rank_pattern": {},
    "alpha_pattern": {},
    "modules_to_save": None,
    "use_dora": False,
}


def state(targets: list[str], ranks: dict[str, int] | None = None, rank: int = 4, seed: int = 3) -> State:
    """A and B of each projection whose name ends so, of two layers; lm_head too where it is asked for."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {f"model.layers.{n}.{name}": shape for n in (0, 1) for name, shape in PROJECTIONS.items()}
    shapes["lm_head"] = (29, 48)
    made = {}
    for module, (rows, columns) in shapes.items():
        if any(module == target or module.endswith(f".{target}") for target in targets):
            r = (ranks or {}).get(module, rank)
            made[f"base_model.model.{module}.lora_A.weight"] = torch.randn(r, columns, generator=generator)
            made[f"base_model.model.{module}.lora_B.weight"] = torch.randn(rows, r, generator=generator)
    return made


def save(directory: Path, tensors: State, *, pickled: bool = False, **changes: Any) -> Path:
    """changes: to adapter_config.json; ... takes a key away."""
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.iterdir():
        old.unlink()
    said = {key: value for key, value in {**CONFIG, **changes}.items() if value is not ...}
    (directory / "adapter_config.json").write_text(json.dumps(said))
    if pickled:
        torch.save(tensors, directory / "adapter_model.bin")
    else:
        save_file(tensors, directory / "adapter_model.safetensors")
    return directory
