"""What decides a training's speed: what was chosen, and why."""

import os

import torch

from inlay.training.batches import batch_order, mixture
from inlay.training.prepare import Prepared
from inlay.training.replay import replayable
from inlay.training.state import Training


def explain_speed(prepared: Prepared) -> dict[str, str]:
    """Return topic -> choice with its reason, in a few words each."""
    training = prepared.training
    return {
        "trunk": _trunk(prepared),
        "attention": f"{prepared.attention.name}: {prepared.attention.why}",
        "dropout": _dropout(training),
        "gradient": _gradient(prepared),
        "batches": _batches(training),
        "replay": prepared.replay_note().removeprefix("replay: "),
        "compile": "no: measured on a CPU it took minutes, and saved a tenth of each epoch",
        "threads": f"{torch.get_num_threads()} of {os.cpu_count()} (OMP_NUM_THREADS)",
    }


def _trunk(prepared: Prepared) -> str:
    numerics, device = prepared.numerics, prepared.training.accelerator.device
    asked = prepared.training.config.precision
    why = "as asked" if asked != "auto" else f"the faster one that {device.type} has"
    if numerics.autocast:
        return f"float32 under autocast to bfloat16, as its weights are trained; {why}"
    if numerics.stored == "float32" and asked == "auto":
        why = f"{device.type} has no fast bfloat16"
    if numerics.int8:
        return f"linear maps stored in int8, computed in {numerics.stored}; as asked"
    return f"stored in {numerics.stored}, adapters and heads in float32; {why}"


def _dropout(training: Training) -> str:
    if training.trains_base:
        return "on in the base, as it is trained"
    if training.trunk_dropout:
        return "on in the trunk, as asked"
    return "off in the trunk, as nothing of it is trained; --trunk-dropout turns it on"


def _gradient(prepared: Prepared) -> str:
    """Say where the backward pass ends: no parameter below the first adapter needs a gradient."""
    entry, sites = prepared.training.entry, prepared.adapters.sites
    if prepared.training.trains_base:
        return "through the whole base, as it is trained"
    frozen = sum(len(trunk.blocks) for trunk in replayable([entry], sites))
    blocks = sum(sites.num_blocks(submodel) for submodel in sites.submodels())
    if not frozen:
        return f"through all {blocks} blocks, down to the adapter in the first"
    return f"none in the lowest {frozen} of {blocks} blocks, below the first adapter"


def _batches(training: Training) -> str:
    config = training.config
    lengths = [row.length for row in training.train]
    kinds, counts = mixture(training.task, training.train)
    given = {"batch_size": config.batch_size, "seed": config.seed, "epoch": 0}
    batches = batch_order(lengths, kinds=kinds, counts=counts, **given)
    padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
    real = sum(lengths[row] for batch in batches for row in batch)
    return f"rows of like length together: {1 - real / padded:.1%} of the tokens are padding"
