"""How large a model trained from nothing is: two sizes, or the user's own configuration."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from inlay.errors import ConfigError, did_you_mean


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """A size of model and what suits it.

    Attributes:
        width: Of the residual stream.
        blocks: In all; an encoder-decoder has half of them on each side.
        heads: Of attention.
        inner: Width inside feed-forward layers; two thirds of it where they are gated.
        vocab_size: Tokens, at most.
        max_length: Tokens of a sequence.
        learning_rate: Peak, for AdamW, of a model with norms before its sublayers.
        steps: Of the optimiser.
    """

    width: int
    blocks: int
    heads: int
    inner: int
    vocab_size: int
    max_length: int
    learning_rate: float
    steps: int


SIZES = {
    "tiny": Size(
        width=128, blocks=4, heads=4, inner=512, vocab_size=2048, max_length=128,
        learning_rate=3e-3, steps=300,
    ),
    "small": Size(
        width=256, blocks=8, heads=8, inner=1024, vocab_size=16_384, max_length=256,
        learning_rate=1e-3, steps=2000,
    ),
}  # fmt: skip
"""About 1.1 and 10.5 million weights."""

MODEL_TYPES = {"mlm": "bert", "clm": "llama", "denoise": "t5", "infill": "t5"}

_RATES = {"bert": 1 / 6, "llama": 1.0, "t5": 1.0}
"""Share of the size's learning rate: norms after each sum bear less, and learn nothing above."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """The model that is to be built.

    Attributes:
        model_type: What `transformers` calls the architecture.
        settings: Fields of its configuration, without those that the tokenizer decides.
        vocab_size: Tokens, at most.
        max_length: Tokens of a sequence, unless the user says otherwise.
        learning_rate: Peak, unless the user says otherwise.
        steps: Of the optimiser, unless the user says otherwise.
    """

    model_type: str
    settings: dict[str, Any]
    vocab_size: int
    max_length: int
    learning_rate: float
    steps: int


def shape_of(size: str, objective: str) -> Shape:
    """Return the model that a size's name or a configuration file stands for.

    Args:
        size: A name in `SIZES`, or a `.json` file in the form of a model's `config.json`; without
            `model_type` it configures the objective's usual architecture.
        objective: `mlm`, `clm`, `denoise` or `infill`.

    Raises:
        ConfigError: If the size is not known or the file is no configuration.
    """
    model_type = MODEL_TYPES[objective]
    if size in SIZES:
        known = SIZES[size]
        return Shape(
            model_type=model_type, settings=_SETTINGS[model_type](known),
            vocab_size=known.vocab_size, max_length=known.max_length,
            learning_rate=known.learning_rate * _RATES[model_type], steps=known.steps,
        )  # fmt: skip
    if not size.endswith(".json"):
        raise ConfigError(
            f"size={size!r} is not known. Known: {', '.join(SIZES)}, or a .json file in the form "
            f"of a model's config.json.{did_you_mean(size, SIZES)}"
        )
    settings = _read(Path(size).expanduser())
    model_type = settings.pop("model_type", model_type)
    default = SIZES["small"]
    return Shape(
        model_type=model_type, settings=settings,
        vocab_size=int(settings.pop("vocab_size", default.vocab_size)),
        max_length=int(settings.get("max_position_embeddings") or default.max_length),
        learning_rate=default.learning_rate * _RATES[MODEL_TYPES[objective]],
        steps=default.steps,
    )  # fmt: skip


def _encoder(size: Size) -> dict[str, Any]:
    return {
        "hidden_size": size.width, "num_hidden_layers": size.blocks,
        "num_attention_heads": size.heads, "intermediate_size": size.inner,
    }  # fmt: skip


def _decoder(size: Size) -> dict[str, Any]:
    return {
        "hidden_size": size.width, "num_hidden_layers": size.blocks,
        "num_attention_heads": size.heads, "num_key_value_heads": size.heads,
        "intermediate_size": _gated(size), "tie_word_embeddings": True,
    }  # fmt: skip


def _encoder_decoder(size: Size) -> dict[str, Any]:
    return {
        "d_model": size.width, "num_layers": size.blocks // 2,
        "num_decoder_layers": size.blocks // 2, "num_heads": size.heads,
        "d_kv": size.width // size.heads, "d_ff": _gated(size),
        "feed_forward_proj": "gated-gelu", "tie_word_embeddings": True,
    }  # fmt: skip


_SETTINGS = {"bert": _encoder, "llama": _decoder, "t5": _encoder_decoder}


def _gated(size: Size) -> int:
    """Return the inner width at which three maps have the weights of two, in eights."""
    return round(size.inner * 2 / 3 / 8) * 8


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(f"size={str(path)!r} cannot be read: {why.lower()}.") from error
    except ValueError as error:
        raise ConfigError(f"size={str(path)!r} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"size={str(path)!r} is no configuration: an object with the fields of a model's "
            "config.json is needed."
        )
    return content
