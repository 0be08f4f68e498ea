"""Every error the library raises; each says what was asked, what is wrong and what to do.

InlayError
├── ConfigError         a setting has a value that cannot be used              (ValueError)
├── SiteError           a model cannot be understood, or a query finds no site (LookupError)
├── AdapterError        an adapter's name is unknown, taken or cannot be used  (LookupError)
├── CompositionError    a composition cannot be run as asked                   (ValueError)
├── FormatError         a file is not what it should be                        (ValueError)
├── DataError           the user's rows cannot be used                         (ValueError)
├── BaseError           the base model cannot be found or loaded               (LookupError)
├── RunError            a run's folder cannot be used or resumed               (RuntimeError)
├── TrainingError       training went wrong (not a number, no improvement)     (RuntimeError)
├── ResourceError       memory or disk ran out                                 (RuntimeError)
└── MissingExtraError   an optional package is not installed                   (ImportError)
"""

import difflib
from collections.abc import Iterable
from typing import ClassVar


class InlayError(Exception):
    """An error with a message meant for the user; `exit_code` is what the command line returns."""

    exit_code: ClassVar[int] = 2


class ConfigError(InlayError, ValueError):
    """A setting has a value that cannot be used."""


class SiteError(InlayError, LookupError):
    """A model cannot be understood, or a placement finds no site."""


class AdapterError(InlayError, LookupError):
    """An adapter's name is unknown, is taken already, or the adapter cannot do what was asked."""


class CompositionError(InlayError, ValueError):
    """A composition cannot be run as asked."""


class FormatError(InlayError, ValueError):
    """A file is damaged, foreign, of a newer version, or does not fit the model."""


class DataError(InlayError, ValueError):
    """The user's rows cannot be used."""

    exit_code: ClassVar[int] = 3


class BaseError(InlayError, LookupError):
    """The base model cannot be found or loaded."""


class RunError(InlayError, RuntimeError):
    """A run's folder cannot be used, resumed or compared."""


class TrainingError(InlayError, RuntimeError):
    """Training cannot go on, for example because the loss is not a number."""

    exit_code: ClassVar[int] = 1


class ResourceError(InlayError, RuntimeError):
    """Memory or disk ran out."""

    exit_code: ClassVar[int] = 5


class MissingExtraError(InlayError, ImportError):
    """A package that an optional feature needs is not installed."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the nearest known word, or an empty string.

    Args:
        word: What was written.
        known: The words that would have been understood.

    Example:
        >>> did_you_mean("lerning_rate", ["learning_rate", "epochs"])
        " Did you mean 'learning_rate'?"
        >>> did_you_mean("x", ["learning_rate"])
        ''
    """
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def counted(number: int, noun: str) -> str:
    """Return `1 row` or `2 rows`, for messages and notes.

    Args:
        number: Of things.
        noun: One of them, whose plural ends in s.

    Example:
        >>> counted(1, "row"), counted(1200, "row")
        ('1 row', '1 200 rows')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}".replace(",", " ")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out, on whatever device."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return "not enough memory" in str(error) or "can't allocate memory" in str(error)
