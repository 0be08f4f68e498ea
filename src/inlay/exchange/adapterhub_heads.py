"""Read the heads that AdapterHub saves beside adapters: a task class's own, or layers by config."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from inlay.adapters.bank import Adapters
from inlay.errors import FormatError, did_you_mean
from inlay.exchange.adapterhub_config import Config
from inlay.exchange.adapterhub_files import HEAD, Checkpoint
from inlay.methods.activation import ACTIVATIONS

Position = Literal["first", "last", "each"]

_OF_ROW = ("classification", "multilabel_classification", "image_classification",
             "multiple_choice")  # fmt: skip
"""Types of head that answer for a row, from one position."""

_OF_EACH = ("tagging", "question_answering")
"""Types of head that answer for each position."""

_OF_LAST = frozenset({"gpt2", "gptj", "llama", "mistral"})
"""Types of model whose rows are answered for from the last word, and not from the first."""

_POOLED = frozenset({"beit"})
"""Types of model whose rows are answered for from what the base has pooled."""

_SCALED = frozenset({"t5", "mt5"})
"""Types of model whose last state is scaled for the head if their words are tied."""

_LAST = (
    "the head reads, as in AdapterHub, the position before the number of words in a row, which is "
    "the last word only where padding is on the right"
)


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
    return _made_head(checkpoint, model, adapters)


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


def _made_head(checkpoint: Checkpoint, model: nn.Module, adapters: Adapters) -> HeadRead:
    """Build a head from its config and read its weights."""
    where = str(checkpoint.folder / HEAD.config)
    if not isinstance(checkpoint.facts["config"], dict):
        raise FormatError(f"{where}: 'config' is {checkpoint.facts['config']!r}, not settings.")
    config = Config(where, checkpoint.facts["config"])
    kind = config.take("head_type")
    known = (*_OF_ROW, *_OF_EACH)
    if kind not in known:
        raise FormatError(
            f"{where}: heads of type {kind!r} are not supported ({', '.join(known)} are); pass "
            f"without_head=True.{did_you_mean(str(kind), known)}"
        )
    if kind in _OF_ROW and "decoder" in adapters.sites.submodels():
        raise FormatError(
            f"{where}: a head of type {kind!r} reads the last <eos> of a pair of stacks, which is "
            "not supported; pass without_head=True."
        )
    family = checkpoint.facts.get("model_type")
    if config.take("use_pooler", default=False) or (kind in _OF_ROW and family in _POOLED):
        raise FormatError(
            f"{where}: a head that reads what the base has pooled (use_pooler=True, or any of "
            f"{', '.join(_POOLED)}) is not supported; pass without_head=True."
        )
    layers, has_bias = int(config.number("layers")), config.take("bias", default=True)
    has_activation = config.values.get("activation_function") is not None
    activation = config.activation("activation_function") if has_activation else None
    config.ignore("activation_function")
    if kind == "image_classification":
        config.ignore("multilabel")  # which loss it was trained with
    choices = int(config.number("num_choices")) if kind == "multiple_choice" else None
    labels = config.take("label2id", None)
    dropout = config.take("dropout_prob", None) or 0.0
    classes = 1 if choices else int(config.number("num_labels"))
    config.done()
    width = checkpoint.facts.get("hidden_size")
    if not isinstance(width, int):
        raise FormatError(f"{where}: 'hidden_size' is missing.")
    position: Position = "each"
    if kind in _OF_ROW:
        position = "last" if family in _OF_LAST else "first"
    is_tied = getattr(getattr(model, "config", None), "tie_word_embeddings", False)
    head = PeerHead(
        layers=layers, width=width, classes=classes, bias=has_bias, activation=activation,
        dropout=dropout, position=position, choices=choices,
        scale=width**-0.5 if family in _SCALED and is_tied else 1.0,
    )  # fmt: skip
    notes = (_LAST,) if position == "last" else ()
    return HeadRead(
        module=head, tensors=_weights(checkpoint, head, kind), labels=_labels(labels), notes=notes
    )


def _weights(checkpoint: Checkpoint, head: "PeerHead", kind: str) -> dict[str, Tensor]:
    """Return the weights of a head by our names.

    Raises:
        FormatError: If one is missing or has no place.
    """
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
    return {f"head/layers.{k.removeprefix(start)}": v for k, v in checkpoint.tensors.items()}


@final
class PeerHead(nn.Module):
    """Layers on one position of a row, or on each position.

    Args:
        layers: Linear maps.
        width: Channels of the hidden states.
        classes: Channels of the answer.
        bias: Whether the last map has a bias.
        activation: Between the maps; `None` for none.
        dropout: Fraction of channels zeroed before each map in training.
        position: Which position of a row it answers from.
        choices: Rows that belong to one question, for a multiple choice.
        scale: Multiplies the hidden states.
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
        position: Position,
        choices: int | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.position, self.choices, self.scale = position, choices, scale
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
            mask: `(rows, positions)`, 0 at padding; without, there is none.
        """
        if self.position == "first":
            hidden = hidden[:, 0]
        elif self.position == "last":
            rows = torch.arange(len(hidden), device=hidden.device)
            hidden = hidden[:, -1] if mask is None else hidden[rows, (mask != 0).sum(1) - 1]
        logits: Tensor = self.layers(hidden * self.scale)
        return logits if self.choices is None else logits.view(-1, self.choices)
