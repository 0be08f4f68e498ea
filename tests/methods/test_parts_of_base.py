"""BitFit and norm tuning: which parameters they train, and how many."""

import pytest
import torch
from torch import nn

import inlay
from inlay.errors import AdapterError
from tests.contracts import tiny
from tests.contracts.families import FAMILIES


def trained(model, method):
    if not hasattr(model, "adapters"):
        inlay.attach(model)
    return model.adapters.add(method, method)


@pytest.mark.parametrize("family", ["bert", "gpt2", "bart", "vit", "opt"])
def test_bitfit_trains_every_bias_and_nothing_else(family):
    model = FAMILIES[family].build()
    expected = {
        f"{path}.bias": module.bias
        for path, module in model.named_modules()
        if getattr(module, "bias", None) is not None
    }
    entry = trained(model, "bitfit")
    assert entry.weights.keys() == expected.keys()
    assert entry.num_adapter_parameters == sum(bias.numel() for bias in expected.values())


def test_a_bias_may_have_its_map_in_its_name():
    """PyTorch's own attention keeps the biases of query, key and value as `in_proj_bias`."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True)
    model = tiny.perturbed(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))
    inlay.attach(model, example=(torch.randn(2, 6, 16),))
    paths = [path for path, p in model.named_parameters() if p.ndim == 1]
    norms = {f"layers.{n}.norm{i}.weight" for n in (0, 1) for i in (1, 2)}
    entry = trained(model, "bitfit")
    assert entry.weights.keys() == set(paths) - norms
    assert "layers.1.self_attn.in_proj_bias" in entry.weights
    x = torch.randn(2, 6, 16)
    with torch.no_grad():
        before = model(x)
        entry.weights["layers.1.self_attn.in_proj_bias"].add_(0.5)
        model.adapters.use("bitfit")
        assert not torch.allclose(model(x), before, atol=1e-3)


@pytest.mark.parametrize("family", ["bert", "llama", "t5", "whisper", "convnext", "gemma3"])
def test_norms_are_told_by_their_form(family):
    model = FAMILIES[family].build()
    expected = {
        f"{path}.{name}"
        for path, module in model.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if "norm" in type(module).__name__.lower()
    }
    entry = trained(model, "norms")
    assert set(entry.weights) == expected
    assert expected


def test_only_they_learn_and_the_base_comes_back():
    model = tiny.encoder()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    entry = trained(model, "bitfit")
    model.adapters.train("bitfit")
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(**tiny.batch()).last_hidden_state.square().sum().backward()
    optimizer.step()
    changed = [path for path, p in entry.weights.items() if not torch.equal(p, before[path])]
    # A key's bias adds the same to all scores of a query, so it has no gradient but rounding.
    rest = [path for path in entry.weights if path not in changed]
    assert all("key" in path or "pooler" in path for path in rest)
    inlay.detach(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_base_without_biases_is_refused():
    model = FAMILIES["llama"].build()
    with pytest.raises(AdapterError, match="trains biases, and this base has none"):
        trained(model, "bitfit")
    assert model.adapters.names == ()
    assert not any(isinstance(m, nn.LayerNorm) for m in model.modules())


def test_counts_by_the_papers_formulas():
    model, width, inner, blocks = tiny.encoder(), 24, 40, 3
    biases = blocks * (4 * width + inner + width + 2 * width) + width + width
    assert trained(model, "bitfit").num_adapter_parameters == biases
    assert (
        model.adapters.add("norms", "norms").num_adapter_parameters == (2 * blocks + 1) * 2 * width
    )
