"""Find the maps outside of all blocks: a pooler's, a projection's, the patches' convolution."""

from collections.abc import Mapping
from itertools import pairwise

from torch import nn

from inlay.sites.heads import own_heads
from inlay.sites.linear_maps import convolutions, is_linear
from inlay.sites.listen import Recording
from inlay.sites.sitemap import Site


def outer_maps(
    recording: Recording, model: nn.Module, modules: Mapping[str, nn.Module], starts: dict[str, int]
) -> list[Site]:
    """Make a site of kind `other`, `lm_head` or `kernel` for each map that ran and is in no block.

    Heads are left out, as they are copied or trained as a whole. A site's name is its path without
    the prefix of a task class, `pooler.dense`.

    Args:
        recording: What happened outside of the blocks.
        model: The model.
        modules: Its modules by path.
        starts: Submodel -> when its first block began; a linear map belongs to the last one before
            it, and a convolution, which makes what blocks read, to the first one behind it.
    """
    words = getattr(model, "get_output_embeddings", lambda: None)()
    heads = tuple(f"{path}." for path in own_heads(model))
    prefix = ""
    if getattr(model, "base_model", model) is not model:
        prefix = f"{model.base_model_prefix}."
    sites: dict[str, Site] = {}
    for before, after in pairwise(recording.root):
        path = before.module
        is_call = (before.point, after.point, after.module) == ("in", "out", path)
        if not is_call or path in recording.calls or f"{path}.".startswith(heads):
            continue
        if not is_linear(modules[path], before, after):
            continue
        earlier = [name for name, start in starts.items() if start < before.order]
        sites.setdefault(
            path,
            Site(
                name=path.removeprefix(prefix), module=path,
                kind="lm_head" if modules[path] is words else "other",
                submodel=(earlier or list(starts)[:1])[-1],
                width=after.tensor.shape[-1], in_width=before.tensor.shape[-1],
            ),
        )  # fmt: skip
    for found in convolutions(recording.root, modules):
        if found.module in recording.calls or f"{found.module}.".startswith(heads):
            continue
        order = next(e.order for e in recording.root if e.module == found.module)
        later = [name for name, start in starts.items() if start > order]
        name = found.module.removeprefix(prefix)
        sites[found.module] = Site(
            name=name, kind="kernel", module=found.module, width=found.out_width,
            in_width=found.in_width, channel_dim=found.channel_dim,
            submodel=(later or list(starts)[-1:])[0],
        )  # fmt: skip
    return list(sites.values())
