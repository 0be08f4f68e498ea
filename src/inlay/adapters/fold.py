"""Replace what an adapter only needs while it learns by what it has learnt."""

from torch import nn

from inlay.adapters.attach import adapters_of
from inlay.errors import AdapterError
from inlay.methods.base import AbstractSiteMethod


def fold(model: nn.Module, name: str) -> None:
    """Make an adapter smaller without changing what it computes.

    The network of a prefix or a prompt is replaced by what it gives. The adapter's parameters are
    new ones afterwards, so an optimiser made before does not know them.

    Args:
        model: A model with adapters.
        name: Which of them.

    Raises:
        AdapterError: If there is no such adapter, or its method has nothing to fold.
    """
    adapters = adapters_of(model)
    entry = adapters.entry(name)
    method = entry.method
    found = method.folded(entry.layers) if isinstance(method, AbstractSiteMethod) else None
    if found is None:
        raise AdapterError(
            f"{name!r} is of method {method.name!r} with nothing to fold; only a prefix with an "
            "inner_width and a prompt with an encoder have a network not needed after training."
        )
    was_training = entry.training
    learns = name in adapters.in_training
    entry.replace_layers(*found)
    entry.train(was_training)
    for layer in found[1].values():
        layer.requires_grad_(learns)
