"""What a new adapter is stacked on: a saved one that stays frozen below it."""

from pathlib import Path
from typing import NamedTuple, final

from inlay.adapters.bank import Adapters
from inlay.errors import ConfigError, FormatError
from inlay.methods.base import AbstractWeightMethod
from inlay.methods.comparators import Head
from inlay.methods.parse import method_from_settings
from inlay.methods.presets import Preset
from inlay.sites.fingerprint import fingerprint
from inlay.store.bases import Base
from inlay.store.load import load_once
from inlay.store.manifest import Manifest, adapter_folder, read_manifest
from inlay.training.config import ResolvedConfig, TrainConfig


@final
class Below(NamedTuple):
    """A saved adapter that a run is stacked on."""

    folder: Path
    manifest: Manifest


def below_of(config: TrainConfig) -> Below | None:
    """Read what a run is stacked on; `None` if it is on the base alone.

    Raises:
        ConfigError: If there is no saved adapter, or it is damaged.
    """
    if config.stack_on is None:
        return None
    try:
        folder = adapter_folder(config.stack_on)
        return Below(folder, read_manifest(folder))
    except FormatError as error:
        raise ConfigError(f"stack_on: {error}") from error


def check_stack(config: TrainConfig, preset: Preset) -> None:
    """Refuse, before anything is loaded, what cannot be stacked.

    Raises:
        ConfigError: With the reason.
    """
    below = below_of(config)
    if below is None:
        return
    where = f"stack_on={config.stack_on!r}"
    if config.out is not None and Path(config.out).resolve() in (
        below.folder.resolve(),
        below.folder.resolve().parent,
    ):
        raise ConfigError(f"{where}: a run cannot be stacked on itself; choose another out.")
    if below.manifest.combines is not None:
        raise ConfigError(
            f"{where} holds the learned weights of {below.manifest.combines.composition!r}, which "
            "an adapter cannot be stacked on; name the run of one adapter."
        )
    if isinstance(method_from_settings(below.manifest.method), AbstractWeightMethod):
        raise ConfigError(
            f"{where}: {below.manifest.name!r} is no adapter at sites but of method "
            f"{below.manifest.method['method']!r}, which nothing can be stacked on; train the "
            "shared one with a method such as bottleneck or lora."
        )
    method = preset.method
    if isinstance(method, AbstractWeightMethod) and not isinstance(method, Head):
        raise ConfigError(
            f"{where}: method {config.method!r} trains the base's own weights, which the adapter "
            "below was not trained on; take one such as bottleneck or lora, or head."
        )


def with_base_below(resolved: ResolvedConfig) -> ResolvedConfig:
    """Take the base of what a run is stacked on, unless a base was asked for.

    Raises:
        ConfigError: If there is no saved adapter, or it is damaged.
    """
    below = below_of(resolved.config)
    if below is None or resolved.origins["base"] != "default":
        return resolved
    base = below.manifest.card.get("base") or below.manifest.base.id
    if base is None:
        return resolved
    origins = {**resolved.origins, "base": f"that of {resolved.config.stack_on}"}
    config = resolved.config.model_copy(update={"base": str(base)})
    return ResolvedConfig(config, origins, resolved.notes)


def load_below(config: TrainConfig, adapters: Adapters, base: Base) -> str | None:
    """Put what a run is stacked on onto its base; returns its name there.

    Raises:
        ConfigError: If it was trained on another base.
        FormatError: If its files are damaged.
    """
    below = below_of(config)
    if below is None:
        return None
    with adapters.original_weights():
        mark = fingerprint(adapters.model, adapters.sites)
    wanted = below.manifest.base
    if mark != wanted.fingerprint:
        raise ConfigError(
            f"stack_on={config.stack_on!r} was trained on {wanted.id or wanted.model_class!r} "
            f"(weights {wanted.fingerprint[:8]}), and this run's base is {base.id!r} (weights "
            f"{mark[:8]}). Leave out base, which is then the same, or stack on another run."
        )
    return load_once(adapters.model, below.folder)
