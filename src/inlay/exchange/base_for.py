"""Load the base that a saved adapter is for, in its class and with a head of its size."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import nn

from inlay.errors import BaseError, FormatError
from inlay.exchange.peft_config import CONFIG_FILE, read_config
from inlay.exchange.peft_names import OF_MODULES, OF_PROMPTS
from inlay.exchange.peft_saved import TWINS
from inlay.exchange.peft_tensors import read_tensors
from inlay.exchange.reading import Form, form_of
from inlay.store.bases import Base, resolve_base
from inlay.store.load import read_tensors as read_own_tensors
from inlay.store.manifest import read_manifest

_AUTO = {
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
}
"""PEFT's word for a task -> the class of transformers."""


@final
@dataclass(frozen=True, slots=True)
class Wanted:
    """What a file says of its base."""

    form: Form
    base: str | None
    """Its name, or a folder."""
    model_class: str
    """A class of transformers."""
    heads: Mapping[str, tuple[int, ...]]
    """Tensor of a head by its path -> shape; empty if there is none, or it is left aside."""
    has_task_head: bool = False
    """Whether our own file has a head of a task, which is no part of any class."""


def wanted_by(folder: Path, *, without_head: bool = False) -> Wanted:
    """Read what a saved adapter of any form says of its base.

    Raises:
        FormatError: If the files are damaged.
    """
    form = form_of(folder)
    has_task_head = False
    if form == "inlay":
        manifest = read_manifest(folder)
        shapes = {
            key.split("/", 1)[1].replace("/", "."): tuple(tensor.shape)
            for key, tensor in read_own_tensors(folder, manifest).items()
            if key.startswith("own_head/")
        }
        has_task_head = manifest.has_head and not without_head
        base, cls = manifest.base.id, manifest.base.model_class
    elif form == "peft":
        config = read_config(folder)
        saved = config.words("modules_to_save")
        plain = {
            key.removeprefix(OF_MODULES).removeprefix(OF_PROMPTS): tuple(tensor.shape)
            for key, tensor in read_tensors(folder).items()
        }
        shapes = {
            path: shape
            for path, shape in plain.items()
            if set(path.split(".")) & set(saved) and not set(path.split(".")) & TWINS
        }
        base = config.values.get("base_model_name_or_path")
        mapped = config.values.get("auto_mapping") or {}
        by_task = _AUTO.get(str(config.values.get("task_type")), "AutoModel")
        cls = mapped.get("base_model_class") or by_task if isinstance(mapped, dict) else by_task
    else:
        values = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        base, cls, shapes = values.get("model_name"), "AutoModel", {}
    name = base if isinstance(base, str) and base else None
    return Wanted(form, name, str(cls), {} if without_head else shapes, has_task_head)


def load_base_for(wanted: Wanted, name: str | None) -> nn.Module:
    """Load a base in the class that a file was saved from.

    Args:
        wanted: What the file says.
        name: Alias, folder or Hub name; by default the one in the file.

    Raises:
        BaseError: If no base is named, or it cannot be found or loaded.
        FormatError: If the base cannot have the head that the file has.
    """
    import transformers
    from safetensors import SafetensorError
    from transformers.utils import logging

    chosen = name or wanted.base
    if chosen is None:
        raise BaseError("the file does not say which base it is for; name it by --base.")
    base = resolve_base(chosen)
    cls = getattr(transformers, wanted.model_class, None)
    if not isinstance(cls, type) or not hasattr(cls, "from_pretrained"):
        cls = transformers.AutoModel
    shows_bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(base.source)
        if wanted.heads:
            config.num_labels = _labels(cls, config, wanted, base)
        model: Any = cls.from_pretrained(base.source, config=config, dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if isinstance(error, FormatError):
            raise
        first = str(error).strip().split("\n")[0]
        raise BaseError(f"{base.id!r} could not be loaded as {cls.__name__}: {first}") from error
    finally:
        if shows_bar:
            logging.enable_progress_bar()
    model.config._name_or_path = base.id
    result: nn.Module = model.eval()
    return result


def _labels(cls: Any, config: Any, wanted: Wanted, base: Base) -> int:
    """Find the number of labels that gives the model a head of the saved sizes."""
    for number in dict.fromkeys(shape[0] for shape in wanted.heads.values() if shape):
        config.num_labels = number
        with torch.device("meta"):
            make = getattr(cls, "from_config", None) or cls._from_config
            shapes = {k: tuple(v.shape) for k, v in make(config).state_dict().items()}
        if all(shapes.get(path) == shape for path, shape in wanted.heads.items()):
            return number
    listed = ", ".join(f"{path} {list(shape)}" for path, shape in wanted.heads.items())
    raise FormatError(
        f"{cls.__name__} of {base.id!r} has no head of the saved sizes ({listed}). Name the base "
        "that the adapter was trained on, or leave the head out with --without-head."
    )
