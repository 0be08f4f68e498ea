"""Named settings of the literature, each made of a method, or several, and a placement."""

from dataclasses import dataclass
from typing import final

from inlay.methods.base import AbstractMethod
from inlay.methods.bottleneck import Bottleneck
from inlay.methods.compacter import Compacter
from inlay.methods.lora import LoRA
from inlay.methods.prefix import Prefix
from inlay.methods.union import Part, Union


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """A method with the placement that its paper gives it."""

    method: AbstractMethod
    at: str


_MAM = Union(
    parts=(
        Part(method=Prefix(length=30, inner_width=800), at="attention"),
        Part(method=Bottleneck(input="r", reduction=2, scaling=4.0), at="ffn"),
    )
)
_UNIPELT = Union(
    parts=(
        Part(method=Prefix(length=10, inner_width=512, gate=True), at="attention"),
        Part(method=Bottleneck(reduction=16, gate=True), at="ffn"),
        Part(method=LoRA(rank=8, alpha=8.0, gate=True), at="q, v"),
    )
)

PRESETS: dict[str, Preset] = {
    # Houlsby et al. 2019: after both sublayers, before the residual addition.
    "houlsby": Preset(
        method=Bottleneck(reduction=16, input="x", activation="gelu", init="houlsby"),
        at="attention, ffn",
    ),
    # Pfeiffer et al. 2020: one adapter for each block, on the normed sum behind the feed-forward.
    "pfeiffer": Preset(
        method=Bottleneck(reduction=16, input="norm(x+r)", activation="relu"), at="ffn"
    ),
    # He et al. 2022: beside the feed-forward, scaled by 4, inner width 512 of 1024.
    "parallel": Preset(
        method=Bottleneck(input="r", activation="relu", reduction=2, scaling=4.0), at="ffn"
    ),
    # Steitz and Roth 2024: behind the feed-forward's sum, a learned scale for each channel.
    "adapter+": Preset(
        method=Bottleneck(
            input="x+r", activation="gelu", scaling="channel", reduction=96, init="houlsby"
        ),
        at="ffn",
    ),
    # Mahabadi et al. 2021: Compacter behind the feed-forward only.
    "compacter++": Preset(method=Compacter(), at="ffn"),
    # He et al. 2022, section 4.6: a short prefix, and the parallel adapter beside the feed-forward.
    "mam": Preset(method=_MAM, at=_MAM.own_place()),
    # Mao et al. 2022: a prefix, a Pfeiffer adapter and LoRA, each behind a gate.
    "unipelt": Preset(method=_UNIPELT, at=_UNIPELT.own_place()),
}
"""Name -> preset."""
