"""What every learned combination promises."""

import pytest
import torch

from inlay import Fusion, Gate
from inlay.methods.base import Place
from tests.contracts import tiny

METHODS = {
    "fusion": Fusion(temperature=2.0),
    "gate": Gate(),
    "top": Gate(top_k=2),
    "sequence": Gate(per="sequence", top_k=1),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_combination(method):
    layer = method.build(Place(width=5), 3)
    tiny.stir(layer)
    x, updates = torch.randn(2, 4, 5), torch.randn(3, 2, 4, 5)
    combined = layer(x, updates)
    assert combined.update.shape == x.shape
    assert combined.weights.shape[-1] == 3
    torch.testing.assert_close(combined.weights.sum(-1), torch.ones(combined.weights.shape[:-1]))
    assert layer(x, torch.zeros_like(updates)).update.abs().max() == 0, "nothing to combine"
    low = layer(x.bfloat16(), updates.bfloat16())
    assert low.update.dtype == torch.float32
    assert layer.penalty().ndim == 0
    order = [2, 0, 1]
    if method.name == "fusion":
        torch.testing.assert_close(layer(x, updates[order]).update, combined.update)
