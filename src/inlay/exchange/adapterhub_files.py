"""Read the files of an AdapterHub checkpoint, without running anything that is in them."""

import json
import pickle
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors
from torch import Tensor

from inlay.errors import FormatError
from inlay.exchange.finite import check_numbers


@final
@dataclass(frozen=True, slots=True)
class FileNames:
    """What the peer calls the files of one kind of object."""

    config: str
    weights: tuple[str, ...]


ADAPTER = FileNames("adapter_config.json", ("adapter.safetensors", "pytorch_adapter.bin"))
HEAD = FileNames("head_config.json", ("model_head.safetensors", "pytorch_model_head.bin"))
FUSION = FileNames(
    "adapter_fusion_config.json",
    ("model_adapter_fusion.safetensors", "pytorch_model_adapter_fusion.bin"),
)

_RENAMED = {
    "attention_text_task_adapters": "adapters",
    "attention_text_lang_adapters": "adapters",
    "layer_text_task_adapters": "adapters",
    "layer_text_lang_adapters": "adapters",
    "invertible_lang_adapters": "invertible_adapters",
}
"""Names of modules in files of the peer's first versions -> their later names."""


@final
@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One object of the peer's, as its files say it is."""

    folder: Path
    facts: dict[str, Any]
    """The whole JSON: `config`, `name`, `model_class`, `version`, ..."""
    tensors: dict[str, Tensor]

    @property
    def name(self) -> str:
        """The name that is part of the tensors' names."""
        return str(self.facts["name"])

    @property
    def version(self) -> tuple[int, ...] | None:
        """The version of `adapters` that wrote it; `None` for its predecessor and older."""
        found = re.fullmatch(r"adapters\.(\d+(?:\.\d+)*).*", str(self.facts.get("version", "")))
        return tuple(int(part) for part in found[1].split(".")) if found else None

    @property
    def interface(self) -> dict[str, Any] | None:
        """Where adapters were hooked into a model without code of its own; `None` for others.

        Raises:
            FormatError: If the file that says so is damaged.
        """
        path = self.folder / "adapter_interface.json"
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["interface"]
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            raise FormatError(f"{path} is damaged ({error!r}).") from error
        if not isinstance(found, dict):
            raise FormatError(f"{path}: 'interface' is {found!r}, not settings.")
        return found


def has(folder: Path, kind: FileNames) -> bool:
    """Tell whether a folder holds an object of this kind."""
    return (folder / kind.config).is_file()


def read_checkpoint(folder: Path, kind: FileNames) -> Checkpoint:
    """Read a config and its tensors.

    Raises:
        FormatError: If a file is missing, damaged, or holds anything but tensors by name.
    """
    facts = _facts(folder, kind)
    paths = [folder / name for name in kind.weights if (folder / name).is_file()]
    if not paths:
        raise FormatError(
            f"{folder} has {kind.config} but no weights; expected {' or '.join(kind.weights)}."
        )
    read = _safetensors if paths[0].suffix == ".safetensors" else _pickled
    tensors: dict[str, Tensor] = {}
    for key, tensor in read(paths[0]).items():
        check_numbers(paths[0], key, tensor)
        parts = [_RENAMED.get(part, part) for part in key.split(".")]
        tensors[".".join(parts)] = tensor
    return Checkpoint(folder, facts, tensors)


def _facts(folder: Path, kind: FileNames) -> dict[str, Any]:
    path = folder / kind.config
    if not path.is_file():
        raise FormatError(f"{folder} is no such checkpoint of AdapterHub: it has no {kind.config}.")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is no JSON: {error}.") from error
    if not isinstance(facts, dict) or "config" not in facts:
        raise FormatError(f"{path}: 'config' is missing; it is no file of AdapterHub.")
    # The head of a task class has neither config nor name.
    is_named = isinstance(facts.get("name"), str) and facts["name"]
    if not is_named and facts["config"] is not None:
        raise FormatError(f"{path}: 'name' is missing, which the tensors' names depend on.")
    return facts


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        # The library gives them in another order each time; errors name the first that is wrong.
        return dict(sorted(from_safetensors(path.read_bytes()).items()))
    except (SafetensorError, ValueError) as error:
        raise FormatError(f"{path} is damaged or no safetensors file ({error}).") from error


def _pickled(path: Path) -> dict[str, Tensor]:
    """Read a pickle of tensors and nothing else; code in it is not run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual pickles, which fail or are fine
            found = torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise FormatError(
            f"{path} holds {_culprit(str(error))}, not only tensors; it is not read, as that could "
            "run code. Ask for the adapter as safetensors."
        ) from error
    except Exception as error:  # what a broken pickle raises is anything
        raise FormatError(f"{path} is damaged or no file of PyTorch ({error}).") from error
    if not isinstance(found, dict):
        raise FormatError(f"{path} holds a {type(found).__name__}, not tensors by name.")
    for key, tensor in found.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise FormatError(f"{path}: {key!r} is a {type(tensor).__name__}, not a tensor.")
    return found


def _culprit(message: str) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", message) or re.search(r"\b([\w]+\.[\w.]*\w)\b", message)
    return f"{found[1]!r}" if found else "something that is no tensor"
