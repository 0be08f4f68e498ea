"""What a sublayer does is told from derivatives, not from names."""

import pytest
import torch
from torch import nn

import inlay
from tests.contracts import tiny


class Parts(nn.Module):
    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x, states=None):
        return x + (self.part(x) if states is None else self.part(x, states))


class Stacked(nn.Module):
    def __init__(self, part):
        super().__init__()
        self.layers = nn.ModuleList([Parts(part)])

    def forward(self, x, states=None):
        for layer in self.layers:
            x = layer(x) if states is None else layer(x, states)
        return x


class Shift(nn.Module):
    """Each position sees the one before it."""

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(6, 6)

    def forward(self, x):
        return torch.cat([torch.zeros_like(x[:, :1]), self.map(x)[:, :-1]], dim=1)


class Convolve(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = nn.Conv1d(6, 6, 3, padding=1)

    def forward(self, x):
        return self.kernel(x.transpose(1, 2)).transpose(1, 2)


class Read(nn.Module):
    """Each position reads the mean of other states."""

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(6, 6)

    def forward(self, x, states):
        return self.map(x) * states.mean(1, keepdim=True)


@pytest.mark.parametrize(
    ("part", "kind", "causal"),
    [
        (nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 6)), "ffn", False),
        (Shift(), "mixer", True),
        (Convolve(), "conv", False),
    ],
    ids=["ffn", "shift", "conv"],
)
def test_kinds(part, kind, causal):
    model = tiny.perturbed(Stacked(part))
    (site,) = [s for s in inlay.probe(model, (torch.randn(2, 7, 6),)) if s.is_residual]
    assert (site.kind, site.causal) == (kind, causal)


def test_reading_elsewhere_is_cross_attention():
    model = tiny.perturbed(Stacked(Read()))
    inputs = (torch.randn(2, 5, 6), torch.randn(2, 7, 6))
    (site,) = [s for s in inlay.probe(model, inputs) if s.is_residual]
    assert site.kind == "cross_attention"
