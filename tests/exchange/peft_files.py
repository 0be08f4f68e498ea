"""PEFT's files: the golden ones, and ones written here by hand."""

import json
from pathlib import Path

import torch
import transformers as hf
from safetensors.torch import load_file, save_file

GOLDEN = Path(__file__).parent.parent / "golden" / "peft"
FAMILIES = ("bert", "llama", "t5")


def golden_model(family):
    """Load the base of the golden files in its task class."""
    config = json.loads((GOLDEN / family / "base" / "config.json").read_text())
    cls = getattr(hf, config["architectures"][0])
    return cls.from_pretrained(GOLDEN / family / "base").eval()


def golden(family, what):
    """Read `inputs` or `outputs`."""
    return load_file(GOLDEN / family / f"{what}.safetensors")


def linear_paths(model):
    """List linear maps inside blocks by their paths."""
    names = ("Linear", "Conv1D")
    return [
        path
        for path, module in model.named_modules()
        if type(module).__name__ in names and any(part.isdigit() for part in path.split("."))
    ]


def factors(model, paths, rank, seed=4):
    """Draw `A` and `B` for these modules, whichever way round they keep their weight."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for path in paths:
        module = model.get_submodule(path)
        out, width = module.weight.shape
        if type(module).__name__ == "Conv1D":
            out, width = width, out
        size = rank(path) if callable(rank) else rank
        found[path] = (
            torch.randn(size, width, generator=generator) * 0.2,
            torch.randn(out, size, generator=generator) * 0.2,
        )
    return found


def write(folder, tensors, **config):
    """Write a folder as PEFT does."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"} | config))
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "adapter_model.safetensors")
    return folder


def write_lora(folder, found, extra=None, **config):
    """Write a LoRA file."""
    tensors = {}
    for path, (a, b) in found.items():
        tensors[f"base_model.model.{path}.lora_A.weight"] = a
        tensors[f"base_model.model.{path}.lora_B.weight"] = b
    config = {"target_modules": list(found), **config}
    return write(folder, {**tensors, **(extra or {})}, **config)


def merged(model, found, scale):
    """Add the updates to the base's own weights: the naive twin."""
    with torch.no_grad():
        for path, (a, b) in found.items():
            module = model.get_submodule(path)
            update = (scale(path) if callable(scale) else scale) * (b.double() @ a.double())
            update = update.T if type(module).__name__ == "Conv1D" else update
            module.weight.copy_(module.weight.double() + update)
    return model
