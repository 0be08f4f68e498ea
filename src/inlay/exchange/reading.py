"""Load an adapter from a folder, whichever library wrote it."""

import json
from pathlib import Path
from typing import Literal

from torch import nn

from inlay.adapters.attach import attach, detach
from inlay.errors import AdapterError, FormatError
from inlay.exchange.peft_config import CONFIG_FILE
from inlay.exchange.peft_reading import load_peft
from inlay.store.load import load as load_own
from inlay.store.manifest import MANIFEST_FILE

Form = Literal["inlay", "peft", "adapterhub"]


def load(
    model: nn.Module,
    folder: str | Path,
    *,
    name: str | None = None,
    head: nn.Module | None = None,
    without_head: bool = False,
    other_base: bool = False,
) -> str:
    """Load an adapter onto a model, strictly: ours, PEFT's or AdapterHub's; it is not made active.

    Every tensor that the adapter needs must be in the file, every tensor in the file must be
    used, and nothing touches the base. If anything is wrong the model is left as it was.

    Args:
        model: The base; `attach` is called on it if it has no adapters yet.
        folder: What `save`, PEFT's `save_pretrained` or AdapterHub's `save_adapter` wrote.
        name: A name other than the saved one; PEFT saves none, there it is the folder's.
        head: A module for the head that our own adapter was saved with, of the same shapes.
        without_head: Leave the saved heads aside, to use the adapter under another task.
        other_base: Load our own adapter although the base's weights differ.

    Returns:
        The adapter's name on this model.

    Raises:
        FormatError: If the files are damaged, or do not fit the model or one another.
        AdapterError: If the name is taken, a head is needed and not given, or an option does not
            go with the file.
    """
    folder = Path(folder)
    form = form_of(folder)
    if form == "inlay":
        return load_own(
            model, folder, name=name, head=head, without_head=without_head, other_base=other_base
        )
    if head is not None or other_base:
        option = "head=..." if head is not None else "other_base=True"
        raise AdapterError(
            f"{folder}: {option} is for adapters that `inlay.save` wrote; this is one of {form}, "
            "so it has no effect; leave it out."
        )
    if form == "peft":
        return load_peft(model, folder, name=name, without_head=without_head)
    return _load_adapterhub(model, folder, name, without_head=without_head)


def _load_adapterhub(
    model: nn.Module, folder: Path, name: str | None, *, without_head: bool
) -> str:
    from inlay.exchange.adapterhub import load_adapterhub

    fresh = not hasattr(model, "adapters")
    if fresh:
        attach(model)
    try:
        return load_adapterhub(model, folder, name=name, without_head=without_head)
    except Exception:
        if fresh:
            detach(model)
        raise


def form_of(folder: Path) -> Form:
    """Tell by its files which library wrote a folder.

    Raises:
        FormatError: If it is none of those that are read.
    """
    if (folder / MANIFEST_FILE).is_file() or not (folder / CONFIG_FILE).is_file():
        return _checked_own(folder)
    try:
        values = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{folder / CONFIG_FILE} is damaged ({error}).") from error
    if isinstance(values, dict) and "peft_type" in values:
        return "peft"
    if isinstance(values, dict) and ("config" in values or "model_class" in values):
        return "adapterhub"
    raise FormatError(
        f"{folder / CONFIG_FILE} is neither PEFT's (no peft_type) nor AdapterHub's (no config)."
    )


def _checked_own(folder: Path) -> Form:
    """Say where the adapters are, if they are one folder further down."""
    inside = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG_FILE}"))
    if inside and not (folder / MANIFEST_FILE).is_file():
        raise FormatError(
            f"{folder} holds no adapter itself, but folders that do: {', '.join(inside)}. "
            "Name one of them."
        )
    return "inlay"
