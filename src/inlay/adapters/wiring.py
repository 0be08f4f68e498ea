"""Put hooks where the adapters that a model has need them, and nowhere else."""

from typing import final

from torch import nn

from inlay.adapters.entry import Entry
from inlay.adapters.places import Places
from inlay.sites.attention import attention_place
from inlay.sites.hooks import SiteHooks
from inlay.sites.look_ups import table_places
from inlay.sites.prompts import prompt_place
from inlay.sites.sitemap import SiteMap


@final
class Wiring:
    """Puts hooks exactly where adapters are.

    Args:
        model: The base.
        sites: Its site map.
        hooks: The hooks on it.
    """

    def __init__(self, model: nn.Module, sites: SiteMap, hooks: SiteHooks) -> None:
        self._model, self._sites, self._hooks = [model], sites, hooks
        self.places = Places()

    def change(self, entry: Entry, by: int, *, heads: bool = True) -> None:
        """Count an adapter in or out, and move hooks if a place came or went.

        Args:
            entry: The adapter.
            by: 1 or -1.
            heads: Whether its heads come or go with it; a merged adapter keeps them.
        """
        if not self.places.change(entry, by, heads=heads):
            return
        model, sites, places = self._model[0], self._sites, self.places
        self._hooks.install(
            [site for site in sites if site.name in places.sites],
            streams=frozenset(places.streams),
            heads=sorted(places.heads),
            calls=any((places.sites, places.heads, places.attentions, places.prompts)),
            blocks=[s.module for s in sites if s.kind == "block"] if places.padding else (),
            attentions={
                name: attention_place(sites[name], sites, model).module
                for name in places.attentions
            },
            tables=table_places(sites, places.sites),
            numbering=next(iter(places.numberings), None),
            prompts=[
                prompt_place(sites[name], sites, model, is_cut=False) for name in places.prompts
            ],
        )
