"""Read `adapter_config.json` of Hugging Face PEFT; an option with an effect we lack is refused."""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from inlay.errors import FormatError

CONFIG_FILE = "adapter_config.json"

WITHOUT_EFFECT = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "inference_mode",
        "peft_type",
        "peft_version",
        "revision",
        "task_type",
    }
)
"""Options of every kind of file that change nothing in what a loaded adapter computes."""


@final
@dataclass(frozen=True, slots=True)
class PeftConfig:
    """The options of a PEFT file, typed access to which names the file in every error."""

    path: Path
    kind: str
    """PEFT's name of the method: `LORA`, `PREFIX_TUNING`, ..."""
    values: Mapping[str, Any]

    def refuse(self, option: str, why: str) -> FormatError:
        """Return the error for an option that cannot be used."""
        return FormatError(f"{self.path}: {option}={self.values.get(option)!r}: {why}")

    def check_options(
        self,
        free: Sequence[str] = (),
        only: Mapping[str, Callable[[Any], bool]] | None = None,
    ) -> None:
        """Refuse options that would change what the adapter computes in a way we do not follow.

        An option that is off (null, false or empty) has no effect, known or not.

        Args:
            free: Options that the reader follows, or that matter for training only.
            only: Option -> which of its values are followed.

        Raises:
            FormatError: Naming the first option that is not followed.
        """
        for option, value in sorted(self.values.items()):
            if option in WITHOUT_EFFECT or option in free:
                continue
            if only is not None and option in only:
                if not only[option](value):
                    raise self.refuse(option, "this has an effect that Inlay does not have.")
            elif value not in (None, False, [], {}, ""):
                known = "this has an effect that Inlay does not have, or is not known."
                raise self.refuse(option, f"{known} Remove it only if you know that it has none.")

    def flag(self, option: str) -> bool:
        """Return an option that is true or false; false if it is not there."""
        value = self.values.get(option, False)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise self.refuse(option, "must be true or false.")

    def whole(self, option: str, default: int | None = None) -> int:
        """Return an option that is a whole number above zero."""
        value = self.values.get(option)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.refuse(option, "must be a whole number above zero.")
        return value

    def number(self, option: str, default: float) -> float:
        """Return an option that is a finite number."""
        value = self.values.get(option, default)
        if not _is_number(value):
            raise self.refuse(option, "must be a number.")
        return float(value)

    def pattern(self, option: str) -> dict[str, float]:
        """Return an option that gives numbers to modules by regular expressions."""
        value = self.values.get(option) or {}
        if not isinstance(value, dict) or not all(_is_number(v) for v in value.values()):
            raise self.refuse(option, "must map names of modules to numbers.")
        for key in value:
            self._compiled(option, key)
        return {key: float(number) for key, number in value.items()}

    def words(self, option: str) -> tuple[str, ...]:
        """Return an option that is a list of words."""
        value = self.values.get(option) or ()
        if isinstance(value, str) or not all(isinstance(word, str) for word in value):
            raise self.refuse(option, "must be a list of names.")
        return tuple(dict.fromkeys(value))

    def names_module(self, option: str, path: str) -> bool:
        """Tell whether an option names a module: by its path's end, or by a regular expression."""
        value = self.values.get(option)
        if isinstance(value, str):
            return self._compiled(option, value).fullmatch(path) is not None
        return any(path == word or path.endswith(f".{word}") for word in self.words(option))

    def in_layers(self, path: str) -> bool:
        """Tell whether `layers_to_transform` leaves a module in."""
        layers = self.values.get("layers_to_transform")
        if layers is None or layers == []:
            return True
        wanted = layers if isinstance(layers, list) else [layers]
        if not all(isinstance(layer, int) for layer in wanted):
            raise self.refuse("layers_to_transform", "must be numbers of layers.")
        patterns = self.values.get("layers_pattern") or [r"[^.]*"]
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            found = self._compiled("layers_pattern", rf"(?:.*?\.)?{pattern}\.(\d+)\.").match(path)
            if found is not None:
                return int(found[found.re.groups]) in wanted
        return False

    def _compiled(self, option: str, text: Any) -> re.Pattern[str]:
        try:
            return re.compile(text)
        except (re.error, TypeError, RecursionError) as error:
            raise self.refuse(option, f"{text!r} is no regular expression ({error}).") from error


def read_config(folder: Path) -> PeftConfig:
    """Read and check the JSON of a PEFT file; its options are checked by the method's reader.

    Raises:
        FormatError: If it is missing, damaged, or of no method.
    """
    path = folder / CONFIG_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FormatError(f"{folder} has no {CONFIG_FILE}; it is no PEFT adapter.") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is damaged ({error}). Copy it again from the source.") from error
    if not isinstance(values, dict) or not isinstance(values.get("peft_type"), str):
        raise FormatError(f"{path}: there is no peft_type, so it is not known what the file holds.")
    return PeftConfig(path, values["peft_type"], values)


def value_for(patterns: Mapping[str, float], path: str, default: float) -> float:
    """Return a module's number: of the first pattern that matches the end of its path."""
    for pattern, number in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", path):
            return number
    return default


def _is_number(value: object) -> bool:
    is_plain = isinstance(value, int | float) and not isinstance(value, bool)
    return is_plain and math.isfinite(value)  # type: ignore[arg-type]
