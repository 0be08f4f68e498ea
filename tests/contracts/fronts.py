"""Adapters that put something in front, for contracts: methods, a model with some, and batches."""

import torch

import inlay
from inlay import Average, Stack
from inlay.sites.tensors import first_float
from tests.contracts import tiny

EXACT = {"atol": 1e-9, "rtol": 1e-9}


def prefix(length, **settings):
    return inlay.Prefix(length=length, **{"inner_width": None} | settings)


def prompt(length, **settings):
    return inlay.Prompt(length=length, deviation=0.5, **settings)


def both(length):
    return inlay.Union(
        parts=(
            inlay.Part(method=prompt(length), at="embedding"),
            inlay.Part(method=prefix(length + 1), at="attention"),
        )
    )


METHODS = {
    "prefix": (prefix(3, inner_width=7), prefix(5), "attention"),
    "prefix-one": (prefix(4), prefix(4), "attention"),
    "prefix-positions": (
        prefix(4, takes_positions=True), prefix(2, takes_positions=True), "attention"
    ),
    "prefix-counted": (prefix(4, counted=True), prefix(2), "attention"),
    "prefix-token": (
        prefix(3, gate="token", gates=2), prefix(5, gate="token"), "attention"
    ),
    "prefix-gate": (prefix(3, gate=True), prefix(5), "attention"),
    "prompt": (prompt(3), prompt(2, encoder="lstm", inner_width=5), "embedding"),
    "prompt-one": (prompt(3), prompt(3), "embedding"),
    "prompt-long": (prompt(1), prompt(9), "embedding"),
    "both": (both(2), both(4), "embedding, attention"),
    "side": (inlay.Side(reduction=5, expansion=3), inlay.Side(reduction=3), None),
}  # fmt: skip
"""Name -> the methods of `a` and `b`, and where they are put."""

PREFIXES = [name for name in METHODS if name.startswith("prefix")]
PROMPTS = [name for name in METHODS if name.startswith("prompt")]


def scattered(model, method, other, at):
    """Trained adapters with large weights: two of a kind, and one that acts on words and blocks."""
    adapters = tiny.attach(model)
    at = {"embedding, attention": None}.get(at, at)
    for seed, (name, own) in enumerate({"a": method, "b": other}.items()):
        tiny.stir(adapters.add(name, own, at=at), seed=seed + 1)
        for parameter in adapters.entry(name).parameters():
            parameter.data.mul_(3)
    tiny.stir(adapters.add("c", inlay.Bottleneck(inner_width=4, input="x"), at="block"), seed=3)
    tiny.stir(adapters.add("side", inlay.Side(reduction=4)), seed=4)
    return model


def model_of(base, name):
    model = tiny.encoder() if base == "bert" else tiny.decoder(base)
    return scattered(model.double(), *METHODS[name])


def padded(rows=5, length=8, *, left=False):
    """Words with padding of a different length in each row."""
    inputs = tiny.batch(rows, length)
    if left:
        inputs = {key: value.flip(1) for key, value in inputs.items()}
    return inputs


def run(model, composition, inputs):
    with model.adapters.using(composition), torch.no_grad():
        return first_float(model(**inputs))


def row_of(inputs, row):
    return {key: value[row : row + 1] for key, value in inputs.items()}


def program_of(name):
    """A row that mixes: an average of what stands in front, where that is defined."""
    if name in ("prefix-positions", "both", *PROMPTS):
        return Stack("a", Average("c", None))
    return Average(Stack("a", "c"), "b", weights=(0.3, 0.7))
