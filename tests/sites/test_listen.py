"""Windows hold a block's own events, and the model is left as it was."""

import torch
from torch import nn

from inlay.sites.listen import candidate_blocks, listen


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    def forward(self, x):
        return x + self.inner(x)


class Stack(nn.Module):
    def __init__(self, *, shared=False):
        super().__init__()
        block = Block()
        self.blocks = nn.ModuleList([block] if shared else [block, Block()])
        self.times = 3 if shared else 1

    def forward(self, x):
        for _ in range(self.times):
            for block in self.blocks:
                x = block(x)
        return x


def test_only_lists_of_one_class_inside_blocks():
    found = candidate_blocks(Stack())
    assert found == {"blocks.0": "blocks", "blocks.1": "blocks"}
    mixed = nn.Sequential(nn.Linear(2, 2), Stack(), nn.ReLU())
    assert set(candidate_blocks(mixed)) == {"0", "1", "2", "1.blocks.0", "1.blocks.1"}


def test_a_shared_block_is_explained_once_and_counted():
    windows = []
    recording = listen(Stack(shared=True), (torch.randn(2, 4),), windows.append)
    assert [window.block for window in windows] == ["blocks.0"]
    assert recording.calls == {"blocks.0": 3}


def test_events_in_order_with_the_graph_alive():
    seen = []

    def take(window):
        seen.append([(e.point, e.module) for e in window.events])
        first, last = window.events[0], window.events[-1]
        (slope,) = torch.autograd.grad(last.value.sum(), first.tensor)
        assert slope.shape == first.tensor.shape

    model = Stack().requires_grad_(requires_grad=False)
    listen(model, {"x": torch.randn(2, 4)}, take)
    assert seen[0] == [
        ("in", "blocks.0"), ("in", "blocks.0.inner"), ("in", "blocks.0.inner.0"),
        ("out", "blocks.0.inner.0"), ("in", "blocks.0.inner.1"), ("out", "blocks.0.inner.1"),
        ("out", "blocks.0.inner"), ("out", "blocks.0"),
    ]  # fmt: skip


def test_the_model_is_left_as_it_was_even_after_an_error():
    model = Stack().train()
    model.blocks[0].eval()

    def fail(window):
        raise RuntimeError("stop")

    try:
        listen(model, (torch.randn(2, 4),), fail)
    except RuntimeError as error:
        assert str(error) == "stop"
    assert [m.training for m in model.modules()][:3] == [True, True, False]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_lookups_are_noted():
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2))
    recording = listen(model, (torch.tensor([[1, 2]]),), lambda window: None)
    (lookup,) = recording.lookups
    assert (lookup.module, lookup.width, lookup.indices.tolist()) == ("0", 4, [[1, 2]])
