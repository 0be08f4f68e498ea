"""DoRA and VeRA as AdapterHub computes them, against its own formulas at each map."""

import torch
from torch.nn.functional import linear

import inlay
from inlay.exchange.adapterhub import load_adapterhub
from tests.contracts import tiny
from tests.exchange import hub
from tests.exchange.test_adapterhub_lora import CONFIG

OWNERS = [
    f"encoder.layer.{block}.attention.self.{word}"
    for block in range(3)
    for word in ("query", "value")
]


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))) * 0.4


def twin(compute):
    """Return the base with another forward at each map: `compute(module, owner, x)`."""
    model = tiny.encoder()
    for owner in OWNERS:
        module = model.get_submodule(owner)

        def hook(module, args, output, owner=owner):
            return compute(module, owner, args[0])

        module.register_forward_hook(hook)
    return model


def check(folder, options, tensors, expected):
    model, inputs = tiny.encoder(), tiny.batch()
    base = tiny.hidden(model, inputs)
    inlay.attach(model)
    name = load_adapterhub(model, hub.write(folder / "a", CONFIG | options, tensors))
    assert torch.equal(tiny.hidden(model, inputs), base)
    model.adapters.use(name)
    found = tiny.hidden(model, inputs)
    torch.testing.assert_close(found, tiny.hidden(expected, inputs), atol=2e-5, rtol=1e-5)
    assert (found - base).abs().max() > 0.01
    inlay.save(model, name, folder / "own")
    again = tiny.encoder()
    inlay.load(again, folder / "own")
    again.adapters.use(name)
    assert torch.equal(tiny.hidden(again, inputs), found)
    return model.adapters.entry(name).imported["notes"]


def test_dora(tmp_path):
    tensors = {}
    for number, owner in enumerate(OWNERS):
        start = f"{owner}.loras.a"
        tensors |= {f"{start}.lora_A": random(3, 24), f"{start}.lora_B": random(24, 3)}
        tensors[f"{start}.m.weight"] = 0.5 + torch.rand(24, 1) + number

    def compute(module, owner, x):
        a, b, m = (tensors[f"{owner}.loras.a.{key}"] for key in ("lora_A", "lora_B", "m.weight"))
        stretch = m[:, 0] / torch.linalg.norm(module.weight + b @ a, dim=1)
        return stretch * (linear(x, module.weight, module.bias) + (5 / 3) * x @ a.T @ b.T)

    notes = check(tmp_path, {"use_dora": True}, tensors, twin(compute))
    assert any("the norm is of W + B A without the scale" in note for note in notes)


def vera(owners=OWNERS):
    shared = "bert.shared_parameters.a"
    tensors = {f"{shared}.lora_A": random(3, 24), f"{shared}.lora_B": random(24, 3)}
    for number, owner in enumerate(owners):
        start = f"bert.{owner}.loras.a"
        tensors[f"{start}.vera_D"] = random(3, 3) + number
        tensors[f"{start}.vera_B"] = random(24, 24)
    return tensors


def vera_update(tensors, owner):
    shared = "bert.shared_parameters.a"
    inner, outer = (tensors[f"bert.{owner}.loras.a.{key}"] for key in ("vera_D", "vera_B"))
    return outer @ tensors[f"{shared}.lora_B"] @ inner @ tensors[f"{shared}.lora_A"]


def test_vera(tmp_path):
    tensors = vera()

    def compute(module, owner, x):
        update = vera_update(tensors, owner)
        return linear(x, module.weight + (5 / 3) * update, module.bias)

    options = {"vera_d": 0.1, "vera_b": 0.0, "init_weights": "vera"}
    notes = check(tmp_path, options, tensors, twin(compute))
    assert any("square matrices where the paper has vectors" in note for note in notes)


def test_both(tmp_path):
    tensors = vera()
    for owner in OWNERS:
        tensors[f"bert.{owner}.loras.a.m.weight"] = 0.5 + torch.rand(24, 1)

    def compute(module, owner, x):
        update = vera_update(tensors, owner)
        m = tensors[f"bert.{owner}.loras.a.m.weight"][:, 0]
        stretch = m / torch.linalg.norm(module.weight + update, dim=1)
        return stretch * (linear(x, module.weight, module.bias) + (5 / 3) * x @ update.T)

    options = {"vera_d": 0.1, "vera_b": 0.0, "use_dora": True}
    check(tmp_path, options, tensors, twin(compute))
