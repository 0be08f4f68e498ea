"""The one place that imports optional packages and words the error when one is missing."""

import importlib
from types import ModuleType

from inlay.errors import MissingExtraError


def require(package: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional package, or say which extra brings it.

    Args:
        package: The module's import name.
        extra: The name of the extra in `pyproject.toml` that installs it.
        purpose: What needs it, as the start of the message: "reading Parquet".

    Raises:
        MissingExtraError: If the package is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{purpose} needs {package}. Install it with: pip install 'inlay[{extra}]'"
        ) from error
