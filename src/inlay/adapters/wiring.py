"""Say where hooks must be for the adapters that a model has."""

from collections.abc import Sequence
from typing import final

from torch import nn

from inlay.adapters.entry import Entry, needs_calls, reads_stream
from inlay.methods.base import AbstractAdapterLayer, AbstractAttentionLayer, AbstractPromptLayer
from inlay.sites.attention import attention_place
from inlay.sites.hooks import SiteHooks
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

    def install(self, entries: Sequence[Entry], merged: str | None, *, watch: bool) -> None:
        """Hook what these adapters need, and nothing else.

        Args:
            entries: All adapters on the model.
            merged: The one that is merged into the base, and so needs no hook.
            watch: Whether each forward pass must be known in any case.
        """
        model, sites = self._model[0], self._sites
        acting = [
            (sites[site], layer)
            for entry in entries
            if entry.name != merged
            for site, layer in entry.layers.items()
        ]
        used = {site.name for site, layer in acting if isinstance(layer, AbstractAdapterLayer)}
        watched = watch or any(needs_calls(layer) for _, layer in acting)
        prompts = {
            site.name: prompt_place(site, sites, model)
            for site, layer in acting
            if isinstance(layer, AbstractPromptLayer)
        }
        self._hooks.install(
            [site for site in sites if site.name in used],
            streams=frozenset(site.name for site, layer in acting if reads_stream(layer)),
            heads=sorted({path for entry in entries for path in entry.own_heads}),
            calls=[site.module for site in sites if site.kind == "block"] if watched else None,
            attentions={
                site.name: attention_place(site, sites, model).module
                for site, layer in acting
                if isinstance(layer, AbstractAttentionLayer)
            },
            prompts=list(prompts.values()),
        )
