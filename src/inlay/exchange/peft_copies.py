"""Write an adapter's copies of base weights as PEFT does: trained biases, `modules_to_save`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

from torch import Tensor

from inlay.adapters.bank import Adapters
from inlay.adapters.base_weights import base_parameters
from inlay.adapters.entry import Entry
from inlay.errors import FormatError
from inlay.exchange.peft_names import OF_MODULES
from inlay.exchange.peft_saved import BIASES
from inlay.methods.base import AbstractWeightMethod


@final
@dataclass(slots=True)
class Written:
    """What copies become in a file."""

    options: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)
    """Modules that are copied as a whole."""


def write_copies(adapters: Adapters, entry: Entry, kind: str) -> Written:
    """Return how PEFT keeps the copies that an adapter has beside its method's own weights.

    Raises:
        FormatError: If PEFT has no form for them.
    """
    written = Written()
    if not entry.weights or isinstance(entry.method, AbstractWeightMethod):
        return written
    maps = [adapters.sites[site].module for site in entry.layers if adapters.sites[site].is_linear]
    if not maps:
        raise FormatError(
            f"adapter {entry.name!r} has copies of base weights beside a {entry.method.name}, for "
            "which PEFT has no form. Save it with `inlay.save`."
        )
    known = base_parameters(adapters.model, adapters, adapters.own_heads)
    left = set(entry.weights)
    of_maps = {f"{path}.bias" for path in maps} & known.keys()
    of_all = {path for path in known if path.rpartition(".")[2] == "bias"}
    if kind in BIASES:
        for mode, biases in (("all", of_all), (BIASES[kind], of_maps)):
            if biases and biases <= left:
                written.options["bias"] = mode
                written.tensors |= {_bias_key(path, maps): entry.weights[path] for path in biases}
                left -= biases
                break
    for path in sorted(left):
        module = path.rpartition(".")[0]
        whole = [other for other in known if other.startswith(f"{module}.")]
        _check_module(adapters, entry, path, module, whole)
        if module not in written.modules:
            written.modules.append(module)
        written.tensors[f"{OF_MODULES}{path}"] = entry.weights[path]
    return written


def _bias_key(path: str, maps: Sequence[str]) -> str:
    module = path.removesuffix(".bias")
    return f"{OF_MODULES}{module}{'.base_layer' if module in maps else ''}.bias"


def _check_module(
    adapters: Adapters, entry: Entry, path: str, module: str, whole: list[str]
) -> None:
    """Refuse a copy that is no whole module, or whose path is the end of another's."""
    why = ""
    if not set(whole) <= entry.weights.keys():
        why = f"which copies whole modules, and {module!r} is copied in part"
    others = [
        other
        for other, _ in adapters.model.named_modules()
        if other.endswith(module) and other != module and other.split(".")[0] != "adapters"
    ]
    if others:
        why = f"which would take {module!r} for {others[0]!r} too"
    if why:
        raise FormatError(
            f"adapter {entry.name!r} has a copy of the base's {path!r}, for which there is no form "
            f"in PEFT, {why}. Save it with `inlay.save`."
        )
