"""LoReFT of AdapterHub edits the same positions by the same numbers."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal

import inlay
from inlay.errors import FormatError
from inlay.exchange.adapterhub import load_adapterhub, read_adapterhub
from tests.contracts import tiny
from tests.exchange import hub

CONFIG = {
    "architecture": "reft", "layers": "all", "prefix_positions": 2, "suffix_positions": 1, "r": 3,
    "orthogonality": True, "tied_weights": False, "dropout": 0.0, "non_linearity": None,
    "dtype": None, "output_reft": True, "init_weights_seed": None,
}  # fmt: skip


def units(number, blocks=range(3)):
    """Draw tensors, and the rotations that they stand for."""
    tensors, rotations = {}, {}
    for block in blocks:
        for unit in range(number):
            start = f"encoder.layer.{block}.reft_layer.refts.a.units.{unit}"
            linear = orthogonal(nn.Linear(24, 3, bias=False))
            rotations[block, unit] = linear.weight.detach()
            state = {key: value.clone(memory_format=torch.contiguous_format) for key, value in
                     linear.state_dict().items()}  # fmt: skip
            tensors |= {f"{start}.projection.{key}": value for key, value in state.items()}
            tensors[f"{start}.learned_source.weight"] = torch.randn(3, 24)
            tensors[f"{start}.learned_source.bias"] = torch.randn(3)
    return tensors, rotations


def edited(hidden, mask, block, tensors, rotations, config):
    """Edit row by row and position by position, as the peer does."""
    result = hidden.clone()
    for row in range(len(hidden)):
        count = int(mask[row].sum())
        ends = [(range(min(config["prefix_positions"], count)), 0)]
        first = max(0, count - config["suffix_positions"])
        ends.append((range(first, count), 0 if config["tied_weights"] else 1))
        for positions, unit in ends:
            start = f"encoder.layer.{block}.reft_layer.refts.a.units.{unit}.learned_source"
            rotation = rotations[block, unit]
            for place in positions:
                h = hidden[row, place]
                source = tensors[f"{start}.weight"] @ h + tensors[f"{start}.bias"]
                result[row, place] = h + (source - rotation @ h) @ rotation
    return result


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tied_weights": True},
        {"suffix_positions": 0},
        {"prefix_positions": 0, "suffix_positions": 2},
        {"layers": [0, 2]},
    ],
)
def test_edits_what_the_peer_edits(tmp_path, options):
    config = CONFIG | options
    blocks = range(3) if config["layers"] == "all" else config["layers"]
    tensors, rotations = units(1 if config["tied_weights"] else 2, blocks)
    hub.write(tmp_path, config, tensors)
    twin, inputs, handles = tiny.encoder(), tiny.batch(), []
    for block in blocks:

        def edit(module, args, output, block=block):
            what = (block, tensors, rotations, config)
            return edited(output, inputs["attention_mask"], *what)

        handles.append(twin.encoder.layer[block].register_forward_hook(edit))
    expected = tiny.hidden(twin, inputs)
    model = tiny.encoder()
    inlay.attach(model)
    with model.adapters.using(load_adapterhub(model, tmp_path)):
        found = tiny.hidden(model, inputs)
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(found[real], expected[real], atol=1e-5, rtol=1e-5)


def test_dropout_is_noted(tmp_path):
    hub.write(tmp_path, CONFIG | {"dropout": 0.1}, units(2)[0])
    model = tiny.encoder()
    inlay.attach(model)
    assert "drops channels of the edited state" in read_adapterhub(model, tmp_path).card["notes"][0]


def spoil(tensors):
    tensors["encoder.layer.1.reft_layer.refts.a.units.0.projection.parametrizations.weight.original"
            ][0, 0] = 0.5  # fmt: skip


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"orthogonality": False}, None, "option orthogonality=False .* is not supported"),
        ({"non_linearity": "relu"}, None, "option non_linearity='relu' cannot be used; None can"),
        ({"layers": 3}, None, "option layers=3 cannot be used"),
        ({"odd": 3}, None, "unknown option 'odd'"),
        ({"r": 4}, None, r"units.0.projection.*original' is 3 x 24, but here it must be 4 x 24"),
        ({}, spoil, "does not give orthonormal rows"),
        ({}, lambda t: t.update({"encoder.layer.1.reft_layer.refts.a.x": torch.ones(1)}), "a.x'"),
    ],
)
def test_what_cannot_be_read(tmp_path, options, change, message):
    tensors, _ = units(2)
    if change is not None:
        change(tensors)
    hub.write(tmp_path, CONFIG | options, tensors)
    model = tiny.encoder()
    inlay.attach(model)
    with pytest.raises(FormatError, match=message):
        load_adapterhub(model, tmp_path)
    assert model.adapters.names == ()
