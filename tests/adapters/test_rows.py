"""Rows are taken apart and put back in order."""

import pytest
import torch

import inlay
from inlay import Parallel, Rows
from inlay.adapters import rows as rows_module
from inlay.adapters.rows import RowGroups, picked
from inlay.adapters.stacks import Stacks
from inlay.compose.plan import make_plan
from tests.contracts import tiny

CPU = torch.device("cpu")


def test_there_and_back():
    plan = make_plan(Parallel(Rows("a", None, "b"), "a"))
    groups = RowGroups(plan, 12, CPU)
    x = torch.arange(12)
    assert groups.index["a"].tolist() == [0, 1, 6, 7, 8, 9, 10, 11]
    assert groups.index[None].tolist() == [2, 3]
    assert groups.numbers.tolist() == [0, 0, 1, 1, 2, 2, 0, 0, 0, 0, 0, 0]
    parts = [x.index_select(0, index) for index in groups.index.values()]
    assert torch.equal(groups.joined(parts), x)


def test_rows_of_a_calls_arguments():
    x, index = torch.arange(6).view(3, 2), torch.tensor([2, 0])
    found = picked((x, {"y": x, "n": 3}, torch.ones(2), None), index, 3)
    assert found[0].tolist() == found[1]["y"].tolist() == [[4, 5], [0, 1]]
    assert found[1]["n"] == 3
    assert len(found[2]) == 2
    assert found[3] is None


KINDS = {
    "lora": (inlay.LoRA(rank=3, alpha=7), "q, up"),
    "bottleneck": (inlay.Bottleneck(inner_width=5, hidden_layers=2), "attention, ffn"),
    "channel": (inlay.Bottleneck(inner_width=5, scaling="channel", input="x+r"), "ffn"),
    "learned": (inlay.Bottleneck(inner_width=5, scaling="learned", input="r"), "ffn"),
    "ia3": (inlay.IA3(inputs="up"), "q, up"),
    "vera": (inlay.VeRA(rank=5), "q, up"),
    "own norms": (inlay.Bottleneck(inner_width=5, norm_before=True), "ffn"),
}
ORDERS = {
    "sorted": "aabbccdd",
    "mixed": "dbacabdc",
    "uneven": "aaabdcaa",
    "with gaps": "ab.cd.a.",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ORDERS)
def test_the_grouped_pass_equals_the_loop(kind, order, monkeypatch):
    """The fast path against one program after the other, outputs and gradients."""
    method, at = KINDS[kind]
    model = tiny.encoder().double()
    adapters = inlay.attach(model)
    for seed, name in enumerate("abcd"):
        own = inlay.LoRA(rank=2) if name == "d" else method  # one is of another shape
        tiny.stir(adapters.add(name, own, at="q, up" if name == "d" else at), seed=seed)
        adapters.entry(name).requires_grad_(True)
    rows = Rows(*[None if name == "." else name for name in ORDERS[order]])
    weights = torch.randn(8, 6, 24, dtype=torch.float64)
    calls = []

    def run():
        adapters.zero_grad()
        with adapters.using(rows):
            output = model(**tiny.batch(8, 6)).last_hidden_state
            (output * weights).sum().backward()
            with torch.no_grad():
                twice = [model(**tiny.batch(8, 6)).last_hidden_state for _ in range(2)]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in adapters.parameters()]
        return [output, *twice, *grads]

    real = Stacks.of
    monkeypatch.setattr(Stacks, "of", lambda *args: calls.append(args) or real(*args))
    fast = run()
    assert bool(calls) == (kind != "own norms")
    monkeypatch.setattr(rows_module, "grouped_form", lambda site, program: None)
    for one, two in zip(fast, run(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


def test_adapters_in_different_modes_do_not_share_a_pass():
    model = tiny.encoder().double()
    adapters = inlay.attach(model)
    for seed, name in enumerate("ab"):
        tiny.stir(adapters.add(name, inlay.LoRA(dropout=0.9)), seed=seed)
    inputs = tiny.batch(2)
    adapters.use(Rows("a", "b"))
    before = tiny.hidden(model, inputs)
    adapters.entry("b").train()
    after = tiny.hidden(model, inputs)
    torch.testing.assert_close(after[0], before[0])
    assert not torch.allclose(after[1], before[1]), "only the one in training drops channels"


def test_forms_follow_what_changes():
    model = tiny.encoder().double()
    adapters = inlay.attach(model)
    for seed, name in enumerate("abcd"):
        tiny.stir(adapters.add(name, "pfeiffer"), seed=seed)
    inputs = tiny.batch(4)
    names = "abca"
    adapters.use(Rows(*names))

    def agrees():
        fast = tiny.hidden(model, inputs)
        for row, name in enumerate(names):
            with adapters.using(name):
                torch.testing.assert_close(fast[row], tiny.hidden(model, inputs)[row])
        return fast

    before = agrees()
    layer = adapters.entry("b").layer_at("1.ffn")
    layer.up.weight = torch.nn.Parameter(torch.randn_like(layer.up.weight))
    after = agrees()
    assert torch.equal(after[0], before[0])
    assert not torch.allclose(after[1], before[1]), "another parameter"
    model.float()
    assert agrees().dtype == torch.float32
    assert layer.up.weight.dtype == torch.float32
    adapters.entry("c").double()
    assert adapters.entry("c").layer_at("1.ffn").up.weight.dtype == torch.float64
    agrees()
    assert adapters.entry("c").layer_at("1.ffn").up.weight.dtype == torch.float64, "left as it was"
    adapters.entry("c").float()
    agrees()
    with adapters.using(Rows(*names), skip_lowest=1):
        lower = tiny.hidden(model, inputs)
    assert not torch.allclose(lower, after.float())


@pytest.mark.parametrize("rows", ["aca", "cbab", ("a", None, inlay.Stack("b", "c"))])
def test_a_pass_for_inference_leaves_nothing_that_cannot_learn(rows):
    gradients = []
    for is_first in (False, True):
        model = tiny.encoder().double()
        adapters = inlay.attach(model)
        for seed, (name, method) in enumerate(
            (("a", "pfeiffer"), ("b", "prefix"), ("c", "pfeiffer"))
        ):
            tiny.stir(adapters.add(name, method), seed=seed)
            adapters.entry(name).requires_grad_(True)
        adapters.use(Rows(*rows))
        inputs = tiny.batch(len(rows))
        if is_first:
            with torch.inference_mode():
                model(**inputs)
        model(**inputs).last_hidden_state.square().sum().backward()
        gradients.append([p.grad for p in adapters.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 0
    for one, other in zip(*gradients, strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(other, one)
