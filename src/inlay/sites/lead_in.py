"""What the first changed block computes before anything is changed there, so that it can be kept.

An adapter after the attention leaves the attention as it is. Where the update of a sublayer is
kept, the maps that make it need not run; the residual stream, the norms and all else do.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import final

from inlay.sites.sitemap import Site


@final
@dataclass(frozen=True, slots=True)
class Sublayer:
    """One of a block whose update nothing has a part in, as paths of modules."""

    kept: str
    """What gives the update; its output is kept."""
    maps: tuple[str, ...]
    """The linear maps and convolutions that need not run then."""
    around: tuple[str, ...]
    """Larger modules around some of these, which need not run either."""

    @property
    def modules(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(dict.fromkeys((*self.around, *self.maps, self.kept)))

    @property
    def outermost(self) -> tuple[str, ...]:
        """Those that are in no other one; together they give the update."""
        return tuple(
            path for path in self.modules
            if not any(holds(other, path) for other in self.modules if other != path)
        )  # fmt: skip


def lead_in(
    block: Sequence[Site], acting: Collection[str], within: Collection[str]
) -> tuple[Sublayer, ...]:
    """Find the sublayers of a block in front of the first adapter, in the order in which they run.

    Args:
        block: The sites of the block, in the order of a forward pass.
        acting: Names of the sites at which anything acts or reads.
        within: Those of them where the sublayer itself computes something else, as with prefixes.
    """
    residual = [site for site in block if site.is_residual]
    found: list[Sublayer] = []
    if not all(map(_is_plain, block)):
        return ()
    for site in residual:
        own = [s for s in block if s.is_map and _is_part(s, site, residual)]
        if not own or site.name in within or any(s.name in acting for s in own):
            break
        rest = {s.module for s in block if s.kind != "block" and s not in own and s is not site}
        rest |= {path for s in residual for path in (s.norm_module, s.stream_module) if path}
        rest -= {site.module}
        if any(holds(site.module, path) for path in rest):
            break
        maps = {s.module: _around(s.module, {*rest, site.module}) for s in own}
        alone = [s for s in own if maps[s.module] == s.module and not holds(site.module, s.module)]
        if any(s.kind == "kernel" for s in alone):
            break  # its positions are not those of what it is given
        found.append(Sublayer(site.module, tuple(maps), tuple(set(maps.values()) - set(maps))))
        if site.name in acting:
            break
    return tuple(found)


def _is_plain(site: Site) -> bool:
    """Tell whether a site is one of those that are told apart here, in a form that can be kept."""
    is_known = site.is_residual or site.is_map or site.kind == "block"
    is_once = site.calls == 1 and not site.takes_turns
    return is_known and is_once and site.point == "out" and site.shape_module is None


def _is_part(site: Site, sublayer: Site, residual: Sequence[Site]) -> bool:
    """Tell whether a map is of a sublayer; of two of one kind in a block nothing tells which."""
    same = [other for other in residual if other.kind == sublayer.kind]
    return len(same) == 1 and site.sublayer == sublayer.kind


def _around(path: str, needed: Collection[str]) -> str:
    """Return the largest module around a map that holds nothing that is needed."""
    while "." in path and not any(holds(path.rpartition(".")[0], one) for one in needed):
        path = path.rpartition(".")[0]
    return path


def holds(outer: str, inner: str) -> bool:
    """Tell whether a module is another, or around it, by their paths."""
    return inner == outer or inner.startswith(f"{outer}.")
