"""Read IA3, which the peer keeps in the format of a LoRA."""

import torch
from torch import Tensor

from inlay.exchange.adapterhub_config import Config
from inlay.exchange.adapterhub_linear import check_linear, lora_places
from inlay.exchange.adapterhub_parts import Part, Source, by_place
from inlay.methods.ia3 import IA3


def ia3_parts(source: Source, config: Config) -> list[Part]:
    """Read an IA3.

    Where the paper multiplies what goes into the last map of a feed-forward layer, the peer
    multiplies what comes out of the first, before the activation.

    Raises:
        FormatError: If an option or a tensor is missing, unknown, or cannot be expressed.
    """
    values = {
        "r": (config.number("r"), 1), "alpha": (config.number("alpha"), 1),
        "dropout": (config.number("dropout", 0.0), 0),
    }  # fmt: skip
    for key, (value, only) in values.items():
        if value != only:
            raise config.wrong(key, value, str(only))
    _, places = lora_places(config)
    leave_out = config.take("leave_out", [])
    config.ignore("init_weights", "init_weights_seed", "dtype")
    config.done()
    tails = by_place(
        source, [(source.finder.linear(n, source.where), n) for n in source.under("loras")]
    )
    check_linear(source, tails, places, leave_out)
    tensors: dict[str, Tensor] = {}
    for name, own in tails.items():
        width, fused = source.sites[name].width, source.sites[name].kind == "qkv"
        third = width // 3
        letters = [place for place in places if place in "qkv"]
        given = own.take("lora_B", third * len(letters) if fused else width, 1)[:, 0]
        factors = given
        if fused:
            factors = torch.ones(width, dtype=given.dtype)
            for number, letter in enumerate(letters):
                start = "qkv".index(letter) * third
                factors[start : start + third] = given[number * third : (number + 1) * third]
        tensors[f"site/{name}/factors"] = factors
    notes = []
    if any(place not in "qkv" for place in places):
        notes.append("factors of feed-forward layers stand before the activation, as in AdapterHub")
    return [Part(method=IA3(inputs=""), sites=tuple(tails), tensors=tensors, notes=tuple(notes))]
