"""A stamp notices every way in which weights change."""

import torch

from inlay.ops.stamp import Stamp


def test_every_change_is_noticed():
    weights = [torch.nn.Parameter(torch.randn(3)), torch.randn(2)]
    stamp = Stamp(weights)
    assert stamp.holds_for(weights)
    assert not stamp.holds_for(weights[:1])
    assert not stamp.holds_for([weights[0], weights[1].clone()])
    with torch.no_grad():
        weights[0].add_(1)
    assert not stamp.holds_for(weights)
    stamp = Stamp(weights)
    weights[0].data = torch.zeros(3)
    assert not stamp.holds_for(weights)


def test_tensors_of_inference_mode():
    with torch.inference_mode():
        weight = torch.ones(2)
    assert Stamp([weight]).holds_for([weight])
