"""Named settings of the literature, each made of one method and a placement."""

from dataclasses import dataclass
from typing import final

from inlay.methods.base import AbstractMethod
from inlay.methods.bottleneck import Bottleneck
from inlay.methods.compacter import Compacter


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """A method with the placement that its paper gives it."""

    method: AbstractMethod
    at: str


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
}
"""Name -> preset."""
