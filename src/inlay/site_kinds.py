"""The kinds of site, and which sites a word of a placement names: what sites and methods share."""

RESIDUAL_KINDS = ("attention", "cross_attention", "ffn", "conv", "mixer")
"""Sublayers whose output a block adds to the residual stream."""

LINEAR_KINDS = (
    "q", "k", "v", "qkv", "kv", "o", "up", "gate", "gate_up", "down", "other", "lm_head"
)  # fmt: skip
"""Linear maps inside a sublayer by role; `other` is one whose role could not be told, `lm_head`
the map from the last hidden state to the logits of words."""

KINDS = (*RESIDUAL_KINDS, "block", "embedding", "start", "output", *LINEAR_KINDS, "kernel")
"""All kinds; a `kernel` is a convolution inside a sublayer or in front of the blocks."""

_ONLY_BY_NAME = ("other", "lm_head")
"""Linear maps that `linear` leaves out, as few adapters are meant to be there."""


def is_named(term: str, *, site: str, kind: str, sublayer: str) -> bool:
    """Tell whether a word of a placement names a site.

    Args:
        term: A kind, `linear`, a kind within a sublayer (`"cross_attention.q"`), or a site's name.
        site: The site's name.
        kind: Its kind.
        sublayer: The kind of sublayer that it is part of, for a map.

    Example:
        >>> is_named("ffn.up", site="3.ffn.up", kind="up", sublayer="ffn")
        True
        >>> is_named("linear", site="lm_head", kind="lm_head", sublayer="")
        False
    """
    if term == "linear":
        return kind in LINEAR_KINDS and kind not in _ONLY_BY_NAME
    within = f"{sublayer}.{kind}" if sublayer and kind in LINEAR_KINDS else kind
    return term in (site, kind, within)
