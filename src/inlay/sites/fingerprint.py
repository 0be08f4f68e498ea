"""A fingerprint of a base: the same for all task classes and precisions of one set of weights."""

import hashlib
from weakref import WeakKeyDictionary

import torch
from torch import nn

from inlay.sites.sitemap import SiteMap

_SAMPLES = 256
"""Values of each tensor that are hashed; enough to tell any two trainings apart."""


_KEPT: "WeakKeyDictionary[nn.Module, str]" = WeakKeyDictionary()
"""Fingerprints of bases whose weights are stored otherwise since."""


def keep_fingerprint(model: nn.Module, sites: SiteMap) -> None:
    """Remember the fingerprint of a base whose weights are about to be stored in fewer bits."""
    _KEPT[model] = fingerprint(model, sites)


def fingerprint(model: nn.Module, sites: SiteMap) -> str:
    """Hash the weights of the blocks, sampled and rounded to bfloat16.

    Heads and poolers do not count, so a base has one fingerprint under every task class; nor does
    the precision it is stored in (float16 may differ in rare roundings).

    Args:
        model: The base, with its original weights in place.
        sites: Its site map; says which modules are blocks.

    Returns:
        32 hexadecimal digits.
    """
    if model in _KEPT:
        return _KEPT[model]
    modules = dict(model.named_modules())
    digest = hashlib.sha256()
    for site in sites:
        if site.kind != "block":
            continue
        for name, parameter in sorted(modules[site.module].named_parameters()):
            flat = parameter.detach().reshape(-1)
            step = max(1, flat.numel() // _SAMPLES)
            sample = flat[::step].to(torch.bfloat16).view(torch.int16).cpu().contiguous()
            digest.update(f"{site.name}/{name}{tuple(parameter.shape)}".encode())
            digest.update(sample.numpy().tobytes())
    return digest.hexdigest()[:32]
