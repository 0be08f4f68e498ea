"""Build a model from nothing or load a base, and see that it does what the objective needs."""

from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig
from transformers.utils import logging

from inlay.errors import BaseError, ConfigError
from inlay.pretraining.objectives import AbstractObjective, Vocabulary
from inlay.pretraining.sizes import Shape
from inlay.store.bases import load_tokenizer, resolve_base
from inlay.training.precision import Numerics

_NEEDS = {
    "mlm": "a bidirectional encoder with a head for masked tokens (BERT and its kin)",
    "clm": "a decoder that sees no later token (Llama, GPT-2 and their kin)",
    "denoise": "an encoder with a decoder (T5 and its kin)",
    "infill": "an encoder with a decoder (T5 and its kin)",
}


def build_model(
    shape: Shape, objective: AbstractObjective, tokenizer: Any, numerics: Numerics
) -> Any:
    """Build a model with random weights for a tokenizer.

    Args:
        shape: Its architecture and measures.
        objective: What it will be trained on.
        tokenizer: Decides the number of embeddings and the ids of special tokens.
        numerics: Decides the attention implementation.

    Raises:
        ConfigError: If the configuration builds no model, or one that does not fit the objective.
    """
    ids = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    if objective.has_two_sides:
        ids["decoder_start_token_id"] = tokenizer.pad_token_id
    settings = {**shape.settings, **ids}
    if "max_position_embeddings" not in settings and not objective.has_two_sides:
        settings["max_position_embeddings"] = tokenizer.model_max_length
    try:
        config = AutoConfig.for_model(shape.model_type, **settings)
        auto = getattr(transformers, objective.auto_class)
        model = auto.from_config(config, **_attention(numerics))
    except (ValueError, TypeError, KeyError, ZeroDivisionError, RuntimeError) as error:
        raise ConfigError(
            f"a {shape.model_type!r} model cannot be built for objective {objective.name}, which "
            f"needs {_NEEDS[objective.name]}: {_first_line(error)}"
        ) from error
    except Exception as error:
        # `transformers` checks configurations with errors of another package.
        if "Validation" not in type(error).__name__:
            raise
        raise ConfigError(f"a {shape.model_type!r} model cannot be built: {error}") from error
    check_fit(model, objective, name=shape.model_type)
    return model


def load_model(name: str, objective: type[AbstractObjective], numerics: Numerics) -> (
    tuple[Any, Any, list[str]]
):  # fmt: skip
    """Load a base to train on.

    Returns:
        Model, tokenizer and notes.

    Raises:
        BaseError: If it cannot be loaded or has no tokenizer.
        ConfigError: If it does not fit the objective.
    """
    base = resolve_base(name)
    tokenizer = load_tokenizer(base)
    if tokenizer is None:
        raise BaseError(f"{name!r} has no tokenizer, so it cannot read text.")
    fitting = objective(Vocabulary(tokenizer))
    shows_bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model, info = getattr(transformers, objective.auto_class).from_pretrained(
            base.source, dtype=torch.float32, output_loading_info=True, **_attention(numerics)
        )
    except (OSError, ValueError, SafetensorError) as error:
        if "Unrecognized configuration class" in str(error):
            raise ConfigError(_misfit(name, objective.name)) from error
        raise BaseError(f"{name!r} ({base.origin}) could not be loaded: {error}") from error
    finally:
        if shows_bar:
            logging.enable_progress_bar()
    check_fit(model, fitting, name=name)
    missing = sorted(info["missing_keys"])
    notes = []
    if missing:
        notes.append(f"{name}: {len(missing)} tensors are new, such as {missing[0]}")
    model.config._name_or_path = base.id
    return model, tokenizer, notes


@torch.no_grad()
def check_fit(model: Any, objective: AbstractObjective, *, name: str) -> None:
    """Refuse a model that does not see the text in the way the objective needs.

    Told from what it does: whether a change of the last token is seen at positions before it.

    Raises:
        ConfigError: If it does not fit.
    """
    has_two_sides = bool(model.config.is_encoder_decoder)
    if has_two_sides != objective.has_two_sides:
        raise ConfigError(_misfit(name, objective.name))
    if has_two_sides:
        return
    was_training = model.training
    model.eval()
    ids = objective.vocabulary.ordinary[:8].repeat(2)[:8][None].to(model.device)
    other = ids.clone()
    other[0, -1] = objective.vocabulary.ordinary[-1]
    before, after = (model(input_ids=given).logits[0, :-1].float() for given in (ids, other))
    model.train(was_training)
    looks_ahead = float((before - after).abs().max()) > 1e-5 * float(before.abs().max())
    if looks_ahead != (objective.name == "mlm"):
        raise ConfigError(_misfit(name, objective.name))


def _attention(numerics: Numerics) -> dict[str, str]:
    # What is chosen by default is the fused one where the architecture has it.
    return {"attn_implementation": "eager"} if numerics.attention == "eager" else {}


def _misfit(name: str, objective: str) -> str:
    return (
        f"{name!r} does not fit objective {objective}, which needs {_NEEDS[objective]}. Take "
        f"another base or another objective ({', '.join(_NEEDS)})."
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0].rstrip(".") + "."
