"""Methods from and to text and plain data: `lora[rank=4,alpha=8]`, `top:2`, `pfeiffer`."""

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from inlay.errors import ConfigError, did_you_mean
from inlay.methods.base import AbstractMethod, AbstractSiteMethod, from_settings
from inlay.methods.bottleneck import Bottleneck
from inlay.methods.combining import AbstractCombineMethod
from inlay.methods.compacter import Compacter
from inlay.methods.comparators import Full, Head, Top
from inlay.methods.conv import ConvAdapter
from inlay.methods.ends import EmbeddingAdapter, OutputAdapter
from inlay.methods.fusion import Fusion
from inlay.methods.gate import Gate
from inlay.methods.ia3 import IA3
from inlay.methods.invertible import Invertible
from inlay.methods.lora import LoRA
from inlay.methods.loreft import LoReFT
from inlay.methods.parts_of_base import BitFit, Norms
from inlay.methods.prefix import Prefix
from inlay.methods.presets import PRESETS, Preset
from inlay.methods.prompt import Prompt
from inlay.methods.side import Side
from inlay.methods.union import Part, Union
from inlay.methods.vera import VeRA

METHODS: dict[str, type[AbstractMethod]] = {
    method.name: method
    for method in (
        Bottleneck,
        Compacter,
        ConvAdapter,
        EmbeddingAdapter,
        OutputAdapter,
        LoRA,
        IA3,
        VeRA,
        LoReFT,
        Invertible,
        Prefix,
        Prompt,
        Side,
        Union,
        BitFit,
        Norms,
        Full,
        Top,
        Head,
    )
}
"""Every method by its name: the one list that a new method is added to."""

COMBINE_METHODS: dict[str, type[AbstractCombineMethod]] = {
    method.name: method for method in (Fusion, Gate)
}
"""Every way to learn a combination by its name."""

M = TypeVar("M", bound=AbstractMethod)

_TEXT = re.compile(r"^\s*(?P<name>[^\[\]:]+?)\s*(?::(?P<number>\d+)|\[(?P<settings>.*)\])?\s*$")


def parse_method(text: str) -> Preset:
    """Read a method and its default placement from text.

    Args:
        text: A method or preset, with settings in brackets: `bottleneck[reduction=8]`; `top:2`
            is short for `top[blocks=2]`. Several are joined by `|`: `prefix | lora[rank=4]`. The
            settings of a preset of several methods name the method: `unipelt[lora.rank=4]`.

    Raises:
        ConfigError: If the name or a setting is not known, or a value is not allowed.

    Example:
        >>> parse_method("lora[rank=4,alpha=8]").method == LoRA(rank=4, alpha=8)
        True
        >>> parse_method("top:2").method
        Top(blocks=2)
    """
    if "|" in text:
        parts = [_part(text, one) for one in text.split("|")]
        union = Union(parts=tuple(parts))
        return Preset(method=union, at=union.own_place())
    match = _TEXT.match(text)
    name = match["name"] if match else text
    if match is None or (name not in METHODS and name not in PRESETS):
        known = [*METHODS, *PRESETS]
        raise ConfigError(
            f"no method {name!r}; there are {', '.join(known)}.{did_you_mean(name, known)}"
        )
    settings = _settings(text, match["settings"])
    if match["number"] is not None:
        if name != "top":
            raise ConfigError(f"{text!r}: only top takes a number; write {name}[setting=value].")
        settings["blocks"] = int(match["number"])
    if name in PRESETS:
        preset = PRESETS[name]
        if isinstance(preset.method, Union):
            union = preset.method.changed(settings)
            return Preset(method=union, at=union.own_place())
        base = preset.method.settings()
        del base["method"]
        return Preset(method=from_settings(type(preset.method), base | settings), at=preset.at)
    method = from_settings(METHODS[name], settings)
    return Preset(method=method, at=method.default_at)


def _part(text: str, one: str) -> Part:
    """Read one of the methods that are joined by `|`."""
    found = parse_method(one)
    if not isinstance(found.method, AbstractSiteMethod):
        raise ConfigError(
            f"{text!r}: {one.strip()!r} trains weights of the base and cannot be joined with "
            "other methods."
        )
    return Part(method=found.method, at=found.at)


def _settings(text: str, inside: str | None) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for part in re.split(r",(?![^{]*\})", inside or ""):
        if not part.strip():
            continue
        key, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(f"{text!r}: {part.strip()!r} is not of the form setting=value.")
        settings[key.strip()] = _value(value.strip())
    return settings


def _value(text: str) -> Any:
    """Read a number, true, false, null or a mapping as JSON would; anything else is a word."""
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except json.JSONDecodeError:
        return None if text == "None" else text


def method_from_settings(settings: Mapping[str, Any]) -> AbstractMethod:
    """Build a method from what `AbstractMethod.settings` gave.

    Raises:
        ConfigError: If the method or a setting is not known, or a value is not allowed.
    """
    values = _without_name(settings)
    if settings.get("method") == Union.name and isinstance(values.get("parts"), list | tuple):
        values["parts"] = tuple(_saved_part(part) for part in values["parts"])
    return from_settings(_named(settings, METHODS), values)


def _saved_part(settings: Any) -> Part:
    """Build a part of a union from plain data."""
    if not isinstance(settings, Mapping) or not isinstance(settings.get("at"), str):
        raise ConfigError(f"union: {settings!r} is no part; it needs a method and its at.")
    own = {key: value for key, value in settings.items() if key != "at"}
    method = method_from_settings(own)
    if not isinstance(method, AbstractSiteMethod):
        raise ConfigError(f"union: {method!r} is no method that acts at sites.")
    return Part(method=method, at=settings["at"])


def combine_method_from_settings(settings: Mapping[str, Any]) -> AbstractCombineMethod:
    """Build the settings of a learned combination from plain data.

    Raises:
        ConfigError: If the method or a setting is not known, or a value is not allowed.
    """
    return from_settings(_named(settings, COMBINE_METHODS), _without_name(settings))


def _named(settings: Mapping[str, Any], known: Mapping[str, type[M]]) -> type[M]:
    name = settings.get("method")
    if not isinstance(name, str) or name not in known:
        raise ConfigError(
            f"no method {name!r}; there are {', '.join(known)}.{did_you_mean(str(name), known)}"
        )
    return known[name]


def _without_name(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != "method"}
