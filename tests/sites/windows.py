"""Hand-made windows: what a block would have shown."""

import torch

from inlay.sites.listen import Event, Window


class Script:
    """Writes a window event by event."""

    def __init__(self, dtype=torch.float32):
        self.dtype = dtype
        self.window = Window("block", "blocks", 0)
        self.generator = torch.Generator().manual_seed(2)

    def new(self, *shape):
        return torch.randn(shape or (2, 5, 8), generator=self.generator).to(self.dtype)

    def note(self, point, module, tensor):
        order = len(self.window.events) + 1
        self.window.events.append(Event(order, point, module, tensor, tensor.clone()))
        return tensor

    def call(self, module, given, result):
        self.note("in", module, given)
        return self.note("out", module, result)


def no_norm(before, after):
    return False


def is_norm(before, after):
    return "norm" in before.module


def found(explanation):
    """Return (updating module, scale) of each addition."""
    return [(a.update.outputs(a.total.order)[-1].module, a.scale) for a in explanation.additions]
