"""Read the heads that AdapterHub saves beside adapters: a task class's own, or layers by config."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from inlay.adapters.bank import Adapters
from inlay.errors import FormatError, did_you_mean
from inlay.exchange.adapterhub_config import Config
from inlay.exchange.adapterhub_files import HEAD, Checkpoint
from inlay.methods.activation import ACTIVATIONS

_OF_FIRST = ("classification", "multilabel_classification", "image_classification",
             "multiple_choice")  # fmt: skip
"""Types of head that answer for a row, from its first position."""

_OF_EACH = ("tagging", "question_answering")
"""Types of head that answer for each position."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class HeadRead:
    """A head that was read."""

    module: nn.Module | None = None
    """A head made by the config, for `Entry.head`."""
    tensors: dict[str, Tensor] = field(default_factory=dict)
    """Tensors by the names of `Entry.tensors`."""
    labels: list[str] | None = None
    """Names of the classes, in order, if the file has them."""
    notes: tuple[str, ...] = ()
    """What a user should know."""


def read_head(
    checkpoint: Checkpoint, adapter: Checkpoint, model: nn.Module, adapters: Adapters
) -> HeadRead:
    """Read a head for one model.

    Args:
        checkpoint: The head.
        adapter: The adapter beside it; classes without a prefix save its tensors here again.
        model: The model.
        adapters: Its adapters.

    Raises:
        FormatError: If it has no place on this model, would overwrite the base, or is of a type
            that is not known.
    """
    if checkpoint.facts["config"] is None:
        return _own_head(checkpoint, adapter, model, adapters)
    return _made_head(checkpoint, adapters)


def _own_head(
    checkpoint: Checkpoint, adapter: Checkpoint, model: nn.Module, adapters: Adapters
) -> HeadRead:
    """Read the head of a task class, which the model must have as well."""
    with adapters.original_weights():
        base = dict(model.state_dict())
    tensors: dict[str, Tensor] = {}
    notes = []
    for key, tensor in checkpoint.tensors.items():
        path = next((p for p in adapters.own_heads if key.startswith(f"{p}.")), None)
        if path is not None:
            tensors[f"own_head/{path}/{key.removeprefix(f'{path}.')}"] = tensor
        elif key in adapter.tensors and torch.equal(adapter.tensors[key], tensor):
            continue
        elif key not in base:
            raise FormatError(
                f"{checkpoint.folder}: tensor {key!r} of the head has no place on "
                f"{type(model).__name__}; load it on {checkpoint.facts.get('model_class')!r}, or "
                "pass without_head=True."
            )
        elif base[key].shape != tensor.shape or not torch.equal(base[key].to(tensor), tensor):
            raise FormatError(
                f"{checkpoint.folder}: tensor {key!r} of the head is a weight of this base with "
                "other values; bases are never overwritten. Load the base it was trained with, or "
                "pass without_head=True."
            )
        else:
            notes.append(f"{key!r} is the base's own weight, which the file repeats")
    labels = _labels(checkpoint.facts.get("label2id")) if tensors else None
    return HeadRead(tensors=tensors, labels=labels, notes=tuple(notes))


def _labels(ids: Any) -> list[str] | None:
    if not isinstance(ids, dict) or not all(isinstance(number, int) for number in ids.values()):
        return None
    return sorted(ids, key=lambda label: int(ids[label]))


def _made_head(checkpoint: Checkpoint, adapters: Adapters) -> HeadRead:
    """Build a head from its config and read its weights."""
    where = str(checkpoint.folder / HEAD.config)
    if not isinstance(checkpoint.facts["config"], dict):
        raise FormatError(f"{where}: 'config' is {checkpoint.facts['config']!r}, not settings.")
    config = Config(where, checkpoint.facts["config"])
    kind = config.take("head_type")
    known = (*_OF_FIRST, *_OF_EACH)
    if kind not in known:
        raise FormatError(
            f"{where}: heads of type {kind!r} are not supported ({', '.join(known)} are); pass "
            f"without_head=True.{did_you_mean(str(kind), known)}"
        )
    if kind in _OF_FIRST and "decoder" in adapters.sites.submodels():
        raise FormatError(
            f"{where}: a head of type {kind!r} reads the last <eos> of a pair of stacks, which is "
            "not supported; pass without_head=True."
        )
    if config.take("use_pooler", default=False):
        raise FormatError(
            f"{where}: option use_pooler=True is not supported; pass without_head=True."
        )
    layers, has_bias = int(config.number("layers")), config.take("bias", default=True)
    has_activation = config.values.get("activation_function") is not None
    activation = config.activation("activation_function") if has_activation else None
    config.ignore("activation_function")
    choices = int(config.number("num_choices")) if kind == "multiple_choice" else None
    labels = config.take("label2id", None)
    dropout = config.take("dropout_prob", None) or 0.0
    classes = 1 if choices else int(config.number("num_labels"))
    config.done()
    width = checkpoint.facts.get("hidden_size")
    if not isinstance(width, int):
        raise FormatError(f"{where}: 'hidden_size' is missing.")
    head = PeerHead(
        layers=layers, width=width, classes=classes, bias=has_bias, activation=activation,
        dropout=dropout, of_first=kind in _OF_FIRST, choices=choices,
    )  # fmt: skip
    start, own = f"heads.{checkpoint.name}.", head.layers.state_dict()
    for key, tensor in checkpoint.tensors.items():
        inner = key.removeprefix(start)
        if inner == key or inner not in own or own[inner].shape != tensor.shape:
            raise FormatError(
                f"{checkpoint.folder}: tensor {key!r} ({list(tensor.shape)}) has no place in a "
                f"head of type {kind!r} with these options."
            )
    for key in own:
        if f"{start}{key}" not in checkpoint.tensors:
            raise FormatError(f"{checkpoint.folder}: tensor '{start}{key}' is missing.")
    tensors = {f"head/layers.{k.removeprefix(start)}": v for k, v in checkpoint.tensors.items()}
    return HeadRead(module=head, tensors=tensors, labels=_labels(labels))


@final
class PeerHead(nn.Module):
    """Layers on the first position of a row, or on each position.

    Args:
        layers: Linear maps.
        width: Channels of the hidden states.
        classes: Channels of the answer.
        bias: Whether the last map has a bias.
        activation: Between the maps; `None` for none.
        dropout: Fraction of channels zeroed before each map in training.
        of_first: Whether it answers from the first position of a row.
        choices: Rows that belong to one question, for a multiple choice.
    """

    def __init__(
        self,
        *,
        layers: int,
        width: int,
        classes: int,
        bias: bool,
        activation: str | None,
        dropout: float,
        of_first: bool,
        choices: int | None = None,
    ) -> None:
        super().__init__()
        self.of_first, self.choices = of_first, choices
        make: Callable[[], nn.Module] | None = ACTIVATIONS[activation] if activation else None
        parts: list[nn.Module] = []
        for _ in range(layers - 1):
            parts += [nn.Dropout(dropout), nn.Linear(width, width)]
            parts += [make()] if make else []
        parts += [nn.Dropout(dropout), nn.Linear(width, classes, bias=bias)]
        self.layers = nn.Sequential(*parts)

    @override
    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return logits, `(rows, classes)`, `(rows, positions, classes)` or `(questions, choices)`.

        Args:
            hidden: The last hidden state, `(rows, positions, width)`.
            mask: Not needed; every head may be given one.
        """
        logits: Tensor = self.layers(hidden[:, 0] if self.of_first else hidden)
        return logits if self.choices is None else logits.view(-1, self.choices)
