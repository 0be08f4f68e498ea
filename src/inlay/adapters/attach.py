"""Put `model.adapters` on a model and take it off again."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from inlay.adapters.bank import Adapters
from inlay.errors import AdapterError
from inlay.sites.probe import probe
from inlay.sites.sitemap import SiteMap


def attach(
    model: nn.Module,
    *,
    sites: SiteMap | None = None,
    example: Mapping[str, Any] | tuple[Any, ...] | None = None,
) -> Adapters:
    """Find a model's sites and give it an empty `model.adapters`; nothing else changes.

    Args:
        model: Any Transformer.
        sites: A map made by hand or kept from before; found by `probe` if not given.
        example: Arguments of one forward pass, for a model that is no Hugging Face model.

    Returns:
        The object that is also at `model.adapters`.

    Raises:
        AdapterError: If the model has an attribute `adapters` already.
        SiteError: If no sites can be found.
    """
    if hasattr(model, "adapters"):
        what = "adapters" if isinstance(model.adapters, Adapters) else "an attribute 'adapters'"
        raise AdapterError(f"{type(model).__name__} has {what} already; detach it first.")
    adapters = Adapters(model, sites if sites is not None else probe(model, example))
    adapters.train(model.training)
    model.adapters = adapters
    return adapters


def detach(model: nn.Module) -> None:
    """Remove all adapters, hooks and `model.adapters`; the model is as it was before `attach`.

    Raises:
        AdapterError: If the model has no adapters.
    """
    adapters_of(model).close()
    del model.adapters


def adapters_of(model: nn.Module) -> Adapters:
    """Return `model.adapters`.

    Raises:
        AdapterError: If `attach` was not called on the model.
    """
    found = getattr(model, "adapters", None)
    if not isinstance(found, Adapters):
        raise AdapterError(
            f"{type(model).__name__} has no adapters; call `inlay.attach(model)` first."
        )
    return found
