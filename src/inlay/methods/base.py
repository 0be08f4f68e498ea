"""What a method must supply; the only abstract classes of this layer."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar, final

from torch import Tensor, nn

from inlay.errors import ConfigError, did_you_mean
from inlay.ops.grouped import Slots

M = TypeVar("M", bound="AbstractMethod")

Input = Literal["x", "r", "x+r", "norm(x+r)", "norm(x+r), r", "in"]
"""What a method reads at a site: the sublayer's output `x`, the residual stream `r`, the base's
own sum of the two, that sum after the base's norm, the last beside `r` along the channels, or what
a map is given: the input of a linear map or a convolution, the indices of a table."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """What a method may know of the site it is built for: never the model."""

    width: int
    """Channels of the site's output."""
    in_width: int | None = None
    """Columns of a map's matrix: channels of a linear map's input, entries of a table, or the
    channels of a convolution's input times the size of its kernel."""
    kind: str = "ffn"
    """The site's kind."""
    sublayer: str = ""
    """At a map: the kind of sublayer that it is part of."""
    block: int | None = None
    """Number of the block, for settings that differ by block."""
    position_dims: int = 1
    """1 for a sequence, 2 for a picture whose stream keeps height and width apart."""
    causal: bool = False
    """Whether a position may only see earlier ones."""
    submodel: str = ""
    """Which of several stacks of blocks the site belongs to."""
    key_width: int | None = None
    """At an attention: channels of its keys, over all heads; for methods `in_attention`."""
    value_width: int | None = None
    """At an attention: channels of its values, over all heads; for methods `in_attention`."""
    gives_words: bool = False
    """Whether a table of output words reads what leaves this site."""
    weight: Callable[[], Tensor] | None = None
    """At a map with a weight: gives it, `(width, in_width)`, frozen and as it is in the base at
    the time; for methods that `needs_weight`."""
    apply: Callable[[Tensor, Tensor], Tensor] | None = None
    """At a table or a convolution: multiplies what it is given by a matrix `(rows, in_width)` as
    it does by its own; the result has `rows` channels, which are last."""
    fresh: bool = True
    """Whether the layer starts here; `False` if all of its weights are copied in next."""


class AbstractMethod(ABC):
    """A method's settings; subclasses are frozen dataclasses whose fields are plain values."""

    name: ClassVar[str]
    """The word for the method on the command line and in files."""

    default_at: ClassVar[str] = ""
    """Where the method goes if nothing is said."""

    def settings(self) -> dict[str, Any]:
        """Return the settings as plain data, with the method's name under `method`."""
        return {"method": self.name, **dataclasses.asdict(self)}  # type: ignore[call-overload]


class AbstractSiteMethod(AbstractMethod):
    """A method that computes a new output at each of its sites."""

    kinds: ClassVar[frozenset[str]]
    """The kinds of site where the method can act."""

    in_attention: ClassVar[bool] = False
    """Whether its layers give keys and values to an attention, instead of a new output."""

    in_front: ClassVar[bool] = False
    """Whether its layers lengthen the sequence, instead of giving a new output."""

    not_averaged: ClassVar[str] = ""
    """Why it cannot be in an `Average`, as the end of a sentence; empty if it can."""

    not_learned: ClassVar[str] = ""
    """Why it cannot be in a `Fuse` or `Route`, as the end of a sentence; empty if it can."""

    needs_weight: ClassVar[bool] = False
    """Whether its layers compute with the weight of the linear map that they are at."""

    @abstractmethod
    def build(self, place: Place) -> "AbstractLayer":
        """Make the trainable layer for one site."""

    def build_all(self, places: Mapping[str, Place]) -> "dict[str, AbstractLayer]":
        """Make the layers of one adapter; for methods whose layers know one another.

        Args:
            places: Site name -> place, in the order of a forward pass.
        """
        return {name: self.build(place) for name, place in places.items()}

    def can_merge(self) -> bool:
        """Tell whether its effect is a change of the base's weight."""
        return False

    def own_place(self) -> str:
        """Return where it goes if nothing is said."""
        return self.default_at

    def members(self) -> "tuple[AbstractSiteMethod, ...]":
        """Return the methods that it is made of: itself, but for a union."""
        return (self,)

    def member_at(self, site: str, kind: str, sublayer: str) -> "AbstractSiteMethod":
        """Return the one of `members` that acts at a site of this name, kind and sublayer."""
        return self

    def folded(
        self, layers: "Mapping[str, AbstractLayer]"
    ) -> "tuple[AbstractSiteMethod, dict[str, AbstractLayer]] | None":
        """Return a smaller method and layers that compute the same, or `None` if there are none."""
        return None


class AbstractWeightMethod(AbstractMethod):
    """A comparator: trains its own copy of some of the base's weights (ordinary fine-tuning)."""

    @abstractmethod
    def first_block(self, num_blocks: int) -> int | None:
        """Return the number of the first block whose weights are trained.

        `None` means every weight of the model, embeddings included; `num_blocks` means none.
        """

    takes_what: ClassVar[str] = "weights"
    """What `takes` selects, for messages."""

    def takes(self, owner: nn.Module, name: str) -> bool:
        """Tell whether a parameter in reach is trained; all are, if a method does not say.

        Args:
            owner: The module whose own parameter it is.
            name: Its name there.
        """
        return True


@final
@dataclass(frozen=True, slots=True)
class LowRank:
    """An update `up @ reduce(inputs) + bias`, which need not be computed to be combined."""

    reduce: Callable[[Tensor], Tensor]
    """Turns what the layer reads into `(..., rank)`."""
    up: Tensor
    """`(width, rank)`"""
    bias: Tensor | None = None
    """`(width,)`"""


@final
@dataclass(frozen=True, slots=True)
class Grouped:
    """How a layer runs in one pass with others of its kind, each on rows of its own."""

    key: Hashable
    """Layers with equal keys can run together."""
    weights: tuple[Tensor, ...]
    """What differs between them; stacked, they are the first argument of `run`."""
    run: Callable[[tuple[Tensor, ...], Slots, Tensor, Tensor], Tensor]
    """Returns the new outputs from stacked weights, slots, inputs and outputs of all rows."""


class AbstractLayer(nn.Module, ABC):
    """The trainable part of an adapter at one site."""

    reads: Input = "x"
    """What `inputs` of `forward` shall be."""

    sees_neighbours: bool = False
    """Whether a position's output depends on other positions, so that padding must be known."""

    counts_positions: ClassVar[bool] = False
    """Whether it acts at some positions only, counted from the ends of the real sequence."""

    only_reads: ClassVar[bool] = False
    """Whether it leaves its own site as it is, for another layer of its adapter."""

    undoes: ClassVar[bool] = False
    """Whether it takes back what its adapter did earlier, so that a stack runs it in reverse."""


class AbstractAttentionLayer(AbstractLayer):
    """A layer that gives an attention further keys and values."""

    counted: bool = False
    """Whether they count as positions before the text where a base weighs by distance."""

    def gates(self, states: Tensor, mask: Tensor | None) -> Tensor | None:
        """Return what keys and values are multiplied by; `None` for nothing.

        Args:
            states: What the attention is given, `(batch, positions, width)`.
            mask: The padding, as for `AbstractAdapterLayer`.

        Returns:
            `(batch, positions or 1, 1 or 2)`: for each query, or for all of a row; for both, or
            for keys and for values.
        """
        return None

    @abstractmethod
    def forward(self) -> tuple[Tensor, Tensor]:
        """Return keys and values, `(length, key_width)` and `(length, value_width)`."""


class AbstractPromptLayer(AbstractLayer):
    """A layer that puts vectors in front of the word vectors."""

    returned: bool = False
    """Whether what the model returns has the vectors' positions too."""

    @abstractmethod
    def forward(self) -> Tensor:
        """Return the vectors, `(length, width)`."""


class AbstractAdapterLayer(AbstractLayer):
    """A layer that computes a site's new output."""

    takes_turns: ClassVar[bool] = False
    """Whether it keeps something of a pass for a layer of its adapter at a later site."""

    def take_turn(self, turn: int) -> None:
        """Be told which turn of its adapter in this pass comes next; if it `takes_turns`.

        An adapter has several turns at a site where several programs of a batch, or several
        children of an average, run it. They are in the same order at all of its sites.

        Args:
            turn: Counted from 0 at each site.
        """

    def leave_out(self) -> None:
        """Be told that it is left out of this pass; if it `takes_turns`."""

    def low_rank(self) -> LowRank | None:
        """Return the update in two factors, or `None` if it has no such form now."""
        return None

    def grouped(self) -> Grouped | None:
        """Return how the layer runs together with others, or `None` if it cannot."""
        return None

    @abstractmethod
    def forward(self, inputs: Tensor, outputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the site's new output.

        Args:
            inputs: What `reads` names, `(..., positions, width)`, channels last.
            outputs: What the base computed at the site, `(..., positions, width)`.
            mask: `(batch, positions)`, true where there is no padding; only given to layers
                that `sees_neighbours` or `counts_positions`, and `None` if the model was called
                without a mask. Where a key-value cache holds earlier positions, layers that
                `counts_positions` get `(batch, earlier + positions)`.
        """


class AbstractMergeableLayer(AbstractAdapterLayer):
    """A layer at a linear map whose effect is a change of the map's weight and bias."""

    @abstractmethod
    def weight_update(self) -> Tensor:
        """Return what a merge adds to the map's weight, `(out_width, in_width)`."""

    def bias_factors(self) -> Tensor | None:
        """Return what a merge multiplies the map's bias by, `(out_width,)`; `None` for nothing."""
        return None


def add(outputs: Tensor, update: Tensor) -> Tensor:
    """Add an update to a site's output in the output's own precision."""
    return outputs + update.to(outputs.dtype)


def from_settings(cls: type[M], settings: Mapping[str, Any]) -> M:
    """Build a method from plain settings.

    Raises:
        ConfigError: If a setting is not known, or a value is not allowed.
    """
    known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in settings:
        if key not in known:
            raise ConfigError(
                f"{cls.name} has no setting {key!r}; it has {', '.join(known) or 'none'}."
                f"{did_you_mean(key, known)}"
            )
    try:
        return cls(**settings)
    except TypeError as error:
        raise ConfigError(f"{cls.name}: {error}.") from error


def check_fraction(owner: str, name: str, value: float) -> None:
    """Refuse a dropout or the like outside [0, 1).

    Raises:
        ConfigError: If the value is outside.
    """
    if not 0 <= value < 1:
        raise ConfigError(f"{owner}({name}={value!r}): {name} is a fraction in [0, 1).")


def check_at_least(owner: str, name: str, value: float, least: float) -> None:
    """Refuse a size that is too small.

    Raises:
        ConfigError: If the value is smaller than `least`.
    """
    if value < least:
        raise ConfigError(f"{owner}({name}={value!r}): {name} must be at least {least}.")


def check_choice(owner: str, name: str, value: object, choices: tuple[object, ...]) -> None:
    """Refuse a word that is none of the choices.

    Raises:
        ConfigError: If the value is not among them.
    """
    if value not in choices:
        near = did_you_mean(str(value), [str(choice) for choice in choices])
        listed = ", ".join(repr(choice) for choice in choices)
        raise ConfigError(f"{owner}({name}={value!r}): {name} is one of {listed}.{near}")
