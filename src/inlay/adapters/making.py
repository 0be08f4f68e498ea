"""Build a new adapter for a model, or the learned weights of a combination."""

import copy
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from inlay.adapters.base_weights import base_parameters, copy_weights
from inlay.adapters.entry import Entry, build_combiners, build_layers
from inlay.adapters.mould import Mould, can_be_cast, check_given
from inlay.compose.fuse import Fuse
from inlay.compose.route import Route
from inlay.errors import AdapterError, CompositionError, SiteError
from inlay.methods.base import AbstractMethod, AbstractSiteMethod, AbstractWeightMethod
from inlay.methods.combining import AbstractCombineMethod
from inlay.methods.fusion import Fusion
from inlay.methods.gate import Gate
from inlay.methods.parse import parse_method
from inlay.methods.prefix import Prefix
from inlay.sites.attention import attention_place
from inlay.sites.placement import Layers, Placement, make_placement
from inlay.sites.positions import Numbering, find_numbering, weighs_by_distance
from inlay.sites.sitemap import Site, SiteMap


@final
class Maker:
    """Builds adapters for one model; each costs the same however many there are.

    Args:
        model: The base.
        adapters: The module that the adapters will be in.
        sites: The model's sites.
        own_heads: Paths of the model's own heads.
        originals: Gives the base its own weights for the length of a `with` block.
    """

    def __init__(
        self,
        model: nn.Module,
        adapters: nn.Module,
        sites: SiteMap,
        own_heads: Sequence[str],
        originals: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.model, self.adapters, self.sites = model, adapters, sites
        self.own_heads, self.originals = tuple(own_heads), originals
        self._moulds: dict[Hashable, Mould] = {}
        """By what was asked, of adapters that were made from weights."""
        self._numbered: Numbering | None = None
        """How the base numbers words, once it was found."""

    def made(
        self,
        name: str,
        method: AbstractMethod | str,
        tensors: Mapping[str, Tensor] | None,
        **asked: Any,
    ) -> Entry:
        """Build an adapter, with fresh weights or around copies of given ones.

        Args:
            name: Its name.
            method: As `adapter` takes it.
            tensors: Exactly its weights, as `Entry.tensors` names them; `None` for fresh ones.
            asked: Arguments of `adapter`, which says what it raises.

        Raises:
            AdapterError: If `tensors` are not exactly the weights that it needs.
        """
        if tensors is None:
            return self.adapter(name, method, **asked)
        key = _hashable(method, *asked.values())
        mould = None if key is None else self._moulds.get(key)
        if mould is not None and mould.fits():
            return mould.cast(name, tensors, training=self.model.training)
        entry = self.adapter(name, method, **{**asked, "fresh": False})
        own = entry.tensors()
        check_given(name, {key: tensor.shape for key, tensor in own.items()}, tensors)
        with torch.no_grad():
            for tensor_name, tensor in own.items():
                tensor.copy_(tensors[tensor_name])
        if key is not None and can_be_cast(entry):
            sites = [self.sites[site] for site in entry.layers]
            self._moulds[key] = Mould(entry, self.model, sites)
        return entry

    def adapter(
        self,
        name: str,
        method: AbstractMethod | str,
        *,
        at: str | Sequence[str] | None,
        layers: Layers,
        submodel: str | None,
        head: nn.Module | None,
        copy_heads: bool,
        fresh: bool,
    ) -> Entry:
        """Build an adapter from what `Adapters.add` takes.

        Raises:
            AdapterError: If it is no method, or a place is given to one that has none.
            SiteError: If the placement matches nothing or the method cannot act there.
            ConfigError: If the method is not known or a setting is not allowed.
        """
        default_at = ""
        if isinstance(method, str):
            preset = parse_method(method)
            method, default_at = preset.method, preset.at
        if isinstance(method, AbstractSiteMethod):
            placement = make_placement(at or default_at or method.own_place(), layers, submodel)
            return self._new(
                self._placed(name, method, placement, head, copy_heads=copy_heads, fresh=fresh)
            )
        if isinstance(method, AbstractWeightMethod):
            if at is not None or layers != "all" or submodel:
                raise AdapterError(
                    f"method {method.name!r} trains weights of the base, so at, layers and "
                    "submodel have no effect; leave them out."
                )
            return self._new(self._comparator(name, method, head, copy_heads=copy_heads))
        raise AdapterError(f"{method!r} is no method; see `inlay.methods.parse.METHODS`.")

    def _new(self, entry: Entry) -> Entry:
        """Let a new adapter not learn yet, and be in the base's mode."""
        entry.requires_grad_(requires_grad=False)
        entry.train(self.model.training)
        return entry

    def _placed(
        self,
        name: str,
        method: AbstractSiteMethod,
        placement: Placement,
        head: nn.Module | None,
        *,
        copy_heads: bool,
        fresh: bool,
    ) -> Entry:
        """Build an adapter that acts at sites."""
        chosen = placement.select(self.sites)
        with self.originals():
            layers = build_layers(method, chosen, self.sites, self.model, fresh=fresh)
        self._match_base(layers, chosen)
        return Entry(
            name=name, method=method, placement=placement, layers=layers, weights={}, head=head,
            own_heads=self._copied_heads() if copy_heads else {},
            numbering=self._numbering(method, chosen),
        )  # fmt: skip

    def _numbering(self, method: AbstractSiteMethod, chosen: Sequence[Site]) -> Numbering | None:
        """Find how words are numbered, if the method moves them, or would hide what is padding."""
        own = [(site, method.member_at(site.name, site.kind, site.sublayer)) for site in chosen]
        moving = [s for s, member in own if isinstance(member, Prefix) and member.takes_positions]
        places = [attention_place(site, self.sites, self.model).module for site in moving]
        if moving and not weighs_by_distance(places, self.model):
            return self._found_numbering()
        if any(member.in_front for _, member in own) and len(self.sites.submodels()) == 1:
            try:
                found = self._found_numbering()
            except Exception:  # what runs on other inputs only numbers the vectors as it does
                return None
            return found if found.padding is not None else None
        return None

    def _found_numbering(self) -> Numbering:
        if self._numbered is None:
            with cast(Any, self.adapters).using(None), self.originals():
                self._numbered = find_numbering(self.sites, self.model)
        return self._numbered

    def _comparator(
        self, name: str, method: AbstractWeightMethod, head: nn.Module | None, *, copy_heads: bool
    ) -> Entry:
        """Build an adapter that is a copy of weights of the base."""
        with self.originals():
            weights = copy_weights(
                method,
                base_parameters(self.model, self.adapters, self.own_heads),
                self.sites,
                self.model,
            )
        return Entry(
            name=name, method=method, placement=None, layers={}, weights=weights, head=head,
            own_heads=self._copied_heads() if copy_heads else {},
        )  # fmt: skip

    def combination(
        self,
        node: Fuse | Route,
        method: AbstractCombineMethod | None,
        children: Sequence[Entry],
        head: nn.Module | None,
        *,
        copy_heads: bool,
    ) -> Entry:
        """Build the learned weights of a combination, at every site where a child adds something.

        Raises:
            CompositionError: If the combination cannot learn by this method.
            ConfigError: If the method cannot act at one of the sites.
        """
        if method is None:
            method = Fusion() if isinstance(node, Fuse) else Gate()
        if not isinstance(method, Fusion if isinstance(node, Fuse) else Gate):
            raise CompositionError(
                f"{node!r} cannot learn by {method!r}; Fuse takes Fusion(...), Route Gate(...)."
            )
        used = {site for child in children for site, x in child.layers.items() if not x.only_reads}
        chosen = tuple(site for site in self.sites if site.name in used)
        combiners = build_combiners(method, chosen, len(node.children))
        self._match_base(combiners, chosen)
        entry = Entry(
            name=node.key, method=method, placement=None, layers={}, weights={}, head=head,
            own_heads=self._copied_heads() if copy_heads else {},
            combines=node, combiners=combiners,
        )  # fmt: skip
        return self._new(entry)

    def _copied_heads(self) -> dict[str, nn.Module]:
        return {path: copy.deepcopy(self.model.get_submodule(path)) for path in self.own_heads}

    def _match_base(self, layers: Mapping[str, nn.Module], sites: Sequence[Site]) -> None:
        """Move new layers to their site's device, in at least float32."""
        fallback = next(self.model.parameters(), torch.empty(0))
        for site in sites:
            try:
                module = self.model.get_submodule(site.module)
            except AttributeError as error:
                raise SiteError(
                    f"site {site.name!r}: this model has no module {site.module!r}."
                ) from error
            near = next(module.parameters(), fallback)
            dtype = torch.promote_types(near.dtype, torch.float32)
            layers[site.name].to(device=near.device, dtype=dtype)


def _hashable(*asked: object) -> Hashable | None:
    """Return what was asked as a key, or `None` if it cannot be one."""
    key = tuple(tuple(item) if isinstance(item, list) else item for item in asked)
    try:
        hash(key)
    except TypeError:
        return None
    return key
