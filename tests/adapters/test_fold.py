"""A folded adapter computes the same with fewer weights."""

import pytest
import torch

import inlay
from inlay.errors import AdapterError
from tests.contracts import tiny


def test_a_folded_prefix_is_smaller_and_the_same(tmp_path):
    model = tiny.classifier()
    inlay.attach(model)
    entry = model.adapters.add("a", "prefix[length=3,inner_width=7]")
    tiny.stir(entry)
    model.adapters.use("a")
    expected, inputs = tiny.hidden(model, tiny.batch()), tiny.batch()
    inlay.fold(model, "a")
    torch.testing.assert_close(tiny.hidden(model, inputs), expected)
    assert entry.num_adapter_parameters == 3 * 3 * 2 * 24
    assert not any(p.requires_grad for p in entry.parameters())
    inlay.save(model, "a", tmp_path / "a")
    fresh = tiny.classifier()
    inlay.load(fresh, tmp_path / "a")
    fresh.adapters.use("a")
    torch.testing.assert_close(tiny.hidden(fresh, inputs), expected)


def test_a_folded_prefix_can_go_on_learning():
    model = tiny.classifier()
    inlay.attach(model)
    entry = model.adapters.add("a", "prefix[length=3,inner_width=7]")
    model.adapters.train("a")
    inlay.fold(model, "a")
    model(**tiny.batch(), labels=torch.tensor([0, 1, 2])).loss.backward()
    assert all(p.grad is not None for p in entry.parameters())


@pytest.mark.parametrize("method", ["lora", "prefix[inner_width=None]", "full"])
def test_nothing_to_fold(method):
    model = tiny.encoder()
    inlay.attach(model)
    model.adapters.add("a", method)
    with pytest.raises(AdapterError, match="with nothing to fold"):
        inlay.fold(model, "a")
    with pytest.raises(AdapterError, match="no adapter 'b'"):
        inlay.fold(model, "b")
