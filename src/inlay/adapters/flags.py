"""Freeze a base while adapters on it learn, and give it its own gradient flags back."""

from typing import final

from torch import nn


@final
class GradientFlags:
    """Which parameters of a base asked for gradients before it was frozen.

    Args:
        model: The base.
        adapters: Its child whose parameters are not the base's.
    """

    def __init__(self, model: nn.Module, adapters: nn.Module) -> None:
        self._model, self._adapters = [model], [adapters]
        self._flags: dict[str, bool] = {}

    def freeze(self) -> None:
        """Ask for no gradient at all, of base and adapters; remember the base's own flags."""
        parameters = dict(self._model[0].named_parameters())
        own = {id(p) for p in self._adapters[0].parameters()}
        if not self._flags:
            self._flags = {
                path: p.requires_grad for path, p in parameters.items() if id(p) not in own
            }
        for parameter in parameters.values():
            parameter.requires_grad_(False)

    def thaw(self) -> None:
        """Give the base its own flags back; does nothing if it was not frozen."""
        parameters = dict(self._model[0].named_parameters())
        for path, flag in self._flags.items():
            parameters[path].requires_grad_(flag)
        self._flags = {}
