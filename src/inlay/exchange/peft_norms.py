"""LayerNorm tuning in PEFT's files (Zhao et al. 2024, arXiv:2312.11420): copies of modules."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from inlay.adapters.bank import Adapters
from inlay.adapters.base_weights import base_parameters, copy_weights
from inlay.adapters.entry import Entry
from inlay.errors import FormatError
from inlay.exchange.peft_config import PeftConfig
from inlay.exchange.peft_modules import targets_of
from inlay.exchange.peft_names import OF_MODULES, Named, Names, Parts, not_used, targets_for
from inlay.methods.comparators import Head
from inlay.methods.parts_of_base import Norms

_FOLLOWED = ("exclude_modules", "modules_to_save", "target_modules")

_INNER = re.compile(r"\.ln_tuning_layers\.")


def read_norms(config: PeftConfig, tensors: Mapping[str, Tensor], adapters: Adapters) -> Parts:
    """Read trained copies of modules, of norms as a rule.

    All norms of the base are `Norms`; of some of them, or of other modules, the adapter has copies
    and no method of its own.

    Raises:
        FormatError: If an option has an effect we lack, or the file and the model do not fit.
    """
    config.check_options(_FOLLOWED)
    folder = config.path.parent
    split = {key: _INNER.split(key.removeprefix(OF_MODULES), maxsplit=1) for key in tensors}
    for key, parts in split.items():
        if len(parts) != 2 or not key.startswith(OF_MODULES):
            raise not_used(folder, key, adapters)
    names = Names(folder, adapters.model, [parts[0] for parts in split.values()])
    targets = targets_of(config, names)
    named: Named = {}
    known = base_parameters(adapters.model, adapters, adapters.own_heads)
    for key, (path, inner) in split.items():
        ours = f"{names.module(key, path)}.{inner}"
        if (targets is not None and path not in targets) or ours not in known:
            raise not_used(folder, key, adapters)
        named[f"weight/{ours}"] = (key, tensors[key])
    missing = [
        path
        for path in known
        if f"weight/{path}" not in named
        and any(path.startswith(f"{names.find(target)}.") for target in targets or ())
    ]
    if missing:
        raise FormatError(
            f"{folder}: target_modules names the module of {missing[0]!r}, but no tensor of the "
            "file gives it; the file is incomplete."
        )
    if not named:
        raise FormatError(f"{folder}: there is no tensor of a {config.kind} in the file.")
    norms = _all_norms(adapters)
    is_all = {f"weight/{path}" for path in norms} == named.keys()
    return Parts(method=Norms() if is_all else Head(), sites=[], tensors=named)


def _all_norms(adapters: Adapters) -> list[str]:
    known = base_parameters(adapters.model, adapters, adapters.own_heads)
    return list(copy_weights(Norms(), known, adapters.sites, adapters.model))


def write_norms(
    adapters: Adapters, entry: Entry, *, uniform: bool
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the options and tensors of trained norms as PEFT writes them."""
    tensors: dict[str, Tensor] = {}
    modules: dict[str, None] = {}
    for path, weight in entry.weights.items():
        module, _, name = path.rpartition(".")
        modules[module] = None
        tensors[f"{OF_MODULES}{module}.ln_tuning_layers.{name}"] = weight.detach()
    known = base_parameters(adapters.model, adapters, adapters.own_heads)
    for path in known:
        if path.rpartition(".")[0] in modules and path not in entry.weights:
            raise FormatError(
                f"adapter {entry.name!r}: PEFT copies whole modules, and of {path!r} there is no "
                "copy; save it with `inlay.save`."
            )
    return {"target_modules": targets_for(list(modules), adapters.model)}, tensors
