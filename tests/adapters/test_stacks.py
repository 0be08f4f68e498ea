"""Stacked weights are the adapters' own, whatever is done to either."""

import copy
import gc
import pickle
import threading

import torch
from torch import nn

import inlay
from inlay import Rows, Stack
from inlay.adapters.stacks import Stacks
from inlay.methods.base import Grouped
from tests.contracts import tiny


def forms(parameters):
    return [Grouped("kind", (p,), None) for p in parameters]


def test_any_order_and_any_part():
    parameters = [nn.Parameter(torch.randn(2, 3)) for _ in range(5)]
    values = [p.detach().clone() for p in parameters]
    stacks = Stacks()
    for order in ([0, 1], [1, 0], [2], [4, 0, 3], [0, 1, 2, 3, 4], [3, 1]):
        with torch.no_grad():
            (found,) = stacks.of("site", forms([parameters[i] for i in order]))
        assert torch.equal(found, torch.stack([values[i] for i in order]))
    assert all(torch.equal(p, value) for p, value in zip(parameters, values, strict=True))
    (grown,) = [one.stack for one in stacks._kept.values()]
    with torch.no_grad():
        stacks.of("site", forms(parameters))
    assert next(iter(stacks._kept.values())).stack is grown, "all are in already"


def test_with_gradient_it_is_an_ordinary_stack():
    parameters = [nn.Parameter(torch.randn(3)) for _ in range(2)]
    (found,) = Stacks().of("site", forms(parameters))
    (found * torch.tensor([[1.0], [2.0]])).sum().backward()
    assert [p.grad.tolist() for p in parameters] == [[1.0] * 3, [2.0] * 3]


def test_places_of_what_is_gone_are_used_again():
    stacks = Stacks()
    with torch.no_grad():
        for _ in range(6):
            several = [nn.Parameter(torch.randn(3)) for _ in range(4)]
            (found,) = stacks.of("site", forms(several))
            assert torch.equal(found, torch.stack([p.detach() for p in several]))
            del several, found
            gc.collect()
    assert len(next(iter(stacks._kept.values())).stack) <= 8


def test_one_weight_shared_by_two():
    shared = nn.Parameter(torch.randn(3))
    with torch.no_grad():
        (found,) = Stacks().of("site", forms([shared, shared]))
    assert torch.equal(found, torch.stack([shared, shared]))


def test_stacked_weights_follow_every_change(tmp_path):
    model = tiny.encoder()
    adapters = inlay.attach(model)
    for seed, name in enumerate("abc"):
        tiny.stir(adapters.add(name, "lora"), seed=seed)
    inputs = tiny.batch(2)
    adapters.use(Rows("a", "b"))
    before = tiny.hidden(model, inputs)
    kept = adapters._running.stacks._kept
    stacks = {key: one.stack for key, one in kept.items()}
    assert stacks

    def changed(change):
        change()
        fast = tiny.hidden(model, inputs)
        with adapters.using(Stack("a")):
            alone = tiny.hidden(model, inputs)
        torch.testing.assert_close(fast[0], alone[0], atol=1e-5, rtol=1e-4)
        return fast

    weight = adapters.entry("a").layer_at("0.attention.q").b
    assert torch.equal(changed(lambda: None), before)
    assert not torch.allclose(changed(lambda: weight.data.mul_(4)), before)
    with torch.no_grad():
        assert torch.equal(changed(lambda: weight.div_(4)), before)
    assert all(kept[key].stack is stack for key, stack in stacks.items()), "stacked once"
    moved = changed(lambda: setattr(weight, "data", weight.data.clone() * 2))
    assert not torch.allclose(moved, before)
    with adapters.using(Rows("c", "a")):
        tiny.hidden(model, inputs)
    assert torch.equal(changed(lambda: None), moved), "others came beside it"
    with torch.inference_mode():
        model(**inputs)
    adapters.train("a")
    model(**inputs).last_hidden_state.sum().backward()
    optimizer = torch.optim.SGD(adapters.entry("a").parameters(), lr=0.1)
    optimizer.step()
    adapters.use(Rows("a", "b"))
    changed(lambda: None)
    inlay.save(model, "a", tmp_path / "a")
    assert inlay.load(model, tmp_path / "a", name="again") == "again"


def test_a_copy_of_a_model_has_stacks_of_its_own():
    model = tiny.encoder()
    adapters = inlay.attach(model)
    for seed, name in enumerate("ab"):
        tiny.stir(adapters.add(name, "lora"), seed=seed)
    adapters.use(Rows("a", "b"))
    inputs = tiny.batch(2)
    before = tiny.hidden(model, inputs)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(tiny.hidden(twin, inputs), before)
        tiny.stir(twin.adapters.entry("a"), seed=5)
        assert not torch.equal(tiny.hidden(twin, inputs), before)
        assert torch.equal(tiny.hidden(model, inputs), before)


def test_threads_take_in_side_by_side():
    model = tiny.encoder()
    adapters = inlay.attach(model)
    for seed, name in enumerate("abcdef"):
        tiny.stir(adapters.add(name, "lora"), seed=seed)
    inputs = tiny.batch(2)
    pairs = [Rows(one, two) for one in "abcdef" for two in "fedcba" if one != two]
    alone = {}
    for name in "abcdef":
        with adapters.using(name):
            alone[name] = tiny.hidden(model, inputs)
    wrong = []

    def work(own):
        for rows in own:
            with adapters.using(rows):
                output = tiny.hidden(model, inputs)
            for row, name in enumerate(rows.children):
                if not torch.allclose(output[row], alone[name][row], atol=1e-5, rtol=1e-4):
                    wrong.append(rows)

    threads = [threading.Thread(target=work, args=(pairs[start::3],)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
