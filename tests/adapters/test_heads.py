"""Each row is answered by the head it belongs to."""

import pytest
import torch
from torch import nn

import inlay
from inlay import Average, Fuse, Parallel, Rows, Stack
from inlay.errors import CompositionError
from tests.contracts import tiny


def classifier():
    model = tiny.classifier().double()
    adapters = inlay.attach(model)
    for seed, name in enumerate("ab"):
        tiny.stir(adapters.add(name, inlay.LoRA(rank=2), at="q, v"), seed=seed)
    adapters.add("headless", inlay.LoRA(rank=2), at="q", copy_heads=False)
    tiny.stir(adapters.entry("headless"), seed=4)
    tiny.stir(adapters.add_combiner(Fuse("a", "b")), seed=5)
    return model


def logits(model, composition, inputs):
    with model.adapters.using(composition), torch.no_grad():
        return model(**inputs).logits


def test_own_heads_row_by_row():
    model, inputs = classifier(), tiny.batch(5, 8)
    children = ("a", None, Stack("headless", "b"), "headless", Fuse("a", "b"))
    together = logits(model, Rows(*children), inputs)
    for row, child in enumerate(children):
        one = {key: value[row : row + 1] for key, value in inputs.items()}
        torch.testing.assert_close(together[row : row + 1], logits(model, child, one))
    copies = logits(model, Parallel(*children), inputs).chunk(5)
    for child, part in zip(children, copies, strict=True):
        torch.testing.assert_close(part, logits(model, child, inputs))


def test_an_average_averages_the_answers():
    model, inputs = classifier(), tiny.batch()
    seen = {}
    for name in "ab":
        head = model.adapters.entry(name).own_heads["classifier"]
        head.register_forward_hook(lambda m, args, out, name=name: seen.update({name: out}))
    mixed = logits(model, Average("a", "b", weights=(0.2, 0.8)), inputs)
    torch.testing.assert_close(mixed, 0.2 * seen["a"] + 0.8 * seen["b"])
    assert not torch.allclose(seen["a"], seen["b"])


def test_heads_of_different_sizes_are_refused():
    model = classifier()
    entry = model.adapters.entry("b")
    entry._own_heads[0] = nn.Linear(24, 7).double()
    for composition in (Rows("a", "b"), Parallel("b", None), Average("a", "b")):
        with pytest.raises(CompositionError, match="copies of head 'classifier' in .* different"):
            model.adapters.use(composition)
    model.adapters.use(Rows("b", "b"))


def test_task_heads_group_by_group():
    model = tiny.encoder().double()
    adapters = inlay.attach(model)
    heads = {"a": nn.Linear(24, 2).double(), "b": nn.Linear(24, 5).double()}
    for name, head in heads.items():
        tiny.stir(adapters.add(name, "lora", head=head))
    inputs = tiny.batch(3, 6)
    adapters.use(Rows("a", "b", "a"))
    hidden = model(**inputs).last_hidden_state
    found = adapters.answers(hidden)
    assert [(answer.composition, answer.rows) for answer in found] == [("a", (0, 2)), ("b", (1,))]
    torch.testing.assert_close(found[0].output, heads["a"](hidden[[0, 2]]))
    torch.testing.assert_close(found[1].output, heads["b"](hidden[[1]]))
    adapters.use(Parallel("a", "b"))
    hidden = model(**inputs).last_hidden_state
    masked = []
    for name, head in heads.items():
        head.forward = lambda h, m, name=name: masked.append((name, h.shape[0], m.shape[0]))
    adapters.answers(hidden, inputs["attention_mask"])
    assert masked == [("a", 3, 3), ("b", 3, 3)]
    adapters.use(Rows("a", None, "b"))
    with pytest.raises(CompositionError, match=r"None has no head of its own for rows \[1\]"):
        adapters.answers(hidden[:3], hidden[:3])
