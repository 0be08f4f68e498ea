"""One adapter on a model: its method, its placement, and its trained weights."""

import dataclasses
from collections.abc import Mapping
from typing import Any, cast, final

import torch
from torch import nn

from inlay.compose.fuse import Fuse
from inlay.compose.route import Route
from inlay.errors import ConfigError, SiteError
from inlay.methods.base import (
    AbstractLayer,
    AbstractMethod,
    AbstractSiteMethod,
    Place,
)
from inlay.methods.combining import AbstractCombineMethod, AbstractCombiner
from inlay.sites.attention import attention_place
from inlay.sites.maps import base_map
from inlay.sites.placement import Placement
from inlay.sites.positions import Numbering
from inlay.sites.prompts import prompt_place
from inlay.sites.sitemap import Site, SiteMap


@final
class Entry(nn.Module):
    """An adapter: layers at sites, or copies of base weights, and its heads.

    Attributes:
        name: The adapter's name.
        method: Its settings.
        placement: The query it was placed with; `None` for a comparator and learned combinations.
        combines: The `Fuse` or `Route` whose learned weights these are; `None` for an adapter.
        layers: Site name -> layer, in the order of the sites.
        combiners: Site name -> learned combination, in the order of the sites.
        weights: Path of a base parameter -> the trained copy: a comparator's, or those given by
            `add_copies`; empty else.
        head: The head that a task gave, or `None`.
        own_heads: Path of a head module of the model -> the adapter's copy of it.
        blend: What it was made of, if `inlay.blend` made it; kept in the card of the saved adapter.
        imported: Where it is from and what to know of it, if another library wrote it; the same.
        numbering: How the base numbers words, for a method that moves them, or puts vectors in
            front of words by which the base tells padding.
        stack_on: The adapter that runs below this one wherever this one is named; `None` if none.
    """

    def __init__(
        self,
        *,
        name: str,
        method: AbstractMethod,
        placement: Placement | None,
        layers: Mapping[str, AbstractLayer],
        weights: Mapping[str, nn.Parameter],
        head: nn.Module | None,
        own_heads: Mapping[str, nn.Module],
        combines: Fuse | Route | None = None,
        combiners: Mapping[str, AbstractCombiner] | None = None,
        numbering: Numbering | None = None,
    ) -> None:
        super().__init__()
        self.numbering = numbering
        self.name = name
        self.method = method
        self.placement = placement
        self.blend: dict[str, Any] | None = None
        self.imported: dict[str, Any] | None = None
        self.stack_on: str | None = None
        # Names may hold dots, which a module's name may not: keep the names beside the modules.
        self._sites = tuple(layers)
        self._index = {site: index for index, site in enumerate(self._sites)}
        self._layers = nn.ModuleList(layers.values())
        self.combines = combines
        self._combined = {site: index for index, site in enumerate(combiners or ())}
        self._combiners = nn.ModuleList((combiners or {}).values())
        self._weight_paths = tuple(weights)
        self._weights = nn.ParameterList(weights.values())
        self.head = head
        self._head_paths = tuple(own_heads)
        self._own_heads = nn.ModuleList(own_heads.values())

    def layer_at(self, site: str) -> AbstractLayer | None:
        """Return the layer at a site, or `None` if the adapter does not act there."""
        index = self._index.get(site)
        return None if index is None else cast(AbstractLayer, self._layers[index])

    def combiner_at(self, site: str) -> AbstractCombiner | None:
        """Return the learned combination at a site, or `None` if there is none."""
        index = self._combined.get(site)
        return None if index is None else cast(AbstractCombiner, self._combiners[index])

    @property
    def combiners(self) -> dict[str, AbstractCombiner]:
        """Site name -> learned combination."""
        return dict(zip(self._combined, self._combiners, strict=True))  # type: ignore[arg-type]

    @property
    def layers(self) -> dict[str, AbstractLayer]:
        """Site name -> layer."""
        return dict(zip(self._sites, self._layers, strict=True))  # type: ignore[arg-type]

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """Path of a base parameter -> the trained copy."""
        return dict(zip(self._weight_paths, self._weights, strict=True))

    @property
    def own_heads(self) -> dict[str, nn.Module]:
        """Path of a head module of the model -> the adapter's copy."""
        return dict(zip(self._head_paths, self._own_heads, strict=True))

    @property
    def num_adapter_parameters(self) -> int:
        """Count the weights of the layers, or the copied base weights; heads not included."""
        own = [*self._layers.parameters(), *self._combiners.parameters(), *self._weights]
        return sum(p.numel() for p in own)

    @property
    def num_head_parameters(self) -> int:
        """Count the weights of the heads."""
        heads = [*self._own_heads.parameters()]
        return sum(p.numel() for p in heads + list(self.head.parameters() if self.head else []))

    def replace_layers(
        self, method: AbstractSiteMethod, layers: Mapping[str, AbstractLayer]
    ) -> None:
        """Take over a method and layers for the same sites, which compute the same."""
        self.method = method
        self._layers = nn.ModuleList(layers[site] for site in self._sites)

    def own_copies(self, weights: Mapping[str, nn.Parameter]) -> None:
        """Take copies of base weights in, which stand in their place while the adapter acts."""
        self._weight_paths = (*self._weight_paths, *weights)
        self._weights.extend(weights.values())

    def restore_placement(self, query: tuple[str, str, str] | None) -> None:
        """Take over the query of a saved adapter: at, layers and submodel."""
        if query is not None:
            at, layers, submodel = query
            self.placement = Placement(at=at, layers=layers, submodel=submodel)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all trained tensors by names that do not depend on the adapter's name.

        `site/<site>/<parameter>`, `combiner/<site>/<parameter>`, `weight/<path>`,
        `head/<parameter>` and `own_head/<path>/<parameter>`; buffers are included.
        """
        named: dict[str, torch.Tensor] = {}
        for site, layer in self.layers.items():
            named |= {f"site/{site}/{key}": value for key, value in layer.state_dict().items()}
        for site, combiner in self.combiners.items():
            named |= {f"combiner/{site}/{k}": value for k, value in combiner.state_dict().items()}
        named |= {f"weight/{path}": weight.detach() for path, weight in self.weights.items()}
        if self.head is not None:
            named |= {f"head/{key}": value for key, value in self.head.state_dict().items()}
        for path, head in self.own_heads.items():
            named |= {f"own_head/{path}/{k}": value for k, value in head.state_dict().items()}
        return named


def reads_stream(layer: AbstractLayer | AbstractCombiner) -> bool:
    """Tell whether a layer needs the residual stream, not only what its module takes or gives."""
    return layer.reads not in ("x", "in")


def needs_calls(layer: AbstractLayer) -> bool:
    """Tell whether a layer must know the padding mask of the running forward pass."""
    return layer.sees_neighbours or layer.counts_positions


def build_layers(
    method: AbstractSiteMethod,
    chosen: tuple[Site, ...],
    sites: SiteMap,
    model: nn.Module,
    *,
    fresh: bool = True,
) -> dict[str, AbstractLayer]:
    """Build a method's layer for each chosen site; not `fresh` if weights are copied in next.

    Raises:
        SiteError: If the method cannot act at one of the sites.
    """
    for site in chosen:
        member = method.member_at(site.name, site.kind, site.sublayer)
        if site.kind not in member.kinds:
            raise SiteError(
                f"{type(member).__name__} cannot act at {site.name!r}, a site of kind "
                f"{site.kind!r}; it acts at {', '.join(sorted(member.kinds))}."
            )
    word_site = _word_site(model, sites)
    places = {site.name: _place_for(method, site, sites, model, word_site) for site in chosen}
    layers = method.build_all(
        {name: dataclasses.replace(place, fresh=fresh) for name, place in places.items()}
    )
    for site in chosen:
        layer = layers[site.name]
        if reads_stream(layer) and site.stream_module is None:
            raise SiteError(
                f"{type(method).__name__} reads {layer.reads!r}, which {site.name!r} "
                "does not offer."
            )
    return layers


def build_combiners(
    method: AbstractCombineMethod, sites: tuple[Site, ...], number: int
) -> dict[str, AbstractCombiner]:
    """Build a learned combination for each site.

    Raises:
        ConfigError: If the method cannot act at one of the sites.
    """
    made = {site.name: method.build(_place(site), number) for site in sites}
    for site in sites:
        if reads_stream(made[site.name]) and site.stream_module is None:
            raise ConfigError(
                f"{type(method).__name__} reads {made[site.name].reads!r}, which {site.name!r} "
                "does not offer."
            )
    return made


def _place(site: Site) -> Place:
    return Place(
        width=site.width, in_width=site.in_width, kind=site.kind, block=site.block,
        position_dims=2 if site.channel_dim != -1 else 1, causal=site.causal,
        submodel=site.submodel, sublayer=site.sublayer,
    )  # fmt: skip


def _place_for(
    method: AbstractSiteMethod, site: Site, sites: SiteMap, model: nn.Module, word_site: str | None
) -> Place:
    """Say what a method may know of a site, ends, attentions and maps included."""
    member = method.member_at(site.name, site.kind, site.sublayer)
    if member.in_front:
        is_cut = not getattr(member, "returned", False)
        prompt_place(site, sites, model, is_cut=is_cut)  # raises if there is none
    attention = attention_place(site, sites, model) if member.in_attention else None
    found = base_map(site, model) if member.needs_weight else None
    place = _place(site)
    return dataclasses.replace(
        place,
        gives_words=site.name == word_site,
        key_width=attention.key_width if attention else None,
        value_width=attention.value_width if attention else None,
        in_width=place.in_width if found is None else found.in_width,
        weight=found,
        apply=None if found is None else found.apply,
    )


def _word_site(model: nn.Module, sites: SiteMap) -> str | None:
    """Name the output end that a table of output words reads; `None` without such a head."""
    table = getattr(model, "get_output_embeddings", lambda: None)()
    ends = [site.name for site in sites if site.kind == "output"]
    return ends[-1] if table is not None and ends else None
