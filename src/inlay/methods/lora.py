"""LoRA: a low-rank update of a frozen linear map (Hu 2021), and its variants."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar, final, get_args

from typing_extensions import override

from inlay.errors import ConfigError, did_you_mean
from inlay.methods.base import (
    AbstractLayer,
    AbstractSiteMethod,
    Place,
    check_at_least,
    check_choice,
    check_fraction,
)
from inlay.methods.input_gate import Gating, check_gating, made_gate
from inlay.methods.lora_layer import Init, LoRALayer
from inlay.site_kinds import LINEAR_KINDS

Scale = Literal["alpha/rank", "alpha/sqrt(rank)"]

V = TypeVar("V", int, float)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LoRA(AbstractSiteMethod):
    """Add `(alpha / rank) * B A x` to a frozen linear map `W x` (Hu et al. 2021, arXiv:2106.09685).

    `A` starts as a linear map would (Kaiming uniform) and `B` at zero, so a new adapter changes
    nothing. This is what `loralib` does; the paper draws `A` from a normal distribution.
    Parameters for one map: `rank * (in_width + out_width)`, and `out_width` for magnitudes and
    `gates * (in_width + 1)` for gates.

    At a table of word vectors and at a convolution, `W` is the matrix that multiplies one-hot
    words, or the patches that the kernel sees (`in_width` is the channels times the kernel's
    size), as in the authors' code. At a table it is `A` that starts at zero.

    Args:
        rank: Columns of `B`.
        alpha: Numerator of the scale, so that the rank can change without retuning.
        dropout: Fraction of the input's channels zeroed in training, in [0, 1); at a table, of
            what `A` makes of a word.
        scale: `"alpha/sqrt(rank)"` is rsLoRA (Kalajdzievski 2023, arXiv:2312.03732), which keeps
            the size of updates alike at high ranks.
        ranks: Other ranks for some maps, by kind or name of site: `{"q": 4, "0.ffn.up": 2}`; a
            name goes before a kind.
        alphas: Other numerators for some maps, in the same way.
        init: `"orthogonal"` gives `A` orthonormal rows. `"pissa"` starts `scale * B A` at the
            principal part of `W` and adds `scale * (B A - B0 A0)`, `B0` and `A0` being the start
            (Meng et al. 2024, arXiv:2404.02948): the paper's training, over a base that is left
            as it is. The start is saved with the adapter and not trained; adding an adapter takes
            a singular value decomposition of every map.
        magnitude: DoRA (Liu et al. 2024, arXiv:2402.09353, equation 5): the rows of
            `W + scale * B A` get trained lengths, which start at those of `W`. As in the authors'
            code there is one for each output channel; what is trained is its difference to the
            length of the base's row. Every pass computes `W x` once more.
        gate: Whether the update is multiplied by a gate that reads the map's input, as in UniPELT
            (Mao et al. 2022, arXiv:2110.07577), where `alpha` is the rank; see
            `inlay.methods.input_gate.Gating`. Such a LoRA cannot be merged.
        gates: Gates for equal parts of the ranks; AdapterHub has one for each of `q`, `k` and `v`
            in a fused map.

    Raises:
        ConfigError: If a value is not allowed.

    Example:
        >>> layer = LoRA(rank=2, ranks={"v": 3}).build(Place(width=4, in_width=6, kind="v"))
        >>> layer.a.shape
        torch.Size([3, 6])
    """

    name: ClassVar[str] = "lora"
    default_at: ClassVar[str] = "linear"
    kinds: ClassVar[frozenset[str]] = frozenset({*LINEAR_KINDS, "embedding", "kernel"})
    needs_weight: ClassVar[bool] = True

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    scale: Scale = "alpha/rank"
    ranks: Mapping[str, int] | None = None
    alphas: Mapping[str, float] | None = None
    init: Init = "kaiming"
    magnitude: bool = False
    gate: Gating = False
    gates: int = 1

    def __post_init__(self) -> None:
        """Check every value here, where it is used."""
        check_at_least("LoRA", "rank", self.rank, 1)
        check_fraction("LoRA", "dropout", self.dropout)
        check_choice("LoRA", "scale", self.scale, get_args(Scale))
        check_choice("LoRA", "init", self.init, get_args(Init))
        check_choice("LoRA", "magnitude", self.magnitude, (True, False))
        for name, by_site in (("ranks", self.ranks), ("alphas", self.alphas)):
            if by_site is not None and not isinstance(by_site, Mapping):
                raise ConfigError(
                    f"LoRA({name}={by_site!r}): {name} is a mapping from kinds or names of sites "
                    f'to numbers; as text: lora[{name}={{"q": 4, "0.ffn.up": 2}}].'
                )
        for key, rank in (self.ranks or {}).items():
            if not isinstance(rank, int):
                raise ConfigError(f"LoRA(ranks): {key!r} has {rank!r}; a rank is a whole number.")
            check_at_least("LoRA", f"ranks[{key!r}]", rank, 1)
        for key, alpha in {"": self.alpha, **(self.alphas or {})}.items():
            if not isinstance(alpha, int | float):
                raise ConfigError(
                    f"LoRA: the alpha of {key or 'all maps'!r} is {alpha!r}; it is a number."
                )
            if self.init == "pissa" and alpha <= 0:
                where = f"alphas[{key!r}]" if key else "alpha"
                raise ConfigError(
                    f"LoRA(init='pissa', {where}={alpha!r}): the update starts at a part of the "
                    "weight, which takes a scale above 0."
                )
        self._check_gates()

    def _check_gates(self) -> None:
        check_gating("LoRA", self.gate)
        check_at_least("LoRA", "gates", self.gates, 1)
        if self.gates > 1 and self.gate is False:
            raise ConfigError(
                f"LoRA(gates={self.gates}) has no effect without a gate; add gate=True."
            )
        if self.gate is not False and self.magnitude:
            raise ConfigError(
                "LoRA(gate=..., magnitude=True): lengths of the rows of a weight go with no gate, "
                "which differs by input; leave one of the two out."
            )
        for rank in (self.rank, *(self.ranks or {}).values()):
            if self.gates > 1 and rank % self.gates:
                raise ConfigError(
                    f"LoRA(rank={rank}, gates={self.gates}): each gate is for an equal part of the "
                    "ranks, so their number divides the rank."
                )

    @override
    def can_merge(self) -> bool:
        return self.gate is False

    @override
    def build(self, place: Place) -> LoRALayer:
        return self._built(place.kind, place)

    @override
    def build_all(self, places: Mapping[str, Place]) -> dict[str, AbstractLayer]:
        """Build a layer for each place, with the rank and the alpha that were given for it.

        Raises:
            ConfigError: If one was given for a kind or a name that no place has.
        """
        kinds = dict.fromkeys(place.kind for place in places.values())
        for name, by_site in (("ranks", self.ranks), ("alphas", self.alphas)):
            for key in by_site or {}:
                if key not in kinds and key not in places:
                    raise ConfigError(
                        f"LoRA({name}={dict(by_site or {})!r}): {key!r} is no site that this "
                        f"adapter is put at, nor the kind of one. Kinds: {', '.join(kinds)}; "
                        f"sites: {', '.join(places)}.{did_you_mean(key, [*kinds, *places])}"
                    )
        return {name: self._built(name, place) for name, place in places.items()}

    def _built(self, name: str, place: Place) -> LoRALayer:
        is_odd = place.kind in ("embedding", "kernel") and place.apply is None
        if place.in_width is None or is_odd:
            raise ConfigError(
                f"LoRA needs a linear map, a table or a convolution; {name!r}, a site of kind "
                f"{place.kind!r}, is none that it can act on."
            )
        rank = _chosen(self.ranks, name, place.kind, self.rank)
        alpha = _chosen(self.alphas, name, place.kind, self.alpha)
        if place.apply is not None and (self.magnitude or self.gate is not False):
            asked = "magnitude=True" if self.magnitude else f"gate={self.gate!r}"
            raise ConfigError(
                f"LoRA({asked}) at {name!r}: only a linear map can have that; leave it out, or put "
                "another adapter there."
            )
        asked = "magnitude=True" if self.magnitude else f"init={self.init!r}"
        if (self.magnitude or self.init == "pissa") and place.weight is None:
            raise ConfigError(
                f"LoRA({asked}) at {name!r} computes with the map's own weight, a matrix of "
                "floating-point numbers, and the module there has none (it may be quantised). "
                "Leave the setting out."
            )
        least = min(place.in_width, place.width)
        if self.init == "pissa" and rank > least:
            raise ConfigError(
                f"LoRA(init='pissa', rank={rank}): the weight at {name!r} has only {least} "
                "singular values; give a smaller rank."
            )
        return LoRALayer(
            in_width=place.in_width, out_width=place.width, rank=rank,
            scale=alpha / (rank if self.scale == "alpha/rank" else rank**0.5),
            dropout=self.dropout, init=self.init, magnitude=self.magnitude, weight=place.weight,
            fresh=place.fresh, apply=place.apply, is_table=place.kind == "embedding",
            gate=made_gate("LoRA", self.gate, place, place.in_width, self.gates),
        )  # fmt: skip


def _chosen(by_site: Mapping[str, V] | None, name: str, kind: str, default: V) -> V:
    """Return the value for a site: by its name, else by its kind, else the default."""
    given = by_site or {}
    return given.get(name, given.get(kind, default))
