"""Optimisers and schedules against those of PyTorch and transformers."""

import pytest
import torch
import transformers
from torch import nn

from inlay.training.optim import build_optimizer, build_schedule

CLASSES = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
    "adafactor": torch.optim.Adafactor,
}


def model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 3))


def train(network, optimizer, steps=4):
    generator = torch.Generator().manual_seed(8)
    for _ in range(steps):
        loss = network(torch.randn(6, 5, generator=generator)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [parameter.detach() for parameter in network.parameters()]


@pytest.mark.parametrize("name", CLASSES)
def test_steps_equal_those_of_pytorch(name):
    ours, theirs = model(), model()
    found = train(
        ours, build_optimizer(name, ours.parameters(), learning_rate=0.01, weight_decay=0.3)
    )
    options = {"momentum": 0.9} if name == "sgd" else {}
    reference = CLASSES[name](
        [
            {"params": [p for p in theirs.parameters() if p.ndim > 1], "weight_decay": 0.3},
            {"params": [p for p in theirs.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=0.01, **options,
    )  # fmt: skip
    for own, expected in zip(found, train(theirs, reference), strict=True):
        # One kernel for all of an update rounds otherwise than one for each of its terms.
        torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-7)
    assert not torch.equal(found[0], next(iter(model().parameters())))


@pytest.mark.parametrize("name", CLASSES)
def test_a_weight_may_get_its_first_gradient_late(name):
    """As a head of several tasks does, or a layer that is left out by chance."""
    early, late = nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(3, 2))
    optimizer = build_optimizer(name, [early, late], learning_rate=0.1, weight_decay=0.0)
    for step in range(3):
        optimizer.zero_grad()
        (early.square().sum() + (late.square().sum() if step else 0)).backward()
        optimizer.step()
        assert torch.equal(late, torch.ones(3, 2)) is (step == 0)
    assert (early < late).all()


def test_what_does_not_lie_in_a_row_is_updated_as_ever():
    one = nn.Parameter(torch.arange(12.0).view(3, 4).t())
    two = nn.Parameter(one.detach().clone().contiguous())
    for parameter in (one, two):
        optimizer = build_optimizer("adamw", [parameter], learning_rate=0.1, weight_decay=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            (parameter * torch.arange(12.0).view(4, 3)).square().sum().backward()
            optimizer.step()
    assert not one.is_contiguous()
    torch.testing.assert_close(one, two)


def test_weight_decay_spares_what_has_one_dimension():
    network = model()
    optimizer = build_optimizer("adamw", network.parameters(), learning_rate=1.0, weight_decay=0.5)
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert {p.ndim: decay[id(p)] for p in network.parameters()} == {2: 0.5, 1: 0.0}
    assert len(decay) == len(list(network.parameters()))


def test_a_group_without_parameters_is_left_out():
    biases = [p for p in model().parameters() if p.ndim == 1]
    optimizer = build_optimizer("adamw", biases, learning_rate=1.0, weight_decay=0.5)
    assert [len(group["params"]) for group in optimizer.param_groups] == [len(biases)]


def rates(name, *, warmup, num_steps, count=None):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    schedule = build_schedule(optimizer, name, warmup=warmup, num_steps=num_steps)
    found = []
    for _ in range(count or num_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def reference_rates(name, num_steps):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    schedule = transformers.get_scheduler(
        name, optimizer, num_warmup_steps=0, num_training_steps=num_steps
    )
    found = []
    for _ in range(num_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("name", ["linear", "cosine", "constant"])
def test_decay_equals_that_of_transformers(name):
    found = rates(name, warmup=0, num_steps=23)
    assert found == pytest.approx(reference_rates(name, 23), abs=1e-12)
    # After the warm-up the decay is the same over the steps that are left.
    warmed = rates(name, warmup=7, num_steps=30)
    assert warmed[7:] == pytest.approx(found, abs=1e-12)


def test_warm_up_rises_linearly_from_the_first_step():
    found = rates("linear", warmup=4, num_steps=20)
    assert found[:5] == pytest.approx([0.08, 0.16, 0.24, 0.32, 0.4])
    assert max(found) == pytest.approx(0.4)


def test_warm_up_below_one_is_a_share_of_the_steps():
    assert rates("cosine", warmup=0.25, num_steps=40) == rates("cosine", warmup=10, num_steps=40)
    assert rates("linear", warmup=0.25, num_steps=40) != rates("linear", warmup=0, num_steps=40)


@pytest.mark.parametrize(("name", "end"), [("linear", 0.0), ("cosine", 0.0), ("constant", 0.4)])
def test_rates_stay_at_the_end_of_the_schedule(name, end):
    found = rates(name, warmup=2, num_steps=10, count=14)
    assert found[10:] == pytest.approx([end] * 4, abs=1e-12)
    assert found[9] > 0
