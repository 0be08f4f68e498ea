"""What the hooks read and write, in every form a base uses."""

import pytest
import torch
from torch import nn

from inlay.errors import SiteError
from inlay.sites.hooks import SiteHooks
from inlay.sites.sitemap import Site


class Double:
    """Doubles `x` at every site and keeps what it read."""

    def __init__(self, reads=()):
        self.reads, self.read = reads, {}

    def wants_stream(self, site):
        return bool(self.reads)

    def act(self, site, x, read):
        for name in self.reads:
            self.read[name] = read(name, None)
        return x * 2

    def acts_at(self, site):
        return True

    def act_as_head(self, path, args, kwargs, output):
        return torch.zeros(1)

    def copies(self):
        return 0

    def has_prefix(self, site):
        return False

    def shift(self, words):
        return 0

    def inserted(self):
        return 0

    def returns_prompts(self, site):
        return False

    def prefixes(self, site, query, states):
        return []

    def prompts(self, site, words):
        return None

    def note_cut(self, is_cut):
        pass

    def note_start(self, rows):
        self.rows = rows

    def note_call(self, call):
        self.call = call

    def note_end(self):
        return None


class Tuple(nn.Module):
    def forward(self, x, extra=None):
        return x + 1, "kept"


def install(model, site, actor, streams=()):
    hooks = SiteHooks(model, actor)
    hooks.install([site], streams=frozenset(streams), heads=[], calls=False)
    return hooks


def test_output_in_a_tuple_and_input():
    model = nn.ModuleDict({"m": Tuple()})
    x = torch.ones(2, 3)
    hooks = install(model, Site(name="a", kind="ffn", module="m", width=3), Double())
    assert model["m"](x)[0].tolist() == (2 * (x + 1)).tolist()
    assert model["m"](x)[1] == "kept"
    hooks.install(
        [Site(name="a", kind="embedding", module="m", point="in", width=3)],
        streams=frozenset(), heads=[], calls=False,
    )  # fmt: skip
    assert torch.equal(model["m"](x=x)[0], 2 * x + 1)
    hooks.remove()
    assert torch.equal(model["m"](x)[0], x + 1)


def test_channels_first_and_flattened_positions():
    seen = []

    class Look(Double):
        def act(self, site, x, read):
            seen.append(x.shape)
            return x * 2

    model = nn.Sequential(nn.Identity(), nn.Flatten(0, 1))
    site = Site(name="a", kind="ffn", module="0", width=3, channel_dim=1)
    install(model, site, Look()).model(torch.ones(2, 3, 5, 7))
    assert seen == [(2, 5, 7, 3)]
    flat = Site(name="b", kind="ffn", module="1", width=3, shape_module="0")
    model = nn.Sequential(nn.Identity(), nn.Flatten(0, 1))
    hooks = install(model, flat, Look())
    assert hooks.model(torch.ones(2, 4, 3)).shape == (8, 3)
    assert seen[-1] == (2, 4, 3)


def test_sums_use_the_bases_scale_and_norm():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.map, self.norm = nn.Linear(4, 4), nn.LayerNorm(4)

        def forward(self, r):
            return self.norm(r + 0.5 * self.map(r))

    block = Block()
    model = nn.ModuleDict({"block": block})
    site = Site(
        name="a", kind="ffn", module="block.map", width=4, scale=0.5, norm="post",
        norm_module="block.norm", stream_module="block", stream_point="in",
    )  # fmt: skip
    actor = Double(reads=("x", "r", "x+r", "norm(x+r)"))
    install(model, site, actor, streams=["a"])
    r = torch.randn(2, 3, 4)
    block(r)
    x = block.map.forward(r)
    torch.testing.assert_close(actor.read["x"], x)
    torch.testing.assert_close(actor.read["r"], r)
    torch.testing.assert_close(actor.read["x+r"], r + 0.5 * x)
    torch.testing.assert_close(actor.read["norm(x+r)"], block.norm.forward(r + 0.5 * x))


def test_what_cannot_be_read():
    model = nn.ModuleDict({"m": nn.Identity()})
    site = Site(name="a", kind="ffn", module="m", width=3)
    install(model, site, Double(reads=("r",)))
    with pytest.raises(SiteError, match="'r' cannot be read at site 'a'"):
        model["m"](torch.ones(2, 3))
    with pytest.raises(SiteError, match="does not say where the residual stream can be read"):
        install(model, site, Double(), streams=["a"])


class TwoUpdates(nn.Module):
    """A block whose two updates leave through one module, as where a stochastic depth is shared."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.norm_one, self.norm_two = nn.LayerNorm(4), nn.LayerNorm(4)
        self.drop = nn.Identity()
        self.fails = False

    def forward(self, x):
        x = x + self.drop(self.one(self.norm_one(x)) * self.norm_one.weight)
        y = self.norm_two(x)
        if self.fails:
            raise RuntimeError("broken off")
        return x + self.drop(self.two(y) * self.norm_two.weight)


@pytest.mark.parametrize("turn", [0, 1])
@pytest.mark.parametrize("reads", [(), ("r",)])
def test_two_updates_of_one_module_take_turns(turn, reads):
    torch.manual_seed(1)
    block = TwoUpdates()
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    site = Site(
        name=("one", "two")[turn], kind="ffn", module="drop", width=4, takes_turns=True,
        stream_module=("norm_one", "norm_two")[turn],
    )  # fmt: skip
    x = torch.randn(2, 3, 4)
    factors = (2, 1) if turn == 0 else (1, 2)
    middle = x + factors[0] * block.one(block.norm_one(x)) * block.norm_one.weight
    wanted = middle + factors[1] * block.two(block.norm_two(middle)) * block.norm_two.weight
    actor = Double(reads)
    install(block, site, actor, streams=[site.name] if reads else [])
    for _ in range(2):
        torch.testing.assert_close(block(x), wanted)
    if reads:
        torch.testing.assert_close(actor.read["r"], (x, middle)[turn])


def test_a_pass_that_broke_off_leaves_no_turn_behind():
    torch.manual_seed(1)
    block = TwoUpdates()
    site = Site(
        name="two", kind="ffn", module="drop", width=4, takes_turns=True, stream_module="norm_two"
    )
    hooks = SiteHooks(block, Double())
    hooks.install([site], streams=frozenset(), heads=[], calls=True)
    x = torch.randn(2, 3, 4)
    wanted, block.fails = block(x), True
    with pytest.raises(RuntimeError, match="broken off"):
        block(x)
    block.fails = False
    assert torch.equal(block(x), wanted)
