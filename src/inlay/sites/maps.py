"""The maps of a base as matrices: linear maps, tables of word vectors, convolutions."""

from collections.abc import Callable, Mapping
from typing import Literal, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inlay.sites.sitemap import Site

_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
"""Dimensions of a kernel -> the function."""


@final
class BaseMap:
    """A map's weight as a matrix `(width, in_width)`, at the time of the call, without gradient.

    A table multiplies one-hot words, a convolution the patches that its kernel sees. It holds the
    module and not the tensor, so that a move, a merge and a copy of the whole model are followed.

    Args:
        module: The map.
        form: What it is.
        factor: What a table multiplies its rows by.
    """

    def __init__(
        self, module: nn.Module, form: Literal["linear", "table", "kernel"], factor: float = 1.0
    ) -> None:
        self._module, self._form, self._factor = module, form, factor

    def __call__(self) -> Tensor:
        """Return the weight, `(width, in_width)`, a view unless it is stored in fewer bits."""
        weight = self._module.get_parameter("weight").detach()
        if is_in_fewer_bits(weight):
            weight = weight.dequantize()
        if self._form == "kernel":
            return weight.flatten(1)
        return weight.T if self._is_turned else weight

    @property
    def in_width(self) -> int:
        """Columns of the matrix."""
        return self().shape[1]

    @property
    def apply(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        """Multiplies what the module is given by a matrix; `None` for a linear map."""
        ways = {"linear": None, "table": self._look_up, "kernel": self._convolve}
        return ways[self._form]

    def in_place(self, matrix: Tensor) -> Tensor:
        """Return a matrix `(width, in_width)` in the form of the module's own weight."""
        if self._form == "kernel":
            return matrix.view(self._module.get_parameter("weight").shape)
        return matrix.T if self._is_turned else matrix

    @property
    def _is_turned(self) -> bool:
        # A table, and a map that multiplies from the right, keep (in, out).
        return not isinstance(self._module, nn.Linear)

    def _look_up(self, words: Tensor, matrix: Tensor) -> Tensor:
        return F.embedding(words, matrix.T) * self._factor

    def _convolve(self, inputs: Tensor, matrix: Tensor) -> Tensor:
        module = cast(nn.Conv2d, self._module)
        shape = module.weight.shape[1:]
        kernel = matrix.view(-1, *shape)
        convolve: Callable[..., Tensor] = _CONVOLVE[len(shape) - 1]
        found = convolve(inputs, kernel, None, module.stride, module.padding, module.dilation)
        return found.movedim(1, -1)


def base_map(site: Site, model: nn.Module) -> BaseMap | None:
    """Return the map at a site as a matrix, or `None` if there is none that can be read so."""
    try:
        module = model.get_submodule(site.module)
        weight = module.get_parameter("weight")
    except AttributeError:
        return None
    if not weight.is_floating_point():
        return None
    if site.kind == "kernel":
        found = BaseMap(module, "kernel") if is_convolution(module) else None
    elif site.kind == "embedding" and site.point == "out":
        factor = _factor(module, weight)
        found = None if factor is None else BaseMap(module, "table", factor)
    else:
        found = BaseMap(module, "linear") if site.is_linear and weight.ndim == 2 else None
    if found is None or found().shape[0] != site.width:
        return None
    return found if site.in_width in (None, found.in_width) else None


def is_in_fewer_bits(weight: Tensor) -> bool:
    """Tell whether a weight is made of several tensors, such as int8 numbers and their scales."""
    return hasattr(weight, "__tensor_flatten__")  # PyTorch's own protocol


def is_convolution(module: nn.Module) -> bool:
    """Tell whether a module is a plain convolution: of all channels, with zeros around it."""
    return (
        isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        and isinstance(module.weight, nn.Parameter)
        and (module.groups, module.padding_mode) == (1, "zeros")
    )


def _factor(module: nn.Module, weight: nn.Parameter) -> float | None:
    """Return what a table multiplies its rows by; `None` if it does something else with them."""
    if weight.ndim != 2 or getattr(module, "max_norm", None) is not None:
        return None
    words = torch.arange(min(8, len(weight)), device=weight.device)
    rows = weight.detach()[words].double()
    try:
        with torch.no_grad():
            given = module.forward(words[None])[0].double()
    except Exception:  # a module that takes something else is no table
        return None
    squares = float((rows * rows).sum())
    if given.shape != rows.shape or not squares:
        return None
    factor = float((given * rows).sum()) / squares
    tolerance = 32 * torch.finfo(weight.dtype).eps
    if not torch.allclose(given, rows * factor, rtol=tolerance, atol=tolerance):
        return None
    return 1.0 if abs(factor - 1) < tolerance else factor


def sharers(model: nn.Module, parameter: nn.Parameter, module: nn.Module) -> list[str]:
    """List the paths of further modules that hold a parameter of a module as their own."""
    holders: Mapping[str, nn.Module] = dict(model.named_modules())
    return [
        path
        for path, other in holders.items()
        if other is not module and any(own is parameter for own in other._parameters.values())
    ]
