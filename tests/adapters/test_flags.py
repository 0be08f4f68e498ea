"""The base's own gradient flags survive training."""

from torch import nn

from inlay.adapters.flags import GradientFlags


def test_own_flags_come_back():
    model = nn.ModuleDict({"base": nn.Linear(2, 2), "adapters": nn.Linear(2, 2)})
    model["base"].bias.requires_grad_(False)
    flags = GradientFlags(model, model["adapters"])
    flags.thaw()
    assert all(p.requires_grad for p in model["adapters"].parameters())
    for _ in range(2):  # frozen again, the flags are still those of before
        flags.freeze()
        assert not any(p.requires_grad for p in model.parameters())
    flags.thaw()
    assert model["base"].weight.requires_grad
    assert not model["base"].bias.requires_grad
    assert not any(p.requires_grad for p in model["adapters"].parameters())
