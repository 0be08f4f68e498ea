"""Whole parts of a base in PEFT's files: `modules_to_save` and trained biases."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from torch import Tensor

from inlay.adapters.bank import Adapters
from inlay.adapters.base_weights import base_parameters
from inlay.errors import FormatError
from inlay.exchange.peft_config import PeftConfig
from inlay.exchange.peft_names import Named, Names

TASK_HEADS = {"classifier", "score", "qa_outputs"}
"""Heads that PEFT lists for every task class of a kind, whether the model has them or not."""

TWINS = {"original_module", "modules_to_save"}
"""Parts of names by which `bias="all"` saves the bias of a head twice more."""

BIASES = {"LORA": "lora_only", "VERA": "vera_only"}
"""Method -> the value of `bias` by which the biases of its own maps are trained."""


@final
@dataclass(slots=True)
class Saved:
    """A file's tensors, those that are whole parts of a model set apart."""

    named: Named = field(default_factory=dict)
    """Those of heads and of the base, by our names: `own_head/...` and `weight/...`."""
    rest: dict[str, Tensor] = field(default_factory=dict)
    """The method's own."""
    notes: list[str] = field(default_factory=list)


def split_saved(
    config: PeftConfig,
    tensors: Mapping[str, Tensor],
    adapters: Adapters,
    prefix: str,
    *,
    without_head: bool,
) -> Saved:
    """Set apart what a file has of heads and of other whole parts of a model.

    PEFT takes an entry of `modules_to_save` for the end of a module's path, not even at a dot:
    `norm` is every `input_layernorm` too. What is no head becomes a copy that stands in the place
    of the base's own weight while the adapter is active.

    Args:
        config: The options.
        tensors: All tensors of the file.
        adapters: The adapters of the model.
        prefix: What stands before paths in files of this method.
        without_head: Leave heads aside.

    Raises:
        FormatError: If a module is not there, or lacks tensors.
    """
    words = config.words("modules_to_save")
    folder = config.path.parent
    plain = {key: key.removeprefix(prefix) for key in tensors if key.startswith(prefix)}
    names = Names(folder, adapters.model, [path.rpartition(".")[0] for path in plain.values()])
    saved, present = Saved(), set()
    for key, tensor in tensors.items():
        owner = _owner(plain.get(key, ""), words)
        if owner is None:
            saved.rest[key] = tensor
            continue
        if _is_twin(config, plain[key], owner):
            continue
        present.add(owner)
        module = names.find(owner)
        head = None if module is None else _inside(module, adapters.own_heads)
        if module is None:
            if without_head:
                continue
            raise FormatError(_no_head(folder, key, owner, adapters))
        path = f"{module}{plain[key].removeprefix(owner)}"
        if head is None:
            saved.named[f"weight/{path}"] = (key, tensor)
        elif not without_head:
            saved.named[f"own_head/{head}/{path.removeprefix(f'{head}.')}"] = (key, tensor)
    _check_there(config, adapters, names, saved, present, without_head=without_head)
    if any(key.startswith("weight/") for key in saved.named):
        saved.notes.append("parts of the base in modules_to_save are copies, used when active")
    _take_biases(config, adapters, names, saved, prefix)
    return saved


def _starts(path: str) -> Iterator[str]:
    """Give the modules around a tensor, the outermost first."""
    parts = path.split(".")[:-1]
    return (".".join(parts[: end + 1]) for end in range(len(parts)))


def _owner(path: str, words: tuple[str, ...]) -> str | None:
    """Return the outermost module around a tensor that one of the words is the end of."""
    return next((p for p in _starts(path) if any(p.endswith(word) for word in words)), None)


def _inside(module: str, heads: tuple[str, ...]) -> str | None:
    return next((h for h in heads if module == h or module.startswith(f"{h}.")), None)


def _is_twin(config: PeftConfig, path: str, owner: str) -> bool:
    """Tell whether `bias="all"` has put a saved module's bias into the file once more."""
    inner = path.removeprefix(f"{owner}.").split(".")[0]
    return config.values.get("bias") == "all" and path.endswith(".bias") and inner in TWINS


def _check_there(
    config: PeftConfig,
    adapters: Adapters,
    names: Names,
    saved: Saved,
    present: set[str],
    *,
    without_head: bool,
) -> None:
    """Refuse a file that lacks a module which it says it has."""
    known = base_parameters(adapters.model, adapters, adapters.own_heads)
    for word in config.words("modules_to_save"):
        there = [path for path in names.paths if path.endswith(word)]
        outer = [p for p in there if not any(p.startswith(f"{other}.") for other in there)]
        for path in outer:
            if path in present:
                continue
            if not (without_head and _inside(str(names.find(path)), adapters.own_heads)):
                why = f"{path!r} was saved, but the file has no tensor of it."
                raise config.refuse("modules_to_save", why)
        if not there and word not in TASK_HEADS and not without_head:
            why = f"{word!r} was saved, but this model has no such module."
            raise config.refuse("modules_to_save", why)
        modules = [names.find(path) for path in outer]
        for path in known:
            inside = any(path.startswith(f"{module}.") for module in modules)
            if inside and f"weight/{path}" not in saved.named:
                why = f"no tensor of the file gives {path!r}; the file is incomplete."
                raise config.refuse("modules_to_save", why)


def _take_biases(
    config: PeftConfig, adapters: Adapters, names: Names, saved: Saved, prefix: str
) -> None:
    """Take the biases of the base that were trained beside the method, if the options say so."""
    mode = config.values.get("bias", "none")
    if mode in (None, "none"):
        return
    if mode not in ("all", BIASES.get(config.kind)):
        raise config.refuse("bias", "this has an effect that is not known.")
    known = base_parameters(adapters.model, adapters, adapters.own_heads)
    for key in [k for k in saved.rest if k.endswith(".bias") and ".lora_B." not in k]:
        path = key.removeprefix(prefix).replace(".base_layer.", ".")
        module = names.find(path.rpartition(".")[0])
        if module is None or f"{module}.bias" not in known:
            continue
        saved.named.setdefault(f"weight/{module}.bias", (key, saved.rest[key]))
        del saved.rest[key]
    if mode == "all":
        for path in known:
            if path.rpartition(".")[2] == "bias" and f"weight/{path}" not in saved.named:
                why = f"no tensor of the file gives {path!r}; the file is incomplete."
                raise config.refuse("bias", why)
    saved.notes.append("biases are copies, used when active; PEFT leaves them in the base")


def check_own_biases(
    config: PeftConfig, adapters: Adapters, saved: Saved, sites: list[str]
) -> None:
    """Refuse a file whose biases are not those of the method's own maps.

    Raises:
        FormatError: If one is missing, or there is one too many.
    """
    if config.values.get("bias") != BIASES.get(config.kind, "none"):
        return
    known = base_parameters(adapters.model, adapters, adapters.own_heads)
    own = {f"weight/{adapters.sites[name].module}.bias" for name in sites}
    own = {key for key in own if key[7:] in known}
    found = {key for key in saved.named if key.startswith("weight/") and key.endswith(".bias")}
    for key in sorted(own - found):
        raise config.refuse("bias", f"no tensor of the file gives {key[7:]!r}.")
    saved_too = config.words("modules_to_save")
    for key in sorted(found - own):
        if _owner(key[7:], saved_too) is None:
            name = saved.named[key][0]
            raise config.refuse("bias", f"tensor {name!r} is the bias of no map of the method.")


def _no_head(folder: Path, key: str, owner: str, adapters: Adapters) -> str:
    model = adapters.model
    has = ", ".join(map(repr, adapters.own_heads)) or "no head"
    return (
        f"{folder}: the file has a head {owner!r}, but {type(model).__name__} has {has}, so there "
        f"is no place for {key!r}. Load it on the task class it was trained on, or pass "
        "without_head=True."
    )
