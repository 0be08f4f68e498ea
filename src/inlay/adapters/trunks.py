"""Which of the base's blocks adapters leave as they are."""

from collections.abc import Collection

from inlay.adapters.entry import Entry
from inlay.methods.base import AbstractAdapterLayer
from inlay.sites.replay import Trunk, trunks
from inlay.sites.sitemap import SiteMap


def trunks_below(entries: Collection[Entry], sites: SiteMap) -> list[Trunk]:
    """Return the blocks below the first that one of the adapters changes; reading is no change.

    Where an adapter numbers words otherwise, all blocks see that, which is not looked at here.

    Args:
        entries: The adapters, which run together.
        sites: The base's sites.
    """
    if any(entry.weights for entry in entries):
        return []
    layers = [(site, layer) for entry in entries for site, layer in entry.layers.items()]
    acting = {site for site, layer in layers if not layer.only_reads}
    reading = {site for site, layer in layers if layer.only_reads}
    within = {site for site, layer in layers if not isinstance(layer, AbstractAdapterLayer)}
    return trunks(sites, acting, reading - acting, within)
