"""Convert a saved adapter from one library's form to another's."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import torch
from torch import nn

from inlay.adapters.attach import adapters_of
from inlay.errors import ConfigError, FormatError
from inlay.exchange.base_for import load_base_for, wanted_by
from inlay.exchange.peft_for_vllm import serving_notes
from inlay.exchange.peft_writing import save_peft
from inlay.exchange.reading import Form, load
from inlay.store.load import load as load_own
from inlay.store.save import save

Target = Literal["inlay", "peft"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Converted:
    """What a conversion did.

    Attributes:
        source: The folder that was read.
        source_form: What it held.
        out: The folder that was written.
        form: What it holds.
        name: The adapter's name.
        method: Inlay's word for the method.
        base: The base that the adapter was put on.
        num_sites: Places where it acts.
        num_parameters: Its weights, without heads.
        num_head_parameters: The weights of its heads.
        notes: What the reader must be told besides.
    """

    source: str
    source_form: Form
    out: str
    form: str
    name: str
    method: str
    base: str
    num_sites: int
    num_parameters: int
    num_head_parameters: int
    notes: tuple[str, ...] = ()


def convert(
    source: str | Path,
    out: str | Path,
    *,
    to: Target,
    base: str | None = None,
    without_head: bool = False,
    for_vllm: bool = False,
) -> Converted:
    """Load a saved adapter on its base, write it in another form, and compare what was written.

    Args:
        source: A folder of ours, of PEFT or of AdapterHub.
        out: Where to.
        to: The form to write.
        base: Alias, folder or Hub name of the base; by default the one that the file names.
        without_head: Leave a saved head out.
        for_vllm: With `to="peft"`: write what vLLM loads.

    Raises:
        ConfigError: If there is nothing to convert, or the options do not go together.
        FormatError: If the files are damaged, or the form has no place for the adapter.
        BaseError: If the base cannot be found or loaded.
    """
    source, out = Path(source), Path(out)
    if for_vllm and to != "peft":
        raise ConfigError(f"for vllm, but to={to!r}: vLLM reads PEFT's form; use to 'peft'.")
    wanted = wanted_by(source, without_head=without_head)
    if wanted.form == to and not for_vllm and not without_head:
        raise ConfigError(f"{source} is in the form {to!r} already; there is nothing to convert.")
    if wanted.has_task_head:
        raise FormatError(
            f"{source}: the adapter has a head of a task beside the model, for which PEFT has no "
            "place. Leave it out: without_head=True in Python, --without-head on the command line."
        )
    model = load_base_for(wanted, base)
    name = load(model, source, without_head=without_head)
    entry = adapters_of(model).entry(name)
    if to == "peft":
        save_peft(model, name, out, for_vllm=for_vllm)
    else:
        card = {"converted": {"from": wanted.form, "folder": source.name}}
        save(model, name, out, card=card)
        _check_own(model, name, out)
    return Converted(
        source=str(source), source_form=wanted.form, out=str(out),
        form="peft for vllm" if for_vllm else to, name=name, method=entry.method.name,
        base=str(getattr(model.config, "_name_or_path", "")), num_sites=len(entry.layers),
        num_parameters=entry.num_adapter_parameters,
        num_head_parameters=entry.num_head_parameters,
        notes=serving_notes(out) if for_vllm else (),
    )  # fmt: skip


def _check_own(model: nn.Module, name: str, out: Path) -> None:
    """Load what was written beside the adapter it was written from, and compare."""
    again = load_own(model, out, name=f"{name} (read again)")
    one, two = (adapters_of(model).entry(entry).tensors() for entry in (name, again))
    if one.keys() != two.keys() or not all(torch.equal(one[key], two[key]) for key in one):
        raise FormatError(f"{out}: what was written is not what was read; do not use it.")
