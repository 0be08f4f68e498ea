"""The probe on models that no library knows, and on models that defeat it."""

import pytest
import torch
from torch import nn

import inlay
from inlay.errors import SiteError
from tests.contracts import tiny
from tests.contracts.families import FAMILIES


class Mixer(nn.Module):
    """Attention by hand: three maps that nobody has named, and one more."""

    def __init__(self, width):
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(width, width) for _ in range(3))
        self.last = nn.Linear(width, width)

    def forward(self, x):
        weights = (self.first(x) @ self.second(x).transpose(1, 2)).softmax(-1)
        return self.last(weights @ self.third(x))


class Layer(nn.Module):
    def __init__(self, width=12):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix = Mixer(width)
        self.wide, self.act, self.narrow = nn.Linear(width, 20), nn.GELU(), nn.Linear(20, width)

    def forward(self, x):
        x = x + self.mix(self.n1(x))
        return x + 0.5 * self.narrow(self.act(self.wide(self.n2(x))))


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(30, 12)
        self.layers = nn.ModuleList([Layer(), Layer()])
        self.final = nn.LayerNorm(12)

    def forward(self, ids):
        x = self.table(ids)
        for layer in self.layers:
            x = layer(x)
        return self.final(x)


def test_a_plain_module():
    torch.manual_seed(1)
    model = tiny.perturbed(Plain())
    sites = inlay.probe(model, {"ids": torch.tensor([[1, 2, 3, 4, 5], [9, 8, 7, 6, 5]])})
    assert [(s.name, s.module, s.scale, s.norm) for s in sites if s.block in (None, 1)] == [
        ("embedding", "table", 1.0, "none"),
        ("start", "layers.0", 1.0, "none"),
        ("1.attention", "layers.1.mix", 1.0, "pre"),
        ("1.attention.q", "layers.1.mix.first", 1.0, "none"),
        ("1.attention.k", "layers.1.mix.second", 1.0, "none"),
        ("1.attention.v", "layers.1.mix.third", 1.0, "none"),
        ("1.attention.o", "layers.1.mix.last", 1.0, "none"),
        ("1.ffn", "layers.1.narrow", 0.5, "pre"),
        ("1.ffn.up", "layers.1.wide", 1.0, "none"),
        ("1.ffn.down", "layers.1.narrow", 1.0, "none"),
        ("1.block", "layers.1", 1.0, "none"),
        ("output", "final", 1.0, "none"),
    ]
    assert not any(site.causal for site in sites)


@pytest.mark.parametrize("norm_first", [False, True])
def test_pytorchs_own_encoder_decoder(norm_first):
    torch.manual_seed(1)
    model = nn.Transformer(24, 4, 2, 2, 40, norm_first=norm_first, batch_first=True)
    model.encoder.enable_nested_tensor = False
    sites = inlay.probe(tiny.perturbed(model), (torch.randn(2, 7, 24), torch.randn(2, 5, 24)))
    kinds = [s.kind for s in sites if s.submodel == "decoder" and s.block == 0 and s.is_residual]
    assert kinds == ["attention", "cross_attention", "ffn"]
    assert sites["encoder.1.ffn"].norm == ("pre" if norm_first else "post")


test_pytorchs_own_encoder_decoder = pytest.mark.filterwarnings("ignore:enable_nested_tensor")(
    test_pytorchs_own_encoder_decoder
)


def test_a_model_without_residuals():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with pytest.raises(
        SiteError,
        match=r"Sequential: no residual addition was found. Looked at "
        r"2 calls .* Name the sites by hand: `inlay.attach\(model, sites=",
    ):
        inlay.probe(model, (torch.randn(2, 4),))


def test_an_example_that_does_not_fit():
    with pytest.raises(
        SiteError,
        match=r"BertModel: the forward pass on your example failed: "
        r"\w+Error: .* Pass inputs that it takes",
    ):
        inlay.probe(tiny.encoder(), {"sound": torch.randn(2, 4)})


def test_sites_made_by_hand():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4))
    site = inlay.Site(name="0.ffn", kind="ffn", module="2", width=4, block=0, stream_module="0")
    inlay.attach(model, sites=inlay.SiteMap((site,)))
    entry = model.adapters.add("a", inlay.Bottleneck(input="x+r", inner_width=2), at="ffn")
    tiny.stir(entry)
    x = torch.randn(3, 4)
    before = model(x)
    model.adapters.use("a")
    layer = entry.layer_at("0.ffn")
    torch.testing.assert_close(model(x), layer(before + x, before))
    model.adapters.remove("a")
    wrong = inlay.Site(name="0.ffn", kind="ffn", module="nowhere", width=4, block=0)
    inlay.detach(model)
    inlay.attach(model, sites=inlay.SiteMap((wrong,)))
    with pytest.raises(SiteError, match="this model has no module 'nowhere'"):
        model.adapters.add("a", inlay.Bottleneck(input="x"), at="ffn")


def test_the_random_state_is_not_touched():
    model = tiny.encoder()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    inlay.probe(model)
    assert torch.equal(torch.rand(1), expected)


def test_two_updates_that_leave_through_one_module_take_turns():
    """A stochastic depth that both sublayers share, behind scales that are no modules."""
    sites = inlay.probe(FAMILIES["beit"].build())
    own = [site for site in sites if site.block == 1 and site.is_residual]
    assert len({site.module for site in own}) == 1
    assert all(site.takes_turns for site in own)
    assert len({site.stream_module for site in own}) == 2
    assert not any(site.takes_turns for site in inlay.probe(FAMILIES["dinov2"].build()))
