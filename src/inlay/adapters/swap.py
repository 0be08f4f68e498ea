"""Exchange weights of the base for an adapter's copies while a comparator is active."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import final

from torch import nn


@final
class WeightSwap:
    """Puts other parameters in the place of a model's own, and the own ones back.

    Args:
        model: The base.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = [model]
        self._originals: list[tuple[nn.Module, str, nn.Parameter]] = []
        self._current: Mapping[str, nn.Parameter] = {}

    def apply(self, weights: Mapping[str, nn.Parameter]) -> None:
        """Make the model run on these weights and on its own ones elsewhere.

        Args:
            weights: Path of a parameter -> what takes its place, wherever the model ties it.
        """
        for module, name, original in self._originals:
            module._parameters[name] = original
        self._originals, self._current = [], weights
        if not weights:
            return
        model = self._model[0]
        new = {id(model.get_parameter(path)): weight for path, weight in weights.items()}
        for module in model.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None and id(parameter) in new:
                    self._originals.append((module, name, parameter))
        for module, name, parameter in self._originals:
            module._parameters[name] = new[id(parameter)]

    @contextmanager
    def originals(self) -> Iterator[None]:
        """Put the base's own weights back for the length of a `with` block."""
        current = self._current
        self.apply({})
        try:
            yield
        finally:
            self.apply(current)
