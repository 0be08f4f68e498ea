"""Every family: what the probe finds is right, and adapters at those sites do what they say."""

import pytest
import torch
from torch import nn

import inlay
from inlay.site_kinds import RESIDUAL_KINDS
from inlay.sites.example import example_inputs
from inlay.sites.sitemap import SiteMap, sitemap_from_json
from inlay.sites.tensors import first_float
from tests.contracts.families import FAMILIES, Family
from tests.contracts.pairs import pairs


@pytest.fixture(params=FAMILIES, ids=str)
def family(request) -> Family:
    return FAMILIES[request.param]


@pytest.fixture
def model(family) -> nn.Module:
    return family.build()


@pytest.fixture
def sites(family) -> SiteMap:
    return family.sites


def last_states(model: nn.Module) -> list[torch.Tensor]:
    with torch.no_grad():
        outputs = model(**example_inputs(model))
    return [v for v in outputs.values() if isinstance(v, torch.Tensor) and v.is_floating_point()]


def test_finds_every_residual_addition(family, sites):
    found = {
        submodel: [
            tuple(
                s.kind for s in sites if s.submodel == submodel and s.block == b and s.is_residual
            )
            for b in range(sites.num_blocks(submodel))
        ]
        for submodel in sites.submodels()
    }
    assert found == {name: [kinds] * family.num_blocks for name, kinds in family.blocks.items()}
    assert sites.unexplained == ()


def test_finds_scales_and_norms(family, sites):
    second = min(1, family.num_blocks - 1)
    for site in sites:
        if site.is_residual:
            assert site.scale == (family.scale or {}).get(site.kind, 1.0)
        if site.is_residual and site.block == second and "conv" not in family.blocks.get("", ()):
            assert site.norm == family.norm
        if site.norm == "post":
            assert site.norm_module is not None


def test_knows_which_positions_are_seen(family, sites):
    causal = {site.submodel for site in sites if site.causal}
    assert causal == set(family.causal)


def test_names_the_linear_maps(family, sites):
    submodel = list(family.blocks)[-1]
    block = sites.num_blocks(submodel) - 1
    maps = [s for s in sites if s.is_linear and s.submodel == submodel and s.block == block]
    assert tuple(site.kind for site in maps) == family.maps


def test_widths_are_those_of_the_modules(model, sites):
    modules = dict(model.named_modules())
    for site in sites:
        if site.is_linear:
            weight = modules[site.module].weight
            assert {site.width, site.in_width} == set(weight.shape)


def test_has_both_ends_of_each_submodel(sites):
    for submodel in sites.submodels():
        own = [site for site in sites if site.submodel == submodel]
        kinds = [site.kind for site in own if site.block is not None or not site.is_map]
        assert kinds[0] == "embedding"
        assert kinds[-1] == "output"


def test_leaves_the_model_as_found(family):
    model = family.build()
    before = last_states(model)
    keys, modes = list(model.state_dict()), [m.training for m in model.modules()]
    inlay.probe(model)
    assert list(model.state_dict()) == keys
    assert [m.training for m in model.modules()] == modes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    for one, two in zip(before, last_states(model), strict=True):
        assert torch.equal(one, two)


def test_map_survives_plain_data(sites):
    assert sitemap_from_json(sites.to_json()).sites == sites.sites


def test_update_is_added_where_the_map_says(model, sites):
    """A constant added to the last `x` of a block moves the block's output by `scale` times it."""
    lasts = {s.submodel: s for s in sites if s.is_residual}
    for submodel, site in lasts.items():
        if site.norm == "post":
            continue  # the norm behind the sum hides the shift; the next test reads that sum
        block = [s for s in sites if s.kind == "block" and s.submodel == submodel][-1]
        constant = torch.linspace(0.5, 1.5, site.width)
        before, after = outputs_with_shift(model, sites, site.name, block.module, constant)
        moved = (after - before).movedim(site.channel_dim, -1)
        expected = (constant * site.scale).expand_as(moved)
        torch.testing.assert_close(moved, expected, atol=2e-5, rtol=1e-4)


def outputs_with_shift(model, sites, site, module, constant):
    """Run without and with a constant added at a site; return a module's two outputs."""
    outputs: list[torch.Tensor] = []
    watched = dict(model.named_modules())[module]
    adapters = inlay.attach(model, sites=sites)
    entry = adapters.add("shift", inlay.Bottleneck(inner_width=1, input="x"), at=site)
    entry.layer_at(site).up.bias.data.copy_(constant)
    handle = watched.register_forward_hook(lambda m, a, o: outputs.append(first_float(o) + 0))
    last_states(model)
    adapters.use("shift")
    last_states(model)
    handle.remove()
    inlay.detach(model)
    return outputs[0], outputs[-1]


def test_reads_the_bases_own_sum(model, sites):
    """What an adapter reads as `x+r` is a tensor that the base itself hands on."""
    kinds = [kind for kind in RESIDUAL_KINDS if kind in sites.kinds()]
    sums = sums_read(model, sites, kinds)
    handed_on = tensors_seen(model)
    streams = [(s.block, s.submodel, s.stream_module) for s in sites if s.is_residual]
    for name, total in sums.items():
        site = sites[name]
        if streams.count((site.block, site.submodel, site.stream_module)) > 1:
            continue  # parallel sublayers: the base adds both at once
        total = total.movedim(-1, site.channel_dim)
        same = [t for t in handed_on if t.numel() == total.numel()]
        assert any(torch.allclose(t.reshape(total.shape), total, atol=1e-5) for t in same), name
    assert len(sums) == sum(site.is_residual for site in sites)


def sums_read(model, sites, kinds):
    """Return what a bottleneck on `x+r` is given at each site (of a shared block: at first)."""
    sums: dict[str, torch.Tensor] = {}

    def keep(name):
        def hook(module, args):
            sums.setdefault(name, args[0].detach().clone())

        return hook

    adapters = inlay.attach(model, sites=sites)
    entry = adapters.add("a", inlay.Bottleneck(inner_width=1, input="x+r"), at=kinds)
    for name, layer in entry.layers.items():
        layer.register_forward_pre_hook(keep(name))
    adapters.use("a")
    last_states(model)
    inlay.detach(model)
    return sums


def tensors_seen(model) -> list[torch.Tensor]:
    """Return everything that any module takes or gives in one forward pass."""
    seen: list[torch.Tensor] = []

    def hook(module, args, kwargs, output):
        seen.extend(
            t.detach().clone()
            for t in (first_float(args), first_float(kwargs), first_float(output))
            if t is not None
        )

    handles = [m.register_forward_hook(hook, with_kwargs=True) for m in model.modules()]
    last_states(model)
    for handle in handles:
        handle.remove()
    return seen


METHODS = (
    "bottleneck[inner_width=5,activation=gelu]",
    "conv[reduction=8]",
    "lora",
    "output",
    "embedding",
    "loreft[first=2,last=2]",
    "side[reduction=3]",
)
SOME = ("bert", "modernbert", "llama", "t5", "mamba", "swin", "clip", "whisper", "wav2vec2")
"""Families of every form: one stack and two, fused maps, windows, towers, no attention."""


@pytest.mark.parametrize(
    ("family", "method"), pairs(FAMILIES, METHODS, SOME, METHODS[:1]), indirect=["family"]
)
def test_every_method_runs_learns_and_leaves(model, sites, method):
    before = last_states(model)
    keys = list(model.state_dict())
    adapters = inlay.attach(model, sites=sites)
    at = None
    blocks = [site for site in sites if site.kind == "block"]
    if method.startswith("loreft") and any(site.channel_dim == 1 for site in blocks):
        with pytest.raises(inlay.errors.ConfigError, match="no first and no last"):
            adapters.add("new/one.x", method)
        return
    if method.startswith(("bottleneck", "conv")):
        at = [kind for kind in RESIDUAL_KINDS if kind in sites.kinds()]
    widths = {(site.submodel, site.width) for site in sites if site.kind == "block"}
    if method.startswith("side") and len(widths) > len(sites.submodels()):
        with pytest.raises(inlay.errors.ConfigError, match="a ladder needs blocks of one width"):
            adapters.add("new/one.x", method)
        return
    entry = adapters.add("new/one.x", method, at=at)
    adapters.train("new/one.x")
    for one, two in zip(before, last_states(model), strict=True):
        assert torch.equal(one, two), "a new adapter changes nothing"
    for parameter in entry.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    states = model(**example_inputs(model))
    loss = sum(
        (v * torch.linspace(0.1, 1.0, v.numel()).view_as(v)).sum()
        for v in states.values()
        if isinstance(v, torch.Tensor) and v.is_floating_point() and v.requires_grad
    )
    loss.backward()
    missing = [
        site
        for site, layer in entry.layers.items()
        if any(p.grad is None or not p.grad.any() for p in layer.parameters())
    ]
    assert missing == []
    assert all(p.grad is None for n, p in model.named_parameters() if not n.startswith("adapters"))
    adapters.remove("new/one.x")
    for one, two in zip(before, last_states(model), strict=True):
        assert torch.equal(one, two)
    inlay.detach(model)
    assert list(model.state_dict()) == keys
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
