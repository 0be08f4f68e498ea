"""Which of the base's blocks compute the same below adapters."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence

from inlay.adapters.entry import Entry, needs_calls
from inlay.compose.nodes import AbstractNode, names_in
from inlay.compose.plan import Program, combiners_in
from inlay.compose.stack import Stack
from inlay.methods.base import AbstractAdapterLayer, AbstractLayer
from inlay.sites.replay import Trunk, trunks
from inlay.sites.sitemap import SiteMap


def trunks_below(
    entries: Collection[Entry], sites: SiteMap, alike: Collection[str] = ()
) -> list[Trunk]:
    """Return the blocks below the first that one of the adapters changes; reading is no change.

    Where an adapter numbers words otherwise, all blocks see that, which is not looked at here.

    Args:
        entries: The adapters, which run together.
        sites: The base's sites.
        alike: Names of sites where a change does not count.
    """
    if any(entry.weights for entry in entries):
        return []
    layers = [(site, layer) for entry in entries for site, layer in entry.layers.items()]
    at_ends = {site.name for site in sites if site.kind in ("embedding", "block")}
    read = {s for s, layer in layers if layer.only_reads and s in at_ends} | {*alike}
    acting = {s for s, layer in layers if s not in alike and not (layer.only_reads and s in read)}
    within = {site for site, layer in layers if not isinstance(layer, AbstractAdapterLayer)}
    return trunks(sites, acting, read - acting, within)


def trunks_of_copies(
    programs: Sequence[Program],
    entry: Callable[[str], Entry],
    sites: SiteMap,
    drops: Callable[[str, bool], bool],
) -> list[Trunk]:
    """Return the blocks that compute the same for all copies of a batch.

    Adapters may act in them, as long as they are the same ones for every copy.

    Args:
        programs: What the copies run through.
        entry: Gives the adapter of a name.
        sites: The base's sites.
        drops: Tells whether what acts at a site is left out, if it is in training mode or not.
    """
    entries = {name: entry(name) for program in programs for name in names_in(program)}
    alike = {
        site
        for site in {site for one in entries.values() for site in one.layers}
        if _is_alike(programs, {n: x for n, one in entries.items() if (x := one.layer_at(site))},
                     is_dropped=drops(site, False))
    }  # fmt: skip
    return trunks_below(list(entries.values()), sites, alike)


def _is_alike(
    programs: Sequence[Program], layers: Mapping[str, AbstractLayer], *, is_dropped: bool
) -> bool:
    """Tell whether a site's layers do the same for every program, whatever rows they are given."""
    if any(layer.training or not _is_plain(layer) for layer in layers.values()):
        return False
    if is_dropped:
        return True
    learned = {name for p in programs for node in combiners_in(p) for name in names_in(node)}
    # What weighs them may look at other positions, and is told of.
    is_weighed = any(name in layers for name in learned)
    return not is_weighed and len({_acting_in(program, layers) for program in programs}) == 1


def _is_plain(layer: AbstractLayer) -> bool:
    """Tell whether a layer needs nothing but what the module that it acts on has."""
    is_adapter = isinstance(layer, AbstractAdapterLayer) and not layer.takes_turns
    return is_adapter and not layer.only_reads and not needs_calls(layer)


def _acting_in(program: Program, layers: Mapping[str, AbstractLayer]) -> Hashable:
    """Return what of a program acts at a site with these layers, by value."""
    if not isinstance(program, AbstractNode):
        return program if program in layers else None
    if isinstance(program, Stack):
        own = (_acting_in(child, layers) for child in program.children)
        acting = tuple(one for one in own if one is not None)
        return acting[0] if len(acting) == 1 else acting or None
    return program if any(name in layers for name in names_in(program)) else None
