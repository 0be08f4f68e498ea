"""A merged adapter gives what it gave before, and unmerging is exact."""

import pytest
import torch

import inlay
from inlay.errors import AdapterError, CompositionError
from tests.contracts import tiny


@pytest.mark.parametrize(("kind", "at"), [("llama", "linear"), ("gpt2", "qkv, o, up, down")])
def test_merge_and_exact_unmerge(kind, at):
    model = tiny.decoder(kind)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    tensors = {name: p.data_ptr() for name, p in model.named_parameters()}
    inlay.attach(model)
    tiny.stir(model.adapters.add("a", inlay.LoRA(rank=3, alpha=7), at=at))
    model.adapters.use("a")
    inputs = {"input_ids": torch.tensor([[5, 9, 14, 22]])}
    before = tiny.hidden(model, inputs)
    model.adapters.merge("a")
    assert not any(m._forward_hooks for m in model.modules()), "a merged adapter costs nothing"
    torch.testing.assert_close(tiny.hidden(model, inputs), before, atol=1e-4, rtol=1e-3)
    model.adapters.unmerge()
    assert torch.equal(tiny.hidden(model, inputs), before)
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in weights.items())
    assert all(model.get_parameter(name).data_ptr() == at for name, at in tensors.items())


def test_what_cannot_be_merged_is_refused():
    model = tiny.encoder()
    inlay.attach(model)
    model.adapters.add("b", "bottleneck")
    model.adapters.add("l", "lora")
    model.adapters.add("m", "lora")
    with pytest.raises(AdapterError, match="'bottleneck', which cannot be merged"):
        model.adapters.merge("b")
    model.adapters.use("b")
    with pytest.raises(AdapterError, match="'b' is active; call use"):
        model.adapters.merge("l")
    model.adapters.use(None)
    model.adapters.merge("l")
    with pytest.raises(CompositionError, match="'l' is merged into the base; call unmerge"):
        model.adapters.use("m")
    with pytest.raises(AdapterError, match="'l' is active"):
        model.adapters.merge("m")


def test_saving_a_merged_adapter_names_the_base(tmp_path):
    model = tiny.encoder()
    inlay.attach(model)
    tiny.stir(model.adapters.add("a", "lora"))
    model.adapters.merge("a")
    inlay.save(model, "a", tmp_path / "a")
    fresh = tiny.encoder()
    assert inlay.load(fresh, tmp_path / "a") == "a"


def test_removing_a_merged_adapter_restores():
    model = tiny.encoder()
    before = tiny.hidden(model, tiny.batch())
    inlay.attach(model)
    tiny.stir(model.adapters.add("a", "lora"))
    model.adapters.merge("a")
    assert not torch.equal(tiny.hidden(model, tiny.batch()), before)
    model.adapters.remove("a")
    assert torch.equal(tiny.hidden(model, tiny.batch()), before)
