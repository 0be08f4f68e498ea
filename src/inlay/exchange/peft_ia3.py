"""IA3 in PEFT's files (Liu et al. 2022, arXiv:2205.05638)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from inlay.adapters.bank import Adapters
from inlay.adapters.entry import Entry
from inlay.errors import FormatError
from inlay.exchange.peft_config import PeftConfig
from inlay.exchange.peft_modules import at_maps
from inlay.exchange.peft_names import OF_MODULES, Parts, ends_alike, targets_for
from inlay.methods.ia3 import IA3, IA3Layer

_FOLLOWED = (
    "exclude_modules",
    "fan_in_fan_out",  # how the base keeps its weight
    "feedforward_modules",
    "init_ia3_weights",
    "modules_to_save",
    "target_modules",
)

_END = ".ia3_l"


def read_ia3(config: PeftConfig, tensors: Mapping[str, Tensor], adapters: Adapters) -> Parts:
    """Place the factors of an IA3 at the linear maps of a model.

    What PEFT calls feedforward modules is multiplied at the input, all others at the output.

    Raises:
        FormatError: If an option has an effect we lack, or the file and the model do not fit.
    """
    config.check_options(_FOLLOWED)
    maps = at_maps(config, tensors, adapters, [_END])
    named: dict[str, tuple[str, Tensor]] = {}
    on_input = []
    for found in maps:
        site, key = found.site, found.key(_END)
        if _is_feedforward(config, found.path):
            on_input.append(site)
            factors = found.take(_END, 1, site.in_width or 0)
        else:
            factors = found.take(_END, site.width, 1)
        named[f"site/{site.name}/factors"] = (key, factors.reshape(-1))
    kinds = {site.kind for site in on_input}
    of_kind = {found.site.name for found in maps if found.site.kind in kinds}
    is_by_kind = of_kind == {site.name for site in on_input}
    inputs = sorted(kinds) if is_by_kind else [site.name for site in on_input]
    notes = [
        f"factors are on the input of {kind!r} maps, where the paper has them on what enters 'down'"
        for kind in sorted(kinds - {"down"})
    ]
    return Parts(
        method=IA3(inputs=", ".join(inputs)),
        sites=[found.site.name for found in maps],
        tensors=named,
        notes=tuple(notes),
    )


def _is_feedforward(config: PeftConfig, path: str) -> bool:
    """Tell whether PEFT multiplies a map's input; it compares ends of paths, not at a dot."""
    value = config.values.get("feedforward_modules")
    if isinstance(value, str):
        return config.names_module("feedforward_modules", path)
    return any(path.endswith(word) for word in config.words("feedforward_modules"))


def write_ia3(
    adapters: Adapters, entry: Entry, *, uniform: bool
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the options and tensors of an IA3 as PEFT writes them."""
    tensors: dict[str, Tensor] = {}
    inner: list[str] = []
    for name, layer in entry.layers.items():
        if not isinstance(layer, IA3Layer):
            raise FormatError(f"site {name!r}: {type(layer).__name__} has no form in PEFT's IA3.")
        path = adapters.sites[name].module
        factors = layer.factors.detach()
        tensors[f"{OF_MODULES}{path}{_END}"] = factors[None] if layer.on_input else factors[:, None]
        if layer.on_input:
            inner.append(path)
    paths = [adapters.sites[name].module for name in entry.layers]
    modules = [adapters.model.get_submodule(path) for path in paths]
    options = {
        "fan_in_fan_out": not any(isinstance(module, nn.Linear) for module in modules),
        "feedforward_modules": ends_alike(inner, paths),
        "init_ia3_weights": True,
        "target_modules": targets_for(paths, adapters.model),
    }
    return options, tensors
