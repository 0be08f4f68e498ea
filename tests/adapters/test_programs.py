"""What one program does at one site."""

import torch

import inlay
from inlay import Average, Fuse, Route, Stack
from inlay.adapters.programs import Around, SitePass
from inlay.ops import naive
from inlay.sites.padding import Call
from tests.contracts import tiny


class ReadX:
    """Reads nothing but the site's output."""

    def __init__(self, x):
        self.x = x

    def __call__(self, name, changed=None):
        return self.x if changed is None else changed

    def rows(self, index):
        return ReadX(self.x.index_select(0, index))


def site_pass(*, combiners=True, mask=None):
    model = tiny.encoder().double()
    adapters = inlay.attach(model)
    for seed, name in enumerate("ab"):
        method = inlay.Bottleneck(inner_width=3 + seed, input="x", activation="tanh")
        tiny.stir(adapters.add(name, method, at="ffn", layers=[0, seed + 1]), seed=seed)
    if combiners:
        tiny.stir(adapters.add_combiner(Fuse("a", "b")), seed=5)
        tiny.stir(adapters.add_combiner(Route("a", "b")), seed=6)
    x = torch.randn(2, 3, 24, dtype=torch.float64)
    notes = []
    around = Around(adapters.entry, call=Call(mask=mask), note=lambda *what: notes.append(what))
    return adapters, SitePass("0.ffn", x, ReadX(x), around), x, notes


def updates(adapters, x):
    layers = [adapters.entry(name).layer_at("0.ffn") for name in "ab"]
    return torch.stack([layer(x, x) - x for layer in layers])


def test_stack_and_average_by_hand():
    adapters, site, x, _ = site_pass()
    a, b = (adapters.entry(name).layer_at("0.ffn") for name in "ab")
    torch.testing.assert_close(site.run(Stack("a", "b"), x), b(a(x, x), a(x, x)))
    mean = site.run(Average("a", None, weights=(0.3, 0.7)), x)
    torch.testing.assert_close(mean, 0.3 * a(x, x) + 0.7 * x)
    assert site.run(None, x) is x


def test_fusion_at_a_site_is_the_papers_equation():
    adapters, site, x, notes = site_pass()
    layer = adapters.entry("fuse(a, b)").combiner_at("0.ffn")
    expected = naive.fuse(
        x.flatten(0, 1), updates(adapters, x).flatten(1, 2), layer.query.weight, layer.query.bias,
        layer.key.weight, torch.ones(24).double(), layer.value.weight, 1.0,
    )  # fmt: skip
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            result = site.run(Fuse("a", "b"), x)
        torch.testing.assert_close(
            result, x + expected.view_as(x).detach() if not grad else x + expected.view_as(x),
            rtol=1e-10, atol=1e-10,
        )  # fmt: skip
    assert [note[:2] for note in notes] == [("fuse(a, b)", "0.ffn")] * 2
    torch.testing.assert_close(notes[0][2], notes[1][2])


def test_a_child_that_does_not_act_here_updates_nothing():
    adapters, site, _, _ = site_pass()
    x = torch.randn(2, 3, 24, dtype=torch.float64)
    there = SitePass("1.ffn", x, ReadX(x), site.around)
    layer = adapters.entry("fuse(a, b)").combiner_at("1.ffn")
    own = adapters.entry("a").layer_at("1.ffn")
    both = torch.stack([own(x, x) - x, torch.zeros_like(x)])
    torch.testing.assert_close(there.run(Fuse("a", "b"), x), x + layer(x, both).update)
    nowhere = SitePass("0.attention", x, ReadX(x), site.around)
    assert nowhere.run(Fuse("a", "b"), x) is x


def test_some_rows():
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    _, site, x, _ = site_pass(mask=mask)
    part = site.rows(torch.tensor([1]))
    assert torch.equal(part.start, x[1:])
    assert part.around.call.mask.tolist() == [[1, 0, 0]]
    program = Stack("a", Route("a", "b"))
    torch.testing.assert_close(part.run(program, part.start), site.run(program, x)[1:])


def test_a_merged_adapter_acts_without_its_layers():
    _, site, x, _ = site_pass()
    merged = SitePass("0.ffn", x, site.read, Around(site.around.entry, merged="a"))
    assert merged.run("a", x) is x


def test_what_only_reads_is_asked_at_each_turn_where_nothing_is_combined():
    adapters, *_ = site_pass(combiners=False)
    adapters.add("side", "side")
    adapters.add_combiner(Fuse("a", "side"))
    h = [torch.randn(2, 3, 24, dtype=torch.float64) for _ in range(2)]
    around, rung = Around(adapters.entry), adapters.entry("side").layer_at("1.block")
    site = SitePass("1.block", h[0], ReadX(h[0]), around)
    assert site.run(Stack(Fuse("a", "side"), "b"), h[0]) is h[0]
    assert site.run(Average("side", None), h[1]) is h[1]
    assert [torch.equal(rung.seen.hidden[turn], h[turn]) for turn in (0, 1)] == [True, True]
    again = SitePass("1.block", h[1], ReadX(h[1]), around)
    again.run("side", h[1])
    assert torch.equal(rung.seen.hidden[0], h[1]), "turns begin anew at each site and pass"
