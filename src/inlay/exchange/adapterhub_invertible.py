"""Read invertible adapters, which AdapterHub puts on the stream as it enters the first block."""

from torch import Tensor

from inlay.errors import FormatError
from inlay.exchange.adapterhub_config import Config
from inlay.exchange.adapterhub_parts import Part, Source, Tails
from inlay.methods.invertible import Invertible
from inlay.sites.sitemap import Site

_NO_INVERSE = (
    "the invertible adapter is not undone before a language model's head, as in AdapterHub with "
    "the head of a task class; in the paper it is"
)


def invertible_parts(source: Source, config: Config) -> list[Part]:
    """Read an invertible adapter (NICE).

    Raises:
        FormatError: If an option or a tensor is missing or unknown, or there is no such site.
    """
    form = config.take("inv_adapter")
    if form != "nice":
        raise config.wrong("inv_adapter", form, "'nice'")
    config.take("inv_adapter_reduction_factor")  # the tensors' sizes say it
    activation = config.activation()
    config.done()
    if getattr(source.model.config, "conv_kernel_size", 0):  # of DeBERTa-v2
        raise FormatError(
            f"{source.where}: the convolution beside the first block of this model reads the same "
            "stream, which AdapterHub's invertible adapter is in front of and ours is not."
        )
    if source.checkpoint.interface is not None:
        raise FormatError(
            f"{source.where}: an invertible adapter that AdapterHub hooked into a model acts on "
            "the word vectors and is undone before a head, which cannot be expressed."
        )
    names = source.under("invertible_adapters")
    owners = {name.owner for name in names}
    if len(owners) != 1:
        raise FormatError(
            f"{source.where}: there are no tensors of an invertible adapter, or of several."
        )
    owner = owners.pop()
    site = _start(source, owner)
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


def _start(source: Source, owner: str) -> Site:
    """Return where the stream enters the first block.

    Raises:
        FormatError: If this model has no words, or a first block that runs several times.
    """
    submodels = source.sites.submodels()
    submodel = source.finder.submodel(owner) if len(submodels) > 1 else submodels[0]
    for site in source.sites:
        if site.kind == "start" and site.submodel == submodel:
            return site
    raise FormatError(
        f"{source.where}: AdapterHub puts an invertible adapter on the stream as it enters the "
        f"first block, for which this model has no site{f' in {submodel!r}' if submodel else ''}."
    )
