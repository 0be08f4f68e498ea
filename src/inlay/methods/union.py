"""Several methods in one adapter, each at sites of its own."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

from typing_extensions import override

from inlay.errors import ConfigError, did_you_mean
from inlay.methods.base import (
    AbstractLayer,
    AbstractSiteMethod,
    Place,
    from_settings,
)
from inlay.site_kinds import is_named


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A method, and the sites of a union where it acts.

    Args:
        method: Any method that acts at sites, but a union.
        at: Kinds of sites (`"q, v"`), `"linear"`, kinds within a sublayer (`"attention.q"`), or
            names of sites (`"3.ffn"`).
    """

    method: AbstractSiteMethod
    at: str

    @property
    def terms(self) -> tuple[str, ...]:
        """What `at` names."""
        return tuple(term.strip() for term in self.at.split(",") if term.strip())

    def is_for(self, site: str, kind: str, sublayer: str) -> bool:
        """Tell whether `at` names a site of this name, kind and sublayer."""
        return any(is_named(t, site=site, kind=kind, sublayer=sublayer) for t in self.terms)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Union(AbstractSiteMethod):
    """Train several methods as one adapter: one name, one file, one training.

    So are MAM (He et al. 2022, arXiv:2110.04366) and UniPELT (Mao et al. 2022, arXiv:2110.07577),
    the presets `mam` and `unipelt`. As text, methods are joined by `|`: `prefix | lora[rank=4]`.

    Parameters: the sum of the parts'.

    Args:
        parts: Two methods or more. Each site has one of them; methods that shall act at one site
            are adapters of their own, in a `Stack`.

    Raises:
        ConfigError: If there are too few parts, or one is no method that acts at sites.
    """

    name: ClassVar[str] = "union"
    kinds: ClassVar[frozenset[str]] = frozenset()
    """Those of each site's own method are asked for instead."""

    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        """Check every value here, where it is used."""
        if len(self.parts) < 2:
            raise ConfigError(f"Union(parts={self.parts!r}): give two parts or more.")
        for part in self.parts:
            own = part.method if isinstance(part, Part) else part
            if not isinstance(own, AbstractSiteMethod) or isinstance(own, Union):
                raise ConfigError(
                    f"Union: {own!r} is no part; give Part(method=..., at=...) with a method that "
                    "acts at sites, such as Bottleneck, LoRA or Prefix."
                )
            if not part.terms:
                raise ConfigError(f"Union: the part {own!r} is at no site; give it at=....")

    @override
    def settings(self) -> dict[str, Any]:
        parts = [{**part.method.settings(), "at": part.at} for part in self.parts]
        return {"method": self.name, "parts": parts}

    @override
    def can_merge(self) -> bool:
        return all(part.method.can_merge() for part in self.parts)

    @override
    def own_place(self) -> str:
        return ", ".join(dict.fromkeys(term for part in self.parts for term in part.terms))

    @override
    def members(self) -> tuple[AbstractSiteMethod, ...]:
        return tuple(part.method for part in self.parts)

    @override
    def member_at(self, site: str, kind: str, sublayer: str) -> AbstractSiteMethod:
        """Return the part that acts at a site.

        Raises:
            ConfigError: If none does, or several do.
        """
        found = [part for part in self.parts if part.is_for(site, kind, sublayer)]
        if len(found) == 1:
            return found[0].method
        what = " and ".join(f"{part.method.name} at {part.at!r}" for part in found)
        raise ConfigError(
            f"union: several parts would act at {site!r}: {what}. An adapter has one layer at a "
            "site; give the parts other places, or add several adapters and use a Stack."
            if found
            else f"union: no part is for {site!r}; the parts are at {self.own_place()}. Leave out "
            "at=..., since each part has a place of its own."
        )

    @override
    def build(self, place: Place) -> AbstractLayer:
        return self.member_at("", place.kind, place.sublayer).build(place)

    @override
    def build_all(self, places: Mapping[str, Place]) -> dict[str, AbstractLayer]:
        """Build each part's layers.

        Raises:
            ConfigError: If a part has no place.
        """
        own: list[dict[str, Place]] = [{} for _ in self.parts]
        members = self.members()
        for name, place in places.items():
            member = self.member_at(name, place.kind, place.sublayer)
            number = next(i for i, method in enumerate(members) if method is member)
            own[number][name] = place
        layers: dict[str, AbstractLayer] = {}
        for part, inside in zip(self.parts, own, strict=True):
            if not inside:
                raise ConfigError(
                    f"union: the part {part.method.name} at {part.at!r} has no site among "
                    f"{', '.join(places)}."
                )
            layers |= part.method.build_all(inside)
        return {name: layers[name] for name in places}

    @override
    def folded(
        self, layers: Mapping[str, AbstractLayer]
    ) -> "tuple[Union, dict[str, AbstractLayer]] | None":
        new, parts = dict(layers), list(self.parts)
        for number, part in enumerate(self.parts):
            found = part.method.folded(layers)
            if found is not None:
                parts[number] = dataclasses.replace(part, method=found[0])
                new |= found[1]
        return None if tuple(parts) == self.parts else (Union(parts=tuple(parts)), new)

    def changed(self, settings: Mapping[str, Any]) -> "Union":
        """Return the same with other settings, named as `prefix.length` or `lora.at`.

        Raises:
            ConfigError: If a name is of no part, or no setting of one, or a value not allowed.
        """
        parts = list(self.parts)
        names = [part.method.name for part in parts]
        for key, value in settings.items():
            name, _, setting = key.partition(".")
            if name not in names or not setting:
                raise ConfigError(
                    f"{key!r} is no setting of a union; write PART.SETTING, with one of the parts "
                    f"{', '.join(names)}.{did_you_mean(name, names)}"
                )
            number = names.index(name)
            parts[number] = _changed(parts[number], setting, value)
        return Union(parts=tuple(parts))


def _changed(part: Part, setting: str, value: Any) -> Part:
    if setting == "at":
        return dataclasses.replace(part, at=str(value))
    own = part.method.settings()
    del own["method"]
    return dataclasses.replace(
        part, method=from_settings(type(part.method), own | {setting: value})
    )
