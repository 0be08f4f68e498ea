"""Compacter's factors mean what AdapterHub's own code computes from them."""

import pytest
import torch

import inlay
from inlay.errors import ConfigError, FormatError
from inlay.exchange.adapterhub import load_adapterhub, read_adapterhub
from tests.contracts import tiny
from tests.exchange import hub

OPTIONS = {
    "phm_layer": True, "phm_dim": 3, "phm_rank": 2, "phm_bias": True, "factorized_phm_W": True,
    "shared_W_phm": False, "factorized_phm_rule": False, "shared_phm_rule": True,
    "hypercomplex_nonlinearity": "glorot-uniform", "learn_phm": True, "phm_c_init": "normal",
    "phm_init_range": 1e-4, "non_linearity": "gelu",
}  # fmt: skip
CASES = {
    "compacter": {"mh_adapter": True, "original_ln_before": False},
    "compacter++": {},
    "own rules": {"mh_adapter": True, "shared_phm_rule": False, "phm_dim": 2, "phm_rank": 1},
    "parallel and scaled": {"is_parallel": True, "original_ln_before": False, "scaling": 3.0},
}


def drawn(options, *, blocks=range(3), inner=6):
    """Draw a checkpoint; return it, and the same as an ordinary bottleneck's."""
    options = hub.DEFAULTS | OPTIONS | options
    n, rank = options["phm_dim"], options["phm_rank"]
    draw = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(*shape, generator=draw) * 0.6

    tensors, plain = {}, {}
    shared = random(n, n, n)
    if options["shared_phm_rule"]:
        tensors["bert.shared_parameters.a.phm_rule"] = shared
    owners = ["attention.output", "output"] if options["mh_adapter"] else ["output"]
    for path in (f"encoder.layer.{block}.{owner}" for block in blocks for owner in owners):
        size = inner if isinstance(inner, int) else inner[int(path.split(".")[2])]
        for part, wide, out in (("adapter_down.0", 24, size), ("adapter_up", size, 24)):
            start = f"{path}.adapters.a.{part}"
            left, right = random(n, wide // n, rank), random(n, rank, out // n)
            rule, bias = shared, random(out)
            if not options["shared_phm_rule"]:
                rule = tensors[f"bert.{start}.phm_rule"] = random(n, n, n)
            tensors |= {f"bert.{start}.W_left": left, f"bert.{start}.W_right": right}
            tensors[f"bert.{start}.b"] = bias
            whole = sum(torch.kron(rule[i], left[i] @ right[i]) for i in range(n))
            plain |= {f"{start}.weight": whole.T, f"{start}.bias": bias}
    return options, tensors, plain


def attached():
    model = tiny.encoder()
    inlay.attach(model)
    return model


@pytest.mark.parametrize("case", CASES)
def test_computes_what_the_peer_computes(tmp_path, case):
    options, tensors, plain = drawn(CASES[case])
    folder = hub.write(tmp_path / "a", options, tensors)
    model, inputs = attached(), tiny.batch()
    base, expected = tiny.hidden(model, inputs), hub.peer_hidden(model, inputs, plain, options)
    assert (expected - base).abs().max() > 0.1
    loaded = read_adapterhub(model, folder)
    with model.adapters.using(loaded.composition):
        torch.testing.assert_close(tiny.hidden(model, inputs), expected, atol=2e-5, rtol=1e-5)
    method = model.adapters.entry("a").method
    assert (method.name, method.n, method.rank, method.shared_rule) == (
        "compacter", options["phm_dim"], options["phm_rank"], options["shared_phm_rule"],
    )  # fmt: skip
    is_noted = any("scaling=3.0 is folded" in note for note in loaded.card["notes"])
    assert is_noted is ("scaling" in CASES[case])


def test_widths_by_block_and_blocks_left_out(tmp_path):
    options, tensors, plain = drawn({"leave_out": [1]}, blocks=(0, 2), inner={0: 6, 2: 12})
    model, inputs = attached(), tiny.batch()
    expected = hub.peer_hidden(model, inputs, plain, options)
    name = load_adapterhub(model, hub.write(tmp_path, options, tensors))
    layers = model.adapters.entry(name).layers
    assert list(layers) == ["0.ffn", "2.ffn"]
    assert layers["2.ffn"].rules[0] is layers["0.ffn"].rules[0]
    with model.adapters.using(name):
        torch.testing.assert_close(tiny.hidden(model, inputs), expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phm_bias": False}, "option phm_bias=False cannot be used; True can"),
        ({"factorized_phm_W": False}, "option factorized_phm_w=False cannot be used; True can"),
        ({"shared_W_phm": True}, "option shared_w_phm=True cannot be used; False can"),
        ({"factorized_phm_rule": True}, "option factorized_phm_rule=True cannot"),
        ({"use_gating": True}, "option use_gating=True cannot be used; False can"),
        ({"ln_before": True}, "option ln_before=True cannot be used; False can"),
        ({"ln_after": True}, "option ln_after=True cannot be used; False can"),
        ({"scaling": "learned"}, "option scaling='learned' cannot be used; a number can"),
        ({"phm_dim": True}, "option phm_dim=True cannot be used; a whole number"),
        ({"phm_rank": 0}, "option phm_rank=0 cannot be used; a whole number"),
        ({"shared_phm_rule": 1}, "option shared_phm_rule=1 cannot be used; true or false"),
        ({"residual_before_ln": False}, "residual_before_ln=False cannot be used with phm_layer"),
        ({"wobble": 3}, "unknown option 'wobble'"),
    ],
)
def test_options_that_cannot_be_read(tmp_path, options, message):
    _, tensors, _ = drawn({})
    folder = hub.write(tmp_path, hub.DEFAULTS | OPTIONS | options, tensors)
    model = attached()
    with pytest.raises(FormatError, match=message):
        load_adapterhub(model, folder)
    assert model.adapters.names == ()


RULE = "bert.shared_parameters.a.phm_rule"
LEFT = "bert.encoder.layer.1.output.adapters.a.adapter_up.W_left"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({RULE: None}, "'shared_parameters.a.phm_rule' is missing, without which"),
        ({RULE: torch.zeros(3, 3, 2)}, "phm_rule' is 3 x 3 x 2, but here it must be 3 x 3 x 3"),
        ({"shared_parameters.a.phm_rule": torch.zeros(3, 3, 3)}, "there are 2 shared rules"),
        ({"bert.shared_parameters.a.W_left": torch.zeros(3)}, "W_left' has no place"),
        ({LEFT: None}, "adapter_up.W_left' is missing"),
        ({LEFT: torch.zeros(3, 2, 1)}, "W_left' is 3 x 2 x 1, but here it must be 3 x 2 x 2"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, change, message):
    options, tensors, _ = drawn({})
    tensors = {key: value for key, value in (tensors | change).items() if value is not None}
    model = attached()
    with pytest.raises(FormatError, match=message):
        load_adapterhub(model, hub.write(tmp_path, options, tensors))
    assert model.adapters.names == ()


def test_a_base_whose_width_n_does_not_divide(tmp_path):
    options, tensors, _ = drawn({"phm_dim": 5}, inner=10)
    model = attached()
    with pytest.raises(ConfigError, match="5 does not divide '0.ffn', which is 24 wide"):
        load_adapterhub(model, hub.write(tmp_path, options, tensors))
