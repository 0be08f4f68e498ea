"""`Site` and `SiteMap`: plain data that says where in a model an adapter can act."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, final

from inlay.errors import FormatError, SiteError, did_you_mean
from inlay.site_kinds import KINDS, LINEAR_KINDS, RESIDUAL_KINDS

NormPlacement = Literal["pre", "post", "sandwich", "res-post", "none"]
"""Norm on the sublayer's input, on the sum, on input and output, on the output only, or nowhere."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """One place of a model where an adapter can act.

    At a residual site the base computes `r + scale * x`, with `x` the module's output and `r` the
    residual stream. At a linear site `x` is the map's output. At the two ends `x` is the word
    vectors, the stream as it enters the first block, or the last hidden state.
    """

    name: str
    """Unique in the map and the same for every task class of a base: `3.ffn`, `decoder.0.o`."""
    kind: str
    """One of `KINDS`."""
    module: str
    """Dotted path of the module at whose output (or input, see `point`) an adapter acts."""
    width: int
    """Channels of `x`."""
    point: Literal["out", "in"] = "out"
    """Whether `x` is the module's output or its input."""
    sublayer: str = ""
    """For a linear map or a convolution: the kind of sublayer it is part of."""
    submodel: str = ""
    """Which of several stacks of blocks: `encoder`, `decoder`, `vision_model`; empty for one."""
    block: int | None = None
    """Number of the block in its submodel, from 0; `None` at the two ends."""
    scale: float = 1.0
    """What the base multiplies `x` by before adding it to the stream."""
    norm: NormPlacement = "none"
    """Where the base puts a norm around this sublayer."""
    norm_module: str | None = None
    """Path of the norm that is applied to the sum (`norm == "post"`)."""
    stream_module: str | None = None
    """Path of the module at which the residual stream `r` can be read."""
    stream_point: Literal["out", "in"] = "in"
    """Whether `r` is that module's input or its output."""
    shape_module: str | None = None
    """Where `x` comes without a batch dimension, all positions in one: path of the module whose
    input still has its shape."""
    channel_dim: int = -1
    """Dimension of the channels: -1, or 1 where the stream is channels-first."""
    in_width: int | None = None
    """For a linear map: channels of its input; for a convolution, times the kernel's size."""
    causal: bool = False
    """Whether positions of this block see earlier positions only."""
    takes_turns: bool = False
    """Whether its module gives the update of another sublayer of the block too, each in its turn:
    it is this site's when the stream of this site was the last to be seen."""
    calls: int = 1
    """How often one forward pass runs this place (more than 1 for a block shared by depth)."""

    def __post_init__(self) -> None:
        """Check the fields that a person writing a map by hand can get wrong."""
        if self.kind not in KINDS:
            raise SiteError(
                f"Site({self.name!r}): unknown kind {self.kind!r}; kinds are {', '.join(KINDS)}."
                f"{did_you_mean(self.kind, KINDS)}"
            )
        if self.width < 1:
            raise SiteError(f"Site({self.name!r}): width is {self.width}; it must be at least 1.")

    @property
    def is_linear(self) -> bool:
        """Whether this site is a linear map (methods such as LoRA act here)."""
        return self.kind in LINEAR_KINDS

    @property
    def is_map(self) -> bool:
        """Whether this site is a linear map or a convolution."""
        return self.is_linear or self.kind == "kernel"

    @property
    def is_residual(self) -> bool:
        """Whether the output of this site is added to the residual stream."""
        return self.kind in RESIDUAL_KINDS


@final
@dataclass(frozen=True, slots=True)
class SiteMap:
    """The sites of a model, in the order in which a forward pass meets them.

    Args:
        sites: The places; a name may occur once.
        unexplained: Paths of blocks whose output is not a sum that was found, so that sites may
            be missing there.

    Example:
        >>> site = Site(name="0.ffn", kind="ffn", module="layers.0.mlp", width=32, block=0)
        >>> SiteMap((site,)).kinds()
        ('ffn',)
    """

    sites: tuple[Site, ...]
    unexplained: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Refuse two sites with one name."""
        seen: set[str] = set()
        for site in self.sites:
            if site.name in seen:
                raise SiteError(f"SiteMap: two sites are called {site.name!r}; names are unique.")
            seen.add(site.name)

    def __iter__(self) -> Iterator[Site]:
        """Iterate over the sites."""
        return iter(self.sites)

    def __len__(self) -> int:
        """Count the sites."""
        return len(self.sites)

    def __getitem__(self, name: str) -> Site:
        """Return the site of this name.

        Raises:
            SiteError: If there is none.
        """
        for site in self.sites:
            if site.name == name:
                return site
        known = [site.name for site in self.sites]
        raise SiteError(f"no site {name!r} on this model.{did_you_mean(name, known)}")

    def kinds(self) -> tuple[str, ...]:
        """List the kinds that occur, in the order of `KINDS`."""
        present = {site.kind for site in self.sites}
        return tuple(kind for kind in KINDS if kind in present)

    def submodels(self) -> tuple[str, ...]:
        """List the submodels, in the order in which they run; `("",)` if there is one."""
        return tuple(dict.fromkeys(site.submodel for site in self.sites))

    def num_blocks(self, submodel: str) -> int:
        """Count the blocks of a submodel."""
        blocks = [s.block for s in self.sites if s.submodel == submodel and s.block is not None]
        return max(blocks, default=-1) + 1

    def digest(self) -> str:
        """Return a hash of what matters to an adapter's file: names, kinds, widths and scales."""
        rows = [(s.name, s.kind, s.width, s.in_width, s.scale, s.norm) for s in self.sites]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]

    def to_json(self) -> list[dict[str, Any]]:
        """Return the map as plain data; `from_json` is the way back."""
        return [dataclasses.asdict(site) for site in self.sites]


def sitemap_from_json(rows: Iterable[dict[str, Any]]) -> SiteMap:
    """Build a map from what `SiteMap.to_json` gave, or from rows written by hand.

    Raises:
        FormatError: If a row has an unknown or a missing field.
    """
    known = [f.name for f in dataclasses.fields(Site)]
    sites = []
    for number, row in enumerate(rows):
        for key in row:
            if key not in known:
                raise FormatError(
                    f"site {number}: unknown field {key!r}; fields are {', '.join(known)}."
                    f"{did_you_mean(key, known)}"
                )
        try:
            sites.append(Site(**row))
        except TypeError as error:
            raise FormatError(f"site {number}: {error}.") from error
    return SiteMap(tuple(sites))
