"""Every method x every property of an adapter on a model."""

import copy
import pickle

import pytest
import torch

import inlay
from inlay.methods.parse import METHODS, method_from_settings
from tests.contracts import tiny
from tests.contracts.methods import PREFIX_METHODS, SITE_METHODS, WEIGHT_METHODS
from tests.contracts.pairs import pairs

WEIGHTS = {name: (method, None) for name, method in WEIGHT_METHODS.items()}
ALL = {**SITE_METHODS, **PREFIX_METHODS, **WEIGHTS}
ODD_NAMES = ["sst2", "a.b.c", "with space", "x/y", "encoder", "encoder.layer.0", "Ünï", "0"]
SOME = ("compacter", "lora", "prefix", "full")
"""A method with something shared, one of single maps, one inside attention, one of weights."""


@pytest.fixture(params=ALL)
def case(request):
    return request.param, *ALL[request.param]


@pytest.fixture
def model():
    return tiny.encoder()


def add(model, case, name="a"):
    _, method, at = case
    return model.adapters.add(name, method, at=at)


def test_every_method_is_in_the_contract():
    assert {method.name for method, _ in ALL.values()} == set(METHODS)


def test_attach_and_add_change_nothing(model, case):
    inputs = tiny.batch()
    before, keys = tiny.hidden(model, inputs), list(model.state_dict())
    classes = [type(module) for module in model.modules()]
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    inlay.attach(model)
    assert list(model.state_dict()) == keys
    assert torch.equal(tiny.hidden(model, inputs), before)
    add(model, case)
    model.adapters.use("a")
    base_keys = [key for key in model.state_dict() if not key.startswith("adapters.")]
    assert base_keys == keys
    if case[0] not in PREFIX_METHODS:
        assert torch.equal(tiny.hidden(model, inputs), before), "a new adapter changes nothing"
    with model.adapters.original_weights():
        assert {n: p.requires_grad for n, p in model.named_parameters() if n in flags} == flags
    inlay.detach(model)
    assert [type(module) for module in model.modules()] == classes


def test_remove_restores_bitwise(model, case):
    inputs = tiny.batch()
    before, keys = tiny.hidden(model, inputs), list(model.state_dict())
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    tiny.attach(model)
    entry = add(model, case)
    model.adapters.train("a")
    tiny.stir(entry)
    if case[0] != "head":
        assert not torch.equal(tiny.hidden(model, inputs), before)
    model.adapters.remove("a")
    assert torch.equal(tiny.hidden(model, inputs), before)
    assert all(p.requires_grad for p in model.parameters())
    inlay.detach(model)
    assert not hasattr(model, "adapters")
    assert list(model.state_dict()) == keys
    assert all(torch.equal(model.state_dict()[key], value) for key, value in weights.items())
    hooks = [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert hooks == []


def test_only_the_trained_adapter_learns(case):
    model = tiny.classifier()
    tiny.attach(model)
    one, two = add(model, case, "one"), add(model, case, "two")
    tiny.stir(one)
    base = {k: v.clone() for k, v in model.state_dict().items() if not k.startswith("adapters.")}
    before = {key: value.clone() for key, value in two.tensors().items()}
    model.adapters.train("one")
    start = {key: value.clone() for key, value in one.tensors().items()}
    parameters = [p for p in model.parameters() if p.requires_grad]
    assert {id(p) for p in parameters} <= {id(p) for p in one.parameters()}
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    model(**tiny.batch(), labels=torch.tensor([0, 1, 2])).loss.backward()
    optimizer.step()
    model.adapters.use(None)
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in base.items())
    assert all(torch.equal(value, before[key]) for key, value in two.tensors().items())
    fixed = {  # such as the point where training began
        f"site/{site}/{key}"
        for site, layer in one.layers.items()
        for key in layer.state_dict().keys() - dict(layer.named_parameters()).keys()
    }
    moved = [key for key, value in one.tensors().items() if not torch.equal(value, start[key])]
    # Softmax does not feel a constant added to all keys: its gradient is rounding, or nothing.
    still = {key for key in one.tensors() if key not in moved and not key.endswith("key.bias")}
    assert still == fixed
    assert any(key.startswith("own_head/classifier") for key in moved)


def test_use_leaves_gradient_flags_alone(model, case):
    tiny.attach(model)
    add(model, case, "one")
    add(model, case, "two")
    model.adapters.train("one")
    mine = {id(p) for name in ("one", "two") for p in model.adapters.entry(name).parameters()}
    flags = {id(p): p.requires_grad for p in model.adapters.parameters() if id(p) in mine}
    for composition in ("two", None, "one"):
        model.adapters.use(composition)
        assert flags == {
            id(p): p.requires_grad for p in model.adapters.parameters() if id(p) in mine
        }


def test_two_adapters_coexist(model, case):
    inputs = tiny.batch()
    tiny.attach(model)
    base = tiny.hidden(model, inputs)
    outputs = {}
    for number, name in enumerate(("one", "two")):
        entry = add(model, case, name)
        tiny.stir(entry, seed=number)
        model.adapters.use(name)
        outputs[name] = tiny.hidden(model, inputs)
    for name in ("one", "two", "one"):
        with model.adapters.using(name):
            assert torch.equal(tiny.hidden(model, inputs), outputs[name])
    with model.adapters.using(None):
        assert torch.equal(tiny.hidden(model, inputs), base)
    assert model.adapters.active == "two"
    if case[0] != "head":
        assert not torch.equal(outputs["one"], outputs["two"])


@pytest.mark.parametrize(
    ("case", "name"), pairs(ALL, ODD_NAMES, SOME, ["a.b.c"]), indirect=["case"]
)
def test_any_name_works(model, case, name, tmp_path):
    tiny.attach(model)
    entry = add(model, case, name)
    tiny.stir(entry)
    model.adapters.use(name)
    output = tiny.hidden(model, tiny.batch())
    inlay.save(model, name, tmp_path / "saved")
    fresh = tiny.encoder()
    assert inlay.load(fresh, tmp_path / "saved") == name
    fresh.adapters.use(name)
    assert torch.equal(tiny.hidden(fresh, tiny.batch()), output)


def test_padding_does_not_matter(model, case):
    tiny.attach(model)
    tiny.stir(add(model, case))
    model.adapters.use("a")
    ids = tiny.batch(1, 5)["input_ids"]
    short = tiny.hidden(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    padded = torch.cat([ids, torch.full((1, 3), 11)], dim=1)
    mask = torch.tensor([[1] * 5 + [0] * 3])
    long = tiny.hidden(model, {"input_ids": padded, "attention_mask": mask})
    torch.testing.assert_close(long[:, :5], short, atol=1e-5, rtol=1e-4)


def test_rows_do_not_see_each_other(model, case):
    tiny.attach(model)
    tiny.stir(add(model, case))
    model.adapters.use("a")
    inputs = tiny.batch()
    together = tiny.hidden(model, inputs)
    for row in range(3):
        alone = tiny.hidden(model, {key: value[row : row + 1] for key, value in inputs.items()})
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-4)


def test_low_precision_in_and_out(case):
    model = tiny.encoder().to(torch.bfloat16)
    inlay.attach(model)
    entry = add(model, case)
    tiny.stir(entry)
    model.adapters.use("a")
    assert all(p.dtype == torch.float32 for p in entry.parameters())
    if not entry.weights:  # weights in float32 meet inputs in bfloat16 there
        output = tiny.hidden(model, tiny.batch())
        assert output.dtype == torch.bfloat16
        assert output.isfinite().all()


def test_settings_survive_plain_data(case):
    import json

    method = case[1]
    assert method_from_settings(json.loads(json.dumps(method.settings()))) == method


def test_copies_are_independent(model, case):
    tiny.attach(model)
    tiny.stir(add(model, case))
    model.adapters.use("a")
    output = tiny.hidden(model, tiny.batch())
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(tiny.hidden(twin, tiny.batch()), output)
        tiny.stir(twin.adapters.entry("a"), seed=77)
        if case[0] != "head":
            assert not torch.equal(tiny.hidden(twin, tiny.batch()), output)
        twin.adapters.use(None)
        assert torch.equal(tiny.hidden(model, tiny.batch()), output)


def test_checkpointing_gives_the_same_gradients(case):
    def gradients(*, checkpointing):
        model = tiny.classifier()
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        tiny.attach(model)
        entry = add(model, case)
        tiny.stir(entry)
        model.adapters.train("a")
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model(**tiny.batch(), labels=torch.tensor([0, 1, 2])).loss.backward()
        return [p.grad for p in entry.parameters() if p.grad is not None]

    plain, saved = gradients(checkpointing=False), gradients(checkpointing=True)
    assert len(plain) == len(saved) > 0
    for one, two in zip(plain, saved, strict=True):
        torch.testing.assert_close(one, two)


TRACED = (
    "bottleneck", "compacter", "lora", "ia3", "side", "loreft", "unipelt", "prompt", "full"
)  # fmt: skip
"""One method for each way to act on a pass (`unipelt` is also a prefix); tracing takes seconds."""


@pytest.mark.parametrize(
    "case",
    [pytest.param(name, marks=() if name in TRACED else pytest.mark.slow) for name in ALL],
    indirect=True,
)
def test_compiled_equals_eager(case):
    torch._dynamo.reset()  # a function traced for other models is traced no more after a while
    model = tiny.encoder(num_layers=2)
    tiny.attach(model)
    tiny.stir(add(model, case))
    model.adapters.use("a")
    compiled = torch.compile(model, backend="eager")
    found = tiny.hidden(compiled, tiny.batch())  # first, so that an eager pass leaves nothing to it
    torch.testing.assert_close(found, tiny.hidden(model, tiny.batch()))
    model.adapters.use(None)
    base = tiny.hidden(model, tiny.batch())
    torch.testing.assert_close(tiny.hidden(compiled, tiny.batch()), base)


def test_equals_its_definition_in_double(case):
    """In float64 the effect does not depend on the path: hooks equal the layer by hand."""
    _, method, at = case
    if at is None:
        pytest.skip("a comparator has no layer")
    if method.in_attention or method.in_front:
        pytest.skip("gives no site's output; see tests/sites/test_attention.py, test_prompts.py")
    model = tiny.encoder().double()
    adapters = tiny.attach(model)
    entry = adapters.add("a", method, at=at)
    tiny.stir(entry)
    assert all(p.dtype == torch.float64 for p in entry.parameters())
    seen = {}

    def keep(site):
        def hook(module, args, output):
            seen[site] = args, output, module.only_reads

        return hook

    for site, layer in entry.layers.items():
        layer.register_forward_hook(keep(site))
    adapters.use("a")
    tiny.hidden(model, tiny.batch())
    assert set(seen) == set(entry.layers)
    # A prefix, alone or beside others, is asked for keys and values and not for an output.
    acting = [own for own in seen.values() if own[0]]
    assert acting
    for (inputs, outputs, *mask), result, only_reads in acting:
        assert result.dtype == torch.float64
        assert inputs.dtype in (torch.float64, torch.int64), "words are given to a table"
        assert result.shape == outputs.shape
        assert torch.equal(result, outputs) is only_reads
        assert mask == [] or mask[0].shape == result.shape[:2]
