"""Placement: which sites of a map a method is put at."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

from inlay.errors import SiteError, did_you_mean
from inlay.site_kinds import is_named
from inlay.sites.sitemap import Site, SiteMap

Layers = str | int | Sequence[int]
"""`"all"`, `"upper"`, `"upper 3/4"`, `"lower"`, numbers as in `"3-5"`, `"0, 2"`, `-1`, `[3, 4]`."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """A query for sites, as it was asked; `select` answers it.

    Args:
        at: Kinds (`"attention, ffn"`), `"linear"` for every linear map whose role in a block is
            known, kinds within a sublayer (`"cross_attention.q"`), or names of sites (`"3.ffn"`).
        layers: Which blocks; for a model with several submodels, within each of them.
        submodel: One or more submodels, comma-separated; empty for all.
    """

    at: str
    layers: str = "all"
    submodel: str = ""

    def select(self, sites: SiteMap) -> tuple[Site, ...]:
        """Return the sites that match, in the order of the map.

        Raises:
            SiteError: If any part of the query matches nothing; the message names what there is.
        """
        terms = _split(self.at)
        if not terms:
            raise SiteError(f"at={self.at!r} names no site. There are {_listing(sites)}.")
        submodels = self._submodels(sites)
        found: dict[str, Site] = {}
        for term in terms:
            matching = [s for s in sites if _matches(s, term) and s.submodel in submodels]
            if not matching:
                raise SiteError(self._nothing(term, sites))
            found |= {site.name: site for site in matching}
        chosen = self._in_layers(list(found.values()), sites)
        if not chosen:
            raise SiteError(
                f"at={self.at!r} with layers={self.layers!r} matches no site; "
                f"there are {_listing(sites)}."
            )
        order = {site.name: index for index, site in enumerate(sites)}
        return tuple(sorted(chosen, key=lambda site: order[site.name]))

    def _submodels(self, sites: SiteMap) -> tuple[str, ...]:
        wanted = _split(self.submodel)
        for name in wanted:
            if name not in sites.submodels():
                there = ", ".join(repr(s) for s in sites.submodels() if s)
                raise SiteError(
                    f"submodel={name!r}: this model has "
                    f"{there or 'one stack of blocks and no submodels; leave submodel out'}."
                )
        return wanted or sites.submodels()

    def _in_layers(self, found: list[Site], sites: SiteMap) -> list[Site]:
        if self.layers == "all":
            return found
        ends = [site for site in found if site.block is None]
        if ends:
            raise SiteError(
                f"layers={self.layers!r} has no effect on {ends[0].name!r}, which is in no block; "
                "leave layers out, or add two adapters."
            )
        numbers = {
            submodel: blocks_named(self.layers, sites.num_blocks(submodel))
            for submodel in dict.fromkeys(site.submodel for site in found)
        }
        return [site for site in found if site.block in numbers[site.submodel]]

    def _nothing(self, term: str, sites: SiteMap) -> str:
        if term in ("q", "k", "v") and "qkv" in sites.kinds():
            return f"at={term!r}: in this model q, k and v are one fused map. Use at='qkv'."
        if term in ("up", "gate") and "gate_up" in sites.kinds():
            return f"at={term!r}: in this model gate and up are one fused map. Use at='gate_up'."
        where = f" in submodel {self.submodel!r}" if self.submodel else ""
        known = [*sites.kinds(), "linear"]
        return (
            f"at={term!r} matches no site{where}; there are {_listing(sites)}."
            f"{did_you_mean(term, known)}"
        )


def make_placement(
    at: str | Iterable[str], layers: Layers = "all", submodel: str | None = None
) -> Placement:
    """Build a placement from what a user wrote: lists and numbers as well as text."""
    if not isinstance(at, str):
        at = ", ".join(at)
    if isinstance(layers, int):
        layers = str(layers)
    elif not isinstance(layers, str):
        layers = ", ".join(str(number) for number in layers)
    return Placement(at=at, layers=layers.strip(), submodel=submodel or "")


def blocks_named(layers: str, num_blocks: int) -> frozenset[int]:
    """Return the blocks that a text names.

    Args:
        layers: `all`, `upper`, `lower`, a part of them (`upper 3/4`, `lower 1/4`), or numbers and
            ranges: `3-5`, `0, 2`, `-1`. Without a part, it is the half.
        num_blocks: Blocks there are; what is upper has the larger part where none is equal.

    Raises:
        SiteError: If the text cannot be read, or a block does not exist.

    Example:
        >>> sorted(blocks_named("upper", 5)), sorted(blocks_named("0, -2--1", 6))
        ([2, 3, 4], [0, 4, 5])
        >>> sorted(blocks_named("upper 1/4", 12))
        [9, 10, 11]
    """
    if layers == "all":
        return frozenset(range(num_blocks))
    part_of = re.fullmatch(r"(upper|lower)(?:\s+(\d+)/(\d+))?", layers)
    if part_of is not None:
        return _part(layers, part_of, num_blocks)
    numbers: set[int] = set()
    for part in _split(layers):
        match = re.fullmatch(r"(-?\d+)(?:\s*-\s*(-?\d+))?", part)
        if match is None:
            raise SiteError(
                f"layers={layers!r}: {part!r} is not understood; write all, upper, lower, "
                "a part such as 'upper 3/4', numbers or ranges such as '3-5'."
            )
        ends = [int(text) for text in match.groups() if text is not None]
        for number in ends:
            if not -num_blocks <= number < num_blocks:
                raise SiteError(
                    f"layers={layers!r}: there is no block {number}; "
                    f"blocks are numbered 0 to {num_blocks - 1}."
                )
        first, last = (number % num_blocks for number in (ends[0], ends[-1]))
        if first > last:
            raise SiteError(f"layers={layers!r}: the range {part!r} is empty.")
        numbers |= set(range(first, last + 1))
    if not numbers:
        raise SiteError(f"layers={layers!r} names no block.")
    return frozenset(numbers)


def _part(layers: str, match: re.Match[str], num_blocks: int) -> frozenset[int]:
    """Return the upper or lower blocks, as many as a fraction says."""
    share, of = (int(text) for text in (match[2] or "1", match[3] or "2"))
    if not 0 < share <= of:
        raise SiteError(f"layers={layers!r}: the part must be more than 0 and at most 1.")
    if match[1] == "lower":
        return frozenset(range(num_blocks * share // of))
    return frozenset(range(num_blocks * (of - share) // of, num_blocks))


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _matches(site: Site, term: str) -> bool:
    return is_named(term, site=site.name, kind=site.kind, sublayer=site.sublayer)


def _listing(sites: SiteMap) -> str:
    kinds = ", ".join(repr(kind) for kind in sites.kinds())
    blocks = ", ".join(
        f"{sites.num_blocks(name)} blocks" + (f" in {name!r}" if name else "")
        for name in sites.submodels()
    )
    return f"{kinds} ({blocks})"
