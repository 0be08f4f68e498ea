"""Say which of a model's sites a tensor of the peer's belongs to, by where it is in the model.

A name such as `bert.encoder.layer.3.attention.output.adapters.sst.adapter_up.weight` has an owner
(what stands before the marker `adapters`), the adapter's name, and a tail. The owner is a module of
the peer's model, which may have another name in this one: blocks are found by their path or by
their number, and the place inside of a block by its path or by a short table of words.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from torch import nn

from inlay.errors import FormatError
from inlay.site_kinds import LINEAR_KINDS
from inlay.sites.sitemap import Site, SiteMap

MARKERS = (
    "adapters",
    "adapter_fusion_layer",
    "loras",
    "refts",
    "prefix_tunings",
    "prefix_gates",
    "prompt_tunings",
    "invertible_adapters",
    "shared_parameters",
)
"""Modules of the peer that hold weights by an adapter's name."""

_PLACES = {
    "attention_adapters": "attention",
    "cross_attention_adapters": "cross_attention",
    "output_adapters": "ffn",
    "attention.output": "attention",
    "crossattention.output": "cross_attention",
    "output": "ffn",
}
"""How the path of a bottleneck's owner ends -> the sublayer behind which it acts."""

_SWAPPED = "attention.attention_adapters"
"""How the path of an owner ends that the peer gives output and stream in each other's place."""

_MAPS = {
    "query": "q", "q_proj": "q", "q_lin": "q", "query_proj": "q", "q": "q",
    "key": "k", "k_proj": "k", "k_lin": "k", "key_proj": "k", "k": "k",
    "value": "v", "v_proj": "v", "v_lin": "v", "value_proj": "v", "v": "v",
    "c_attn": "qkv", "in_proj": "qkv", "query_key_value": "qkv", "qkv_proj": "qkv",
    "attention.output.dense": "o", "out_proj": "o", "o_proj": "o", "out_lin": "o", "o": "o",
    "intermediate.dense": "up", "fc1": "up", "lin1": "up", "wi": "up", "wi_1": "up", "fc_in": "up",
    "c_fc": "up", "up_proj": "up", "ffn": "up", "dense_h_to_4h": "up",
    "wi_0": "gate", "gate_proj": "gate",
    "output.dense": "down", "fc2": "down", "lin2": "down", "wo": "down", "fc_out": "down",
    "mlp.c_proj": "down", "down_proj": "down", "ffn_output": "down", "dense_4h_to_h": "down",
}  # fmt: skip
"""How the path of a linear map ends -> its role."""

_CROSS = frozenset({"crossattention", "cross_attn", "encoder_attn", "EncDecAttention"})
"""Modules of attention to another sequence."""

_TRANSPARENT = ("model", "base_model")
"""Leading parts of a path that some classes of a model have and some do not, beside its own."""


@final
@dataclass(frozen=True, slots=True)
class TensorName:
    """A tensor's name, taken apart."""

    key: str
    """All of it."""
    owner: str
    """Path of the peer's module that has the adapter; may be empty."""
    marker: str
    """Which of `MARKERS` it is under."""
    tail: str
    """What is behind the adapter's name."""


def taken_apart(folder: object, keys: Iterable[str], adapter: str) -> list[TensorName]:
    """Take names apart.

    Raises:
        FormatError: If a tensor belongs to no adapter, such as a weight of the base, or to
            another adapter than this.
    """
    names = []
    for key in keys:
        parts = key.split(".")
        marks = [i for i, part in enumerate(parts[:-1]) if part in MARKERS]
        own = [i for i in marks if parts[i + 1] == adapter]
        if not marks:
            raise FormatError(
                f"{folder}: tensor {key!r} is no adapter's; a file of an adapter may not hold "
                "weights of a base, which would be overwritten."
            )
        if not own:
            raise FormatError(
                f"{folder}: tensor {key!r} is of adapter {parts[marks[-1] + 1]!r}, but the config "
                f"is of {adapter!r}."
            )
        at = own[-1]
        names.append(TensorName(key, ".".join(parts[:at]), parts[at], ".".join(parts[at + 2 :])))
    return names


@final
class Finder:
    """Finds the sites of one model by the paths of the peer's modules.

    Args:
        model: The base.
        sites: Its site map.
    """

    def __init__(self, model: nn.Module, sites: SiteMap) -> None:
        own = getattr(model, "base_model_prefix", "")
        self.skipped = {*_TRANSPARENT, own} - {""}
        self.sites = sites
        self.blocks = [
            (self._plain(site.module).split("."), site) for site in sites if site.kind == "block"
        ]

    def residual(self, name: TensorName, folder: object) -> Site:
        """Return the sublayer that a bottleneck or a fusion is behind.

        Raises:
            FormatError: If this model has no such place.
        """
        block, rest = self._block(name, folder)
        own = self._of(block, residual=True)
        kind = next((k for word, k in _PLACES.items() if _ends(rest, word)), None)
        if kind is None or not rest.endswith("_adapters"):
            inside = [s for s in own if _starts(self._inside(s, block), rest)]
            if len(inside) == 1:
                return inside[0]
        for site in own:
            if site.kind == kind:
                self._check_alone(site, own, folder)
                return site
        raise self._nothing(name, folder, own)

    def _check_alone(self, site: Site, own: list[Site], folder: object) -> None:
        """Refuse a place that a hook cannot tell from another one."""
        for other in own:
            if site.takes_turns or other.name == site.name:
                continue
            if (other.module, other.point) == (site.module, site.point):
                raise FormatError(
                    f"{folder}: {site.name!r} and {other.name!r} are outputs of one module of this "
                    f"model, {site.module!r}, and cannot be told apart."
                )

    def is_swapped(self, name: TensorName) -> bool:
        """Tell whether the peer takes the output and the stream for one another there."""
        return _ends(name.owner, _SWAPPED)

    def is_beside(self, site: Site) -> bool:
        """Tell whether an earlier sublayer of the block reads the same stream, in parallel."""
        for other in self._of(site, residual=True):
            if other.name == site.name:
                return False
            if other.stream_module == site.stream_module and other.stream_module is not None:
                return (other.stream_point, other.norm) == (site.stream_point, site.norm)
        return False

    def linear(self, name: TensorName, folder: object) -> Site:
        """Return the linear map that a LoRA changes.

        Raises:
            FormatError: If this model has no such map.
        """
        block, rest = self._block(name, folder)
        own = self._of(block, residual=False)
        for site in own:
            if self._inside(site, block) == rest:
                return site
        role = max((w for w in _MAPS if _ends(rest, w)), key=len, default=None)
        cross = not _CROSS.isdisjoint(rest.split("."))
        for site in own:
            if role is None or site.kind != _MAPS[role]:
                continue
            if (site.sublayer == "cross_attention") == cross:
                return site
        raise self._nothing(name, folder, own)

    def attention(self, name: TensorName, folder: object) -> Site:
        """Return the attention that a prefix and its gate are at.

        Raises:
            FormatError: If this model has no such attention.
        """
        block, rest = self._block(name, folder)
        own = self._of(block, residual=True)
        cross = not _CROSS.isdisjoint(rest.split("."))
        for site in own:
            if site.kind == ("cross_attention" if cross else "attention"):
                return site
        raise self._nothing(name, folder, own)

    def block_site(self, name: TensorName, folder: object) -> Site:
        """Return the block that something acts behind.

        Raises:
            FormatError: If this model has no such block.
        """
        return self._block(name, folder)[0]

    def submodel(self, owner: str) -> str:
        """Return the submodel that a path outside of the blocks is in, empty if it is in none."""
        parts = owner.split(".")
        return next((s for s in self.sites.submodels() if s and s in parts), "")

    def _block(self, name: TensorName, folder: object) -> tuple[Site, str]:
        """Return the block of an owner, and the owner's path inside of it."""
        parts = [part for part in self._plain(name.owner).split(".") if part]
        for path, site in self.blocks:
            if parts[: len(path)] == path:
                return site, ".".join(parts[len(path) :])
        place = next((i for i, part in enumerate(parts) if part.isdecimal()), None)
        if place is not None:
            submodels = self.sites.submodels()
            found = [s for s in submodels if not s or s in parts[:place]]
            foreign = len(submodels) == 1 and "decoder" in parts[:place] and not submodels[0]
            for _, site in self.blocks:
                if site.block == int(parts[place]) and [site.submodel] == found and not foreign:
                    return site, ".".join(parts[place + 1 :])
        raise FormatError(
            f"{folder}: tensor {name.key!r} belongs to {name.owner or 'the model itself'!r}, where "
            f"this model has no block; it has {len(self.blocks)}, such as "
            f"{'.'.join(self.blocks[0][0]) if self.blocks else 'none'!r}."
        )

    def _of(self, block: Site, *, residual: bool) -> list[Site]:
        return [
            site
            for site in self.sites
            if (site.submodel, site.block) == (block.submodel, block.block)
            and (site.is_residual if residual else site.kind in LINEAR_KINDS)
        ]

    def _inside(self, site: Site, block: Site) -> str:
        return site.module.removeprefix(f"{block.module}.")

    def _plain(self, path: str) -> str:
        parts = path.split(".")
        while len(parts) > 1 and parts[0] in self.skipped:
            parts = parts[1:]
        return ".".join(parts)

    def _nothing(self, name: TensorName, folder: object, own: list[Site]) -> FormatError:
        there = ", ".join(f"{site.name!r} ({site.module})" for site in own) or "none"
        return FormatError(
            f"{folder}: tensor {name.key!r} has no place on this model; sites of that block are "
            f"{there}."
        )


def _ends(path: str, words: str) -> bool:
    return path == words or path.endswith(f".{words}")


def _starts(path: str, words: str) -> bool:
    return bool(words) and (path == words or path.startswith(f"{words}."))
