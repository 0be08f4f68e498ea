"""Every method that the contracts run over; a new method adds one line."""

import inlay
from inlay.methods.base import AbstractMethod

SITE_METHODS: dict[str, tuple[AbstractMethod, str]] = {
    "bottleneck": (inlay.Bottleneck(inner_width=5, activation="gelu"), "attention, ffn"),
    "bottleneck-x": (inlay.Bottleneck(inner_width=5, activation="tanh", input="x"), "ffn"),
    "bottleneck-parallel": (
        inlay.Bottleneck(inner_width=5, activation="swish", input="r", scaling=3.0), "ffn"
    ),
    "bottleneck-all": (
        inlay.Bottleneck(
            reduction={"0": 4, "default": 7}, activation="gelu", input="x+r", scaling="channel",
            norm_before=True, norm_after=True, hidden_layers=2,
        ),
        "attention",
    ),
    "compacter": (inlay.Compacter(inner_width=6, n=3, rank=2, activation="tanh"), "attention, ffn"),
    "compacter-own": (
        inlay.Compacter(reduction=5, n=2, shared_rule=False, input="norm(x+r)"), "ffn"
    ),
    "bottleneck-gate": (
        inlay.Bottleneck(inner_width=5, activation="gelu", gate=True), "attention, ffn"
    ),
    "conv": (inlay.ConvAdapter(reduction=6, kernel=3), "attention, ffn"),
    "embedding": (inlay.EmbeddingAdapter(rank=3), "embedding"),
    "output": (inlay.OutputAdapter(layers=2, inner_width=9), "output"),
    "lora": (inlay.LoRA(rank=3, alpha=7.0), "linear"),
    "lora-ranks": (
        inlay.LoRA(
            rank=5, scale="alpha/sqrt(rank)", ranks={"o": 2, "1.ffn.up": 3}, alphas={"down": 5.0},
            init="orthogonal",
        ),
        "o, up, down",
    ),
    "lora-magnitude": (inlay.LoRA(rank=3, alpha=7.0, magnitude=True), "linear"),
    "lora-pissa": (inlay.LoRA(rank=3, alpha=7.0, init="pissa"), "linear"),
    "lora-pissa-magnitude": (
        inlay.LoRA(rank=3, alpha=7.0, init="pissa", magnitude=True), "o, up"
    ),
    "lora-embedding": (inlay.LoRA(rank=3, alpha=7.0), "embedding"),
    "lora-gate": (inlay.LoRA(rank=4, alpha=7.0, gate=True, gates=2), "o, up"),
    "ia3": (inlay.IA3(), "k, v, down"),
    "ia3-inner": (inlay.IA3(inputs="o"), "o, up"),
    "vera": (inlay.VeRA(rank=5, seed=3), "linear"),
    "vera-saved": (inlay.VeRA(rank=4, seed=7, saved=True), "q, up, down"),
    "invertible": (inlay.Invertible(reduction=3, activation="tanh"), "embedding"),
    "invertible-glow": (inlay.Invertible(form="glow", activation="gelu"), "embedding"),
    "side": (inlay.Side(reduction=5, expansion=3), "embedding, block, output"),
    "union": (
        inlay.Union(
            parts=(
                inlay.Part(method=inlay.LoRA(rank=3), at="o, up"),
                inlay.Part(method=inlay.Bottleneck(inner_width=5, gate="token"), at="ffn"),
            )
        ),
        "o, up, ffn",
    ),
    "loreft": (inlay.LoReFT(rank=3, first=2, last=0), "block"),
    "loreft-ends": (inlay.LoReFT(rank=3, first=1, last=2), "block, attention"),
}  # fmt: skip
"""Name -> a method with settings that no default hides, and where it is put."""

PREFIX_METHODS: dict[str, tuple[AbstractMethod, str]] = {
    "prefix": (inlay.Prefix(length=3, inner_width=7), "attention"),
    "prefix-flat": (inlay.Prefix(length=5, inner_width=None), "attention"),
    "prefix-positions": (
        inlay.Prefix(length=4, inner_width=None, takes_positions=True), "attention",
    ),
    "unipelt": (
        inlay.Union(
            parts=(
                inlay.Part(
                    method=inlay.Prefix(length=3, inner_width=7, gate=True), at="attention"
                ),
                inlay.Part(method=inlay.Bottleneck(inner_width=5, gate=True), at="ffn"),
                inlay.Part(method=inlay.LoRA(rank=2, alpha=2.0, gate=True), at="o"),
            )
        ),
        "attention, ffn, o",
    ),
    "prompt": (inlay.Prompt(length=3, deviation=0.5), "embedding"),
    "prompt-lstm": (inlay.Prompt(length=2, encoder="lstm", inner_width=5), "embedding"),
}  # fmt: skip
"""Methods that add keys or positions, and so have no exact start."""

WEIGHT_METHODS: dict[str, AbstractMethod] = {
    "full": inlay.Full(),
    "bitfit": inlay.BitFit(),
    "norms": inlay.Norms(),
    "top": inlay.Top(blocks=1),
    "head": inlay.Head(),
}
"""The comparators."""
