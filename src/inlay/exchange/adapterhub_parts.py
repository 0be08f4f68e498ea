"""What a checkpoint becomes: a method, the sites it is put at, and its tensors by our names."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from torch import Tensor, nn

from inlay.errors import FormatError
from inlay.exchange.adapterhub_files import Checkpoint
from inlay.exchange.adapterhub_names import Finder, TensorName, taken_apart
from inlay.methods.base import AbstractSiteMethod
from inlay.methods.union import Part as UnionPart
from inlay.methods.union import Union
from inlay.sites.sitemap import Site, SiteMap

GATE_NOTE = (
    "gates are averaged over all positions, padding and later ones too, as in AdapterHub; in the "
    "paper over the words of a sequence"
)
"""What a user should know of gates that were learned so."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One method of an adapter."""

    method: AbstractSiteMethod
    sites: tuple[str, ...]
    tensors: dict[str, Tensor]
    """Our name of a tensor, as in `Entry.tensors`, -> what it shall be."""
    notes: tuple[str, ...] = ()
    """What a user should know of how the peer differs."""


@final
@dataclass(slots=True)
class Source:
    """A checkpoint while it is read, and the model it is read for."""

    checkpoint: Checkpoint
    model: nn.Module
    sites: SiteMap
    finder: Finder
    names: list[TensorName]
    used: set[str] = field(default_factory=set)
    """Keys of tensors that have found their place."""

    @property
    def where(self) -> str:
        """The folder, for messages."""
        return str(self.checkpoint.folder)

    def under(self, *markers: str) -> list[TensorName]:
        """Return the names under these markers."""
        return [name for name in self.names if name.marker in markers]

    def take(self, key: str) -> Tensor:
        """Return a tensor and take note that it has its place."""
        self.used.add(key)
        return self.checkpoint.tensors[key]

    def check_all_used(self) -> None:
        """Refuse a tensor that has no place.

        Raises:
            FormatError: If one is left.
        """
        for name in self.names:
            if name.key not in self.used:
                raise FormatError(
                    f"{self.where}: tensor {name.key!r} has no place in an adapter with these "
                    "options; the config and the weights do not fit each other."
                )


def source_of(checkpoint: Checkpoint, model: nn.Module, sites: SiteMap) -> Source:
    """Take a checkpoint's names apart for one model.

    Raises:
        FormatError: If a tensor belongs to no adapter, or to another one.
    """
    names = taken_apart(checkpoint.folder, checkpoint.tensors, checkpoint.name)
    return Source(checkpoint, model, sites, Finder(model, sites), names)


@final
class Tails:
    """The tensors of one place by their tails; each is taken once.

    Args:
        source: The checkpoint.
        owner: Path of the place, with marker and name, for messages.
        keys: Tail -> key.
    """

    def __init__(self, source: Source, owner: str, keys: Mapping[str, str]) -> None:
        self.source, self.owner, self.keys = source, owner, keys

    def __contains__(self, tail: str) -> bool:
        """Tell whether there is such a tensor."""
        return tail in self.keys

    def take(self, tail: str, *shape: int | None) -> Tensor:
        """Return a tensor.

        Args:
            tail: Its name behind the adapter's.
            shape: What it must be; `None` for any size. Without, any shape.

        Raises:
            FormatError: If it is missing or of another shape.
        """
        if tail not in self.keys:
            raise FormatError(
                f"{self.source.where}: tensor '{self.owner}.{tail}' is missing; the file is "
                "incomplete."
            )
        tensor = self.source.take(self.keys[tail])
        fits = len(shape) == tensor.ndim and all(
            want in (None, size) for want, size in zip(shape, tensor.shape, strict=True)
        )
        if shape and not fits:
            wanted = " x ".join("any" if size is None else str(size) for size in shape)
            raise FormatError(
                f"{self.source.where}: tensor {self.keys[tail]!r} is "
                f"{' x '.join(map(str, tensor.shape)) or 'a number'}, but here it must be "
                f"{wanted}."
            )
        return tensor


def by_place(source: Source, placed: Iterable[tuple[Site, TensorName]]) -> dict[str, Tails]:
    """Group tensors by site, in the order of the sites.

    Raises:
        FormatError: If two tensors are for one place.
    """
    keys: dict[str, dict[str, str]] = {}
    owners: dict[str, str] = {}
    for site, name in placed:
        own = keys.setdefault(site.name, {})
        if name.tail in own:
            raise FormatError(
                f"{source.where}: tensors {own[name.tail]!r} and {name.key!r} are for one place, "
                f"{site.name!r}."
            )
        own[name.tail] = name.key
        owners[site.name] = f"{name.owner}.{name.marker}.{source.checkpoint.name}".lstrip(".")
    return {
        site.name: Tails(source, owners[site.name], keys[site.name])
        for site in source.sites
        if site.name in keys
    }


def gate_weights(tails: Tails, width: int, number: int = 1) -> dict[str, Tensor]:
    """Return the tensors of a gate by our names.

    Args:
        tails: The tensors of its place.
        width: Channels of what it reads.
        number: Gates side by side.

    Raises:
        FormatError: If one is missing or of another shape.
    """
    return {
        "gate.linear.weight": tails.take("gate.weight", number, width),
        "gate.linear.bias": tails.take("gate.bias", number),
    }


def check_blocks(
    source: Source, expected: Iterable[Site], found: Iterable[str], leave_out: Any
) -> None:
    """Refuse a file that lacks a place at which the config says there is an adapter.

    Blocks that the peer was told to leave out are counted: it numbers the blocks of several
    submodels on from one another, in an order of its own.

    Raises:
        FormatError: With the first place that is missing.
    """
    if not isinstance(leave_out, list) or not all(isinstance(n, int) for n in leave_out):
        raise FormatError(f"{source.where}: option leave_out={leave_out!r} is no list of numbers.")
    there, wanted = set(found), list(expected)
    missing = [site for site in wanted if site.name not in there]
    blocks = {(site.submodel, site.block) for site in missing}
    several = len(source.sites.submodels()) > 1
    partly = {(s.submodel, s.block) for s in wanted if s.name in there} & blocks
    for site in missing:
        is_left_out = several or site.block in leave_out
        if (site.submodel, site.block) in partly or not is_left_out or len(blocks) > len(leave_out):
            raise FormatError(
                f"{source.where}: there are no tensors for {site.name!r}, where the config says "
                f"there is an adapter (leave_out={leave_out}); the file is incomplete, or of "
                "another model."
            )


def joined(parts: list[Part], sites: SiteMap) -> list[Part]:
    """Make one part of several, whose method is their union, if no two are at one site."""
    names = [name for part in parts for name in part.sites]
    if len(parts) < 2 or len(set(names)) < len(names):
        return parts
    kinds = {name: sites[name].kind for name in names}
    union = Union(
        parts=tuple(UnionPart(method=part.method, at=_at(part.sites, kinds)) for part in parts)
    )
    tensors = {key: tensor for part in parts for key, tensor in part.tensors.items()}
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    return [Part(method=union, sites=tuple(names), tensors=tensors, notes=notes)]


def _at(own: tuple[str, ...], kinds: Mapping[str, str]) -> str:
    """Say which of several sites are meant: by their kinds if these are of no others."""
    words = dict.fromkeys(kinds[name] for name in own)
    others = {kind for name, kind in kinds.items() if name not in own}
    return ", ".join(own if others & set(words) else words)
