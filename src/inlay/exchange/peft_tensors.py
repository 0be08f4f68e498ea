"""Read the tensors of a PEFT folder without running anything that is in it."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors
from torch import Tensor

from inlay.errors import FormatError
from inlay.exchange.finite import check_numbers

WEIGHTS_FILE = "adapter_model.safetensors"
PICKLE_FILE = "adapter_model.bin"


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Read `adapter_model.safetensors`, or `adapter_model.bin` if there is no other.

    The latter is a pickle, of which nothing but tensors is accepted (`weights_only`).

    Raises:
        FormatError: If there is neither, or it is damaged or holds anything but numbers.
    """
    path = folder / WEIGHTS_FILE
    if path.is_file():
        tensors = _safetensors(path)
    elif (folder / PICKLE_FILE).is_file():
        path = folder / PICKLE_FILE
        tensors = _pickle(path)
    else:
        raise FormatError(f"{folder} has neither {WEIGHTS_FILE} nor {PICKLE_FILE}.")
    for key, tensor in tensors.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise FormatError(f"{path}: {key!r} is no tensor; an adapter's file holds tensors.")
        check_numbers(path, key, tensor)
    return tensors


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        # The library gives them in another order each time; errors name the first that is wrong.
        return dict(sorted(from_safetensors(path.read_bytes()).items()))
    except (SafetensorError, ValueError, KeyError) as error:
        raise FormatError(
            f"{path} is damaged or no safetensors file ({error}). Copy it again from the source."
        ) from error


def _pickle(path: Path) -> dict[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the pickle's version; what matters is refused
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FormatError(
            f"{path} holds more than tensors, or is damaged: nothing in it was run. Take the "
            f"adapter from {WEIGHTS_FILE}, or from a source you trust."
        ) from error
    except (RuntimeError, ValueError, EOFError, KeyError, AttributeError, OSError) as error:
        raise FormatError(
            f"{path} is damaged ({type(error).__name__}). Copy it again from the source."
        ) from error
    if not isinstance(found, dict):
        raise FormatError(f"{path} holds no table of tensors but {type(found).__name__}.")
    return found
