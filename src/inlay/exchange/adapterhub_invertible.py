"""Read invertible adapters, which AdapterHub puts on the stream as it enters the first block."""

from typing import Any

import torch
from torch import Tensor, nn

from inlay.adapters.attach import adapters_of
from inlay.errors import FormatError
from inlay.exchange.adapterhub_config import Config
from inlay.exchange.adapterhub_parts import Part, Source, Tails
from inlay.methods.invertible import Invertible
from inlay.sites.example import example_inputs
from inlay.sites.sitemap import Site
from inlay.sites.tensors import first_float, first_float_argument

_NO_INVERSE = (
    "the invertible adapter is not undone before a language model's head, as in AdapterHub with "
    "the head of a task class; in the paper it is"
)


def invertible_parts(source: Source, config: Config) -> list[Part]:
    """Read an invertible adapter (NICE).

    Raises:
        FormatError: If an option or a tensor is missing, unknown, or the word vectors of this
            model are not yet the stream.
    """
    form = config.take("inv_adapter")
    if form != "nice":
        raise config.wrong("inv_adapter", form, "'nice'")
    config.take("inv_adapter_reduction_factor")  # the tensors' sizes say it
    activation = config.activation()
    config.done()
    names = source.under("invertible_adapters")
    owners = {name.owner for name in names}
    if len(owners) != 1:
        raise FormatError(
            f"{source.where}: there are no tensors of an invertible adapter, or of several."
        )
    owner = owners.pop()
    site = _embedding(source, owner)
    _check_is_stream(source, site)
    start = f"{owner}.invertible_adapters.{source.checkpoint.name}".lstrip(".")
    tails = Tails(source, start, {name.tail: name.key for name in names})
    cut = site.width // 2
    inner = len(tails.take("F.0.weight", None, site.width - cut))
    tensors: dict[str, Tensor] = {}
    for net, given, got in (("F", site.width - cut, cut), ("G", cut, site.width - cut)):
        own = f"site/{site.name}/coupling.{net.lower()}"
        tensors[f"{own}.0.weight"] = tails.take(f"{net}.0.weight", inner, given)
        tensors[f"{own}.0.bias"] = tails.take(f"{net}.0.bias", inner)
        tensors[f"{own}.2.weight"] = tails.take(f"{net}.2.weight", got, inner)
        tensors[f"{own}.2.bias"] = tails.take(f"{net}.2.bias", got)
    method = Invertible(reduction=cut / inner, activation=activation)
    return [Part(method=method, sites=(site.name,), tensors=tensors, notes=(_NO_INVERSE,))]


def _embedding(source: Source, owner: str) -> Site:
    """Return the word vectors that the adapter is for."""
    submodels = source.sites.submodels()
    submodel = source.finder.submodel(owner) if len(submodels) > 1 else submodels[0]
    for site in source.sites:
        if site.kind == "embedding" and site.submodel == submodel:
            return site
    raise FormatError(f"{source.where}: this model has no word vectors for {owner!r}.")


def _check_is_stream(source: Source, site: Site) -> None:
    """Refuse a model that adds to its word vectors before the first block.

    AdapterHub acts behind that, where there is no site.

    Raises:
        FormatError: If it does.
    """
    block = next(
        s for s in source.sites if (s.kind, s.submodel, s.block) == ("block", site.submodel, 0)
    )
    seen: dict[str, Tensor | None] = {}

    def vectors(module: nn.Module, args: Any, output: Any) -> None:
        seen["vectors"] = first_float(output)

    def stream(module: nn.Module, args: Any, kwargs: Any) -> None:
        seen.setdefault("stream", first_float_argument(args, kwargs))

    model, was_training = source.model, source.model.training
    handles = [
        model.get_submodule(site.module).register_forward_hook(vectors),
        model.get_submodule(block.module).register_forward_pre_hook(stream, with_kwargs=True),
    ]
    try:
        model.eval()
        with adapters_of(model).using(None), torch.no_grad():
            model(**example_inputs(model))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    one, two = seen.get("vectors"), seen.get("stream")
    if site.point == "out" and one is not None and two is not None and torch.equal(one, two):
        return
    raise FormatError(
        f"{source.where}: AdapterHub puts an invertible adapter behind the positions and norms of "
        "the embeddings. This model has such behind its word vectors, or no words; there is no "
        "site for that."
    )
