"""A merge that does not give what the adapter gave is undone and reported."""

from contextlib import nullcontext

import pytest
import torch

import inlay
from inlay.adapters.merge_check import Outputs
from inlay.errors import AdapterError
from inlay.methods.lora import LoRALayer
from tests.contracts import tiny


def adapted(model, size=1.0):
    adapters = inlay.attach(model)
    tiny.stir(adapters.add("a", inlay.LoRA(rank=3, alpha=7.0, dropout=0.3), at="linear"))
    for layer in adapters.entry("a").layers.values():
        layer.b.data.mul_(size)
    return model


def same_base(model, weights):
    return all(torch.equal(model.get_parameter(name), value) for name, value in weights.items())


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_a_good_merge_passes(kind):
    model = adapted(tiny.encoder() if kind == "bert" else tiny.decoder(kind))
    model.adapters.merge("a", check=tiny.batch())
    assert not any(m._forward_hooks for m in model.modules())
    with pytest.raises(AdapterError, match="'a' is merged already"):
        model.adapters.merge("a", check=tiny.batch())


def test_dropout_is_off_for_the_check_and_modes_come_back():
    model = adapted(tiny.encoder())
    model.train()
    model.pooler.eval()
    modes = [module.training for module in model.modules()]
    model.adapters.merge("a", check=tiny.batch())
    assert [module.training for module in model.modules()] == modes
    assert model.training
    assert not model.pooler.training


@pytest.mark.parametrize("wrong", [1e-3, float("nan")])
def test_a_wrong_merge_is_undone(monkeypatch, wrong):
    model = adapted(tiny.encoder())
    weights = {n: p.detach().clone() for n, p in model.named_parameters() if "adapters" not in n}
    model.adapters.use("a")
    before = tiny.hidden(model, tiny.batch())
    right = LoRALayer.weight_update
    monkeypatch.setattr(LoRALayer, "weight_update", lambda layer: right(layer) * (1 + wrong))
    with pytest.raises(AdapterError, match=r"merging 'a' changed output 0 by .* merge was undone"):
        model.adapters.merge("a", check=tiny.batch())
    assert same_base(model, weights)
    assert torch.equal(tiny.hidden(model, tiny.batch()), before)
    model.adapters.merge("a")
    model.adapters.unmerge()
    assert same_base(model, weights)


def test_an_update_below_the_precision_is_found():
    """In bfloat16 such a merge leaves every weight as it was, while the outputs look alike."""
    model = adapted(tiny.encoder().to(torch.bfloat16), size=3e-3)
    with pytest.raises(AdapterError, match="merging 'a' lost it in rounding"):
        model.adapters.merge("a", check=tiny.batch())
    model = adapted(tiny.encoder().to(torch.bfloat16), size=3.0)
    model.adapters.merge("a", check=tiny.batch())


def test_a_batch_that_fails_leaves_nothing_merged(monkeypatch):
    model = adapted(tiny.encoder())
    with pytest.raises(ValueError, match="input_ids"):
        model.adapters.merge("a", check={"nothing_of_the_kind": 1})
    merge, right = inlay.adapters.merge.Merged.merge, model.forward

    def merge_and_break(self, entry, sites):
        merge(self, entry, sites)
        monkeypatch.setattr(model, "forward", lambda **_: 1 / 0)

    monkeypatch.setattr(inlay.adapters.merge.Merged, "merge", merge_and_break)
    with pytest.raises(ZeroDivisionError, match="division"):
        model.adapters.merge("a", check=tiny.batch())
    monkeypatch.setattr(model, "forward", right)
    model.adapters.use(None)


def test_a_new_adapter_can_be_merged():
    model = tiny.encoder()
    inlay.attach(model).add("a", "lora")
    model.adapters.merge("a", check=tiny.batch())


def test_all_outputs_count():
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3))

        def forward(self, x):
            return {"ids": torch.tensor([1]), "a": (x, [x * self.weight])}

    model = Two()
    outputs, undone = Outputs(model, {"x": torch.ones(3)}, nullcontext), []
    outputs.compare("a", lambda: undone.append(1))
    assert undone == []
    model.weight.data.mul_(1.1)
    with pytest.raises(AdapterError, match=r"'a' changed output 1 by 0\.1 of its norm"):
        outputs.compare("a", lambda: undone.append(1))
    assert undone == [1]
