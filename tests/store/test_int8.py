"""A base whose linear maps are stored in 8 bits still belongs to its adapters, and they to it."""

import pytest
import torch

import inlay
from inlay.errors import AdapterError, BaseError, ConfigError, MissingExtraError
from inlay.sites.fingerprint import fingerprint
from inlay.store.bases import load_base, resolve_base
from inlay.store.int8 import plain_tensors, to_int8
from tests import tiny
from tests.contracts.families import FAMILIES

needs_torchao = pytest.mark.usefixtures("_torchao")


@pytest.fixture
def _torchao():
    pytest.importorskip("torchao", reason="the extra int8 is not installed")


@pytest.fixture
def base(tmp_path_factory):
    return resolve_base(str(tiny.shared_base(tmp_path_factory.getbasetemp())))


@needs_torchao
def test_outputs_are_near_and_the_fingerprint_is_that_of_the_base(base):
    plain, rounded = (inlay.attach(load_base(base)[0]) for _ in range(2))
    to_int8(rounded)
    ids = torch.arange(5, 25).view(2, 10)
    with torch.no_grad():
        exact, near = (a.model(input_ids=ids).last_hidden_state for a in (plain, rounded))
    error = float((near - exact).norm() / exact.norm())
    assert 0 < error < 0.05
    assert fingerprint(rounded.model, rounded.sites) == fingerprint(plain.model, plain.sites)
    weight = rounded.model.encoder.layer[0].intermediate.dense.weight
    assert torch.int8 in {part.dtype for part in plain_tensors(weight)}
    assert next(plain_tensors(torch.ones(2))).tolist() == [1.0, 1.0]


@needs_torchao
@pytest.mark.parametrize(
    "method", ["bottleneck", "lora[rank=2,magnitude=true]", "ia3", "side", "prefix[length=2]"]
)
def test_adapters_train_on_it(base, method):
    adapters = inlay.attach(load_base(base)[0])
    to_int8(adapters)
    adapters.add("a", method)
    adapters.train("a")
    ids = torch.arange(5, 25).view(2, 10)
    adapters.model(input_ids=ids).last_hidden_state.pow(2).mean().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in adapters.parameters())
    if method == "ia3":
        adapters.use("a")
        with pytest.raises(AdapterError, match="weights are stored in int8"):
            adapters.merge("a")


@needs_torchao
def test_a_whole_training_with_replay_and_a_fresh_process(base, tmp_path_factory, tmp_path):
    root = tmp_path_factory.getbasetemp()
    run = inlay.train(
        tiny.shared_data(root), base=base.source, trunk="int8", layers="upper",
        out=str(tmp_path / "run"), **{**tiny.SETTINGS, "epochs": 2},
    )  # fmt: skip
    assert run.metrics["test"]["accuracy"] > 0.5
    assert len(run.predict(["the card with the chip was lost"])) == 1
    with pytest.raises(ConfigError, match="trunk='int8': method 'full' trains weights of the base"):
        inlay.train(
            tiny.shared_data(root), base=base.source, trunk="int8", method="full",
            out=str(tmp_path / "full"), **tiny.SETTINGS,
        )  # fmt: skip


@needs_torchao
def test_a_base_without_such_maps_is_refused():
    adapters = inlay.attach(FAMILIES["gpt2"].build())
    with pytest.raises(BaseError, match=r"have no `torch\.nn\.Linear`"):
        to_int8(adapters)


def test_a_missing_package_is_named(base, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchao.quantization", None)
    with pytest.raises(MissingExtraError, match=r"trunk int8 needs torchao.*inlay\[int8\]"):
        to_int8(inlay.attach(load_base(base)[0]))
