"""The peer's settings: which there are, what they are by default, and which are known."""

from collections.abc import Mapping
from typing import Any, Final, final

from inlay.errors import FormatError, did_you_mean
from inlay.methods.activation import ACTIVATIONS

_REQUIRED: Final = object()

_BOTTLENECK = {
    "mh_adapter": False,
    "output_adapter": True,
    "non_linearity": "relu",
    "reduction_factor": 16,
    "original_ln_before": True,
}
NAMED: dict[str, dict[str, Any]] = {
    "seq_bn": _BOTTLENECK,
    "double_seq_bn": _BOTTLENECK
    | {"mh_adapter": True, "original_ln_before": False, "non_linearity": "swish"},
    "par_bn": _BOTTLENECK
    | {"original_ln_before": False, "is_parallel": True, "scaling": 4.0, "reduction_factor": 2},
}
"""Configs that files give by name only."""

_OLD_NAMES = {
    "pfeiffer": "seq_bn",
    "houlsby": "double_seq_bn",
    "parallel": "par_bn",
    "pfeiffer+inv": "seq_bn+inv",
    "houlsby+inv": "double_seq_bn+inv",
}

_WITHOUT_MEANING = ("attention_type", "new_attention_norm", "using")
"""Settings of the first versions that never changed what an adapter computes."""

RENAMED_ACTIVATIONS = {
    "gelu_python": "gelu",
    "gelu_pytorch_tanh": "gelu_new",
    "gelu_fast": "gelu_new",
    "leakyrelu": "leaky_relu",
    "linear": "identity",
}
"""The peer's word -> ours, where they differ."""


@final
class Config:
    """One config; every setting is taken once, and none may be left.

    Args:
        where: The file, for messages.
        values: The settings.
    """

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        self.where = where
        self.values = dict(values)
        self.known: list[str] = []

    def take(self, key: str, default: Any = _REQUIRED) -> Any:
        """Return a setting and cross it off.

        Raises:
            FormatError: If it is missing and has no default, or is of another type than that.
        """
        self.known.append(key)
        if key not in self.values:
            if default is _REQUIRED:
                raise FormatError(f"{self.where}: option {key!r} is missing.")
            return default
        value = self.values.pop(key)
        if isinstance(default, bool) and not isinstance(value, bool):
            raise self.wrong(key, value, "true or false")
        return value

    def number(self, key: str, default: Any = _REQUIRED) -> float:
        """Return a number and cross it off.

        Raises:
            FormatError: If it is missing or no number.
        """
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, value, "a number")
        return value

    def activation(self, key: str = "non_linearity", default: Any = _REQUIRED) -> str:
        """Return an activation by our name.

        Raises:
            FormatError: If it is missing or none that is known.
        """
        value = self.take(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, value, "the name of an activation")
        word = RENAMED_ACTIVATIONS.get(value.lower(), value.lower())
        if word not in ACTIVATIONS:
            raise self.wrong(key, value, ", ".join(ACTIVATIONS))
        return word

    def ignore(self, *keys: str) -> None:
        """Cross off settings that do not change what a trained adapter computes."""
        for key in keys:
            self.known.append(key)
            self.values.pop(key, None)

    def wrong(self, key: str, value: object, allowed: str) -> FormatError:
        """Return the error for a value that cannot be used."""
        return FormatError(f"{self.where}: option {key}={value!r} cannot be used; {allowed} can.")

    def done(self) -> None:
        """Refuse what nobody took.

        Raises:
            FormatError: If a setting is left.
        """
        for key in self.values:
            raise FormatError(
                f"{self.where}: unknown option {key!r}; what it does to the adapter is not known, "
                f"so it is not read.{did_you_mean(key, self.known)}"
            )


def configs_of(where: str, value: Any, *, has_version: bool) -> list[tuple[str, Config]]:
    """Take a `config` apart into the methods it is made of.

    Args:
        where: The file, for messages.
        value: The `config` of the file.
        has_version: Whether a version of `adapters` wrote it; before, `gelu` was another one.

    Returns:
        Architecture and settings; a bottleneck is `"bottleneck"`, or `"compacter"`.

    Raises:
        FormatError: If it is neither settings nor a known name.
    """
    if isinstance(value, dict) and isinstance(value.get("using"), str):
        value = value["using"]
    if isinstance(value, str):
        value = _named(where, value)
    if not isinstance(value, dict):
        raise FormatError(f"{where}: 'config' is {value!r}; expected settings.")
    values = {key if key in ("r",) else key.lower(): item for key, item in value.items()}
    architecture = values.pop("architecture", None) or "bottleneck"
    if architecture == "union":
        parts = values.pop("configs", None)
        if not isinstance(parts, list) or not parts:
            raise FormatError(f"{where}: option 'configs' of a union is {parts!r}, not a list.")
        found = [p for part in parts for p in configs_of(where, part, has_version=has_version)]
        Config(where, values).done()
        return found
    for key in _WITHOUT_MEANING:
        values.pop(key, None)
    if not has_version:
        before = {"gelu": "gelu_new", "gelu_orig": "gelu"}
        word = values.get("non_linearity")
        values["non_linearity"] = before.get(str(word), word)
        values = {key: item for key, item in values.items() if item is not None}
    invertible = values.pop("invertible_adapter", None)
    if isinstance(invertible, dict):
        values["inv_adapter"] = invertible.get("block_type")
        values["inv_adapter_reduction_factor"] = invertible.get("reduction_factor")
    found = [(str(architecture), Config(where, values))]
    if architecture == "bottleneck":
        form = values.pop("inv_adapter", None)
        reduction = values.pop("inv_adapter_reduction_factor", None)
        if form is not None:
            own = {"inv_adapter": form, "inv_adapter_reduction_factor": reduction}
            own["non_linearity"] = values.get("non_linearity")
            found.append(("invertible", Config(where, own)))
        # The peer has one class for both and tells them by this switch.
        word = "compacter" if values.get("phm_layer") is True else architecture
        found[0] = (word, Config(where, values))
    return found


def _named(where: str, name: str) -> dict[str, Any]:
    new = _OLD_NAMES.get(name, name)
    base, plus, rest = new.partition("+")
    if base not in NAMED or (plus and rest != "inv"):
        raise FormatError(
            f"{where}: no config is called {name!r}; there are {', '.join(NAMED)}."
            f"{did_you_mean(name, [*NAMED, *_OLD_NAMES])}"
        )
    inverse = {"inv_adapter": "nice", "inv_adapter_reduction_factor": 2} if plus else {}
    return NAMED[base] | inverse
