"""Prefixes of AdapterHub: keys and values of each layer side by side, network or table."""

import pytest
import torch
import transformers as hf

import inlay
from inlay.errors import FormatError
from inlay.exchange.adapterhub import load_adapterhub, read_adapterhub
from tests.contracts import tiny
from tests.contracts.families import FAMILIES
from tests.exchange import hub

CONFIG = {
    "architecture": "prefix_tuning", "prefix_length": 5, "bottleneck_size": 7, "flat": False,
    "non_linearity": "tanh", "encoder_prefix": True, "cross_prefix": True, "leave_out": [],
    "dropout": 0.0, "use_gating": False, "shared_gating": True, "init_weights_seed": None,
}  # fmt: skip
START = "prefix_tuning.prefix_tunings.a.self_prefix"


def network(width=24, layers=3, start=START):
    return {
        f"{start}.wte.weight": torch.randn(5, width),
        f"{start}.control_trans.0.weight": torch.randn(7, width),
        f"{start}.control_trans.0.bias": torch.randn(7),
        f"{start}.control_trans.2.weight": torch.randn(layers * 2 * width, 7),
        f"{start}.control_trans.2.bias": torch.randn(layers * 2 * width),
    }


def rows_of(tensors, flat, layers=3, width=24):
    """Return the peer's keys and values, `(layers, 2, length, width)`."""
    if flat:
        out = tensors[f"{START}.control_trans"].view(5, -1)
    else:
        t = {key.removeprefix(f"{START}."): value for key, value in tensors.items()}
        inner = torch.tanh(
            t["wte.weight"] @ t["control_trans.0.weight"].T + t["control_trans.0.bias"]
        )
        out = inner @ t["control_trans.2.weight"].T + t["control_trans.2.bias"]
    return out.view(5, layers, 2, width).permute(1, 2, 0, 3)


@pytest.mark.parametrize("flat", [False, True])
def test_every_layers_keys_and_values(tmp_path, flat):
    tensors = {f"{START}.control_trans": torch.randn(5 * 3 * 2 * 24)} if flat else network()
    model = tiny.encoder()
    inlay.attach(model)
    hub.write(tmp_path, CONFIG | {"flat": flat}, tensors)
    entry = model.adapters.entry(load_adapterhub(model, tmp_path))
    for layer, rows in zip(entry.layers.values(), rows_of(tensors, flat), strict=True):
        torch.testing.assert_close(torch.stack(layer()), rows)
    assert not entry.method.counted


def test_copies_in_the_attentions(tmp_path):
    tensors = network()
    copy = "encoder.layer.1.attention.self.prefix_tuning.pool.prefix_tunings.a.self_prefix"
    tensors |= {key.replace(START, copy): value.clone() for key, value in tensors.items()}
    hub.write(tmp_path, CONFIG, tensors)
    model = tiny.encoder()
    inlay.attach(model)
    load_adapterhub(model, tmp_path, "whole")
    tensors[f"{copy}.wte.weight"] += 1
    hub.write(tmp_path, CONFIG, tensors)
    with pytest.raises(FormatError, match="wte.weight' is a copy .* differs from it"):
        load_adapterhub(model, tmp_path)


def test_blocks_left_out_have_no_part(tmp_path):
    tensors = network(layers=2)
    hub.write(tmp_path, CONFIG | {"leave_out": [1]}, tensors)
    model = tiny.encoder()
    inlay.attach(model)
    entry = model.adapters.entry(load_adapterhub(model, tmp_path))
    assert list(entry.layers) == ["0.attention", "2.attention"]
    rows = rows_of(tensors, flat=False, layers=2)
    torch.testing.assert_close(torch.stack(entry.layers["2.attention"]()), rows[1])


def test_a_pair_has_three_groups(tmp_path):
    model = tiny.perturbed(hf.AutoModel.from_config(FAMILIES["t5"].config))
    sites = inlay.attach(model).sites
    width = sites["encoder.0.attention.k"].width
    tensors = {}
    for location in ("encoder_prefix", "self_prefix", "cross_prefix"):
        start = START.replace("self_prefix", location)
        layers = sites.num_blocks("encoder" if location == "encoder_prefix" else "decoder")
        size = 2 * sites["encoder.0.attention.k"].width * layers
        tensors |= network(sites["encoder.0.attention"].width, start=start)
        tensors[f"{start}.control_trans.2.weight"] = torch.randn(size, 7)
        tensors[f"{start}.control_trans.2.bias"] = torch.randn(size)
    hub.write(tmp_path, CONFIG, tensors)
    loaded = read_adapterhub(model, tmp_path)
    assert "counts as positions" in loaded.card["notes"][0]
    layers = model.adapters.entry(loaded.composition).layers
    assert model.adapters.entry(loaded.composition).method.counted
    t = {k.removeprefix(START): v for k, v in tensors.items() if k.startswith(START)}
    inner = torch.tanh(t[".wte.weight"] @ t[".control_trans.0.weight"].T
                       + t[".control_trans.0.bias"])  # fmt: skip
    out = inner @ t[".control_trans.2.weight"].T + t[".control_trans.2.bias"]
    torch.testing.assert_close(layers["decoder.0.attention"]()[1], out[:, width : 2 * width])


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"use_gating": True}, {}, "the gate of the prefix at '0.attention' is missing"),
        ({"shared_gating": 3}, {}, "option shared_gating=3 cannot be used; true or false"),
        ({"prefix_length": 4}, {}, "wte.weight' is 5 x 24, but here it must be 4 x 24"),
        ({"flat": True}, {}, "self_prefix.control_trans' is missing"),
        ({"wide": 1}, {}, "unknown option 'wide'"),
        ({}, {f"{START}.odd": torch.ones(1)}, "self_prefix.odd' has no place"),
        ({}, {f"{START}_2.odd": torch.ones(1)}, "the prefix 'self_prefix_2' is for|has no place"),
        (
            {}, {f"{START}.control_trans.2.bias": torch.ones(96),
             f"{START}.control_trans.2.weight": torch.ones(96, 7)}, r"is \[96, 7\], but .* needs",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_read(tmp_path, options, change, message):
    hub.write(tmp_path, CONFIG | options, network() | change)
    model = tiny.encoder()
    inlay.attach(model)
    with pytest.raises(FormatError, match=message):
        load_adapterhub(model, tmp_path)
    assert model.adapters.names == ()


def test_groups_by_other_names(tmp_path):
    """Some families of the peer say `self`, some put the type of the model in front."""
    model = tiny.encoder()
    inlay.attach(model)
    tensors = {key.replace("self_prefix", "self"): v for key, v in network().items()}
    hub.write(tmp_path, CONFIG, tensors)
    load_adapterhub(model, tmp_path, "one")
    pair = tiny.perturbed(hf.AutoModel.from_config(FAMILIES["clip"].config))
    sites = inlay.attach(pair).sites
    tensors = {}
    for kind in ("text", "vision"):
        start = START.replace("self_prefix", f"clip_{kind}_model_self_prefix")
        site = sites[f"{kind}_model.0.attention"]
        tensors |= network(site.width, sites.num_blocks(f"{kind}_model"), start)
    hub.write(tmp_path, CONFIG, tensors, model_type="clip")
    entry = pair.adapters.entry(load_adapterhub(pair, tmp_path))
    assert {sites[name].submodel for name in entry.layers} == {"text_model", "vision_model"}
    hub.write(tmp_path, CONFIG, network(sites["text_model.0.attention"].width))
    with pytest.raises(FormatError, match="the prefix 'self_prefix' is for cannot be told"):
        load_adapterhub(pair, tmp_path, "other")


def test_what_the_peers_mask_makes_of_a_prefix(tmp_path):
    model = tiny.encoder()
    inlay.attach(model)
    hub.write(tmp_path, CONFIG, network(), model_type="distilbert")
    with pytest.raises(FormatError, match="it adds 1 to the scores of its keys"):
        load_adapterhub(model, tmp_path)
    hub.write(tmp_path, CONFIG, network(), model_type="gpt2")
    with pytest.raises(
        FormatError, match="it has no effect in AdapterHub where a batch has padding"
    ):
        load_adapterhub(model, tmp_path)
    hub.write(tmp_path, CONFIG, network(), model_type="gpt2", version="adapters.1.2.0")
    load_adapterhub(model, tmp_path)
    pair = tiny.perturbed(hf.AutoModel.from_config(FAMILIES["bart"].config))
    sites = inlay.attach(pair).sites
    width, blocks = sites["decoder.0.attention"].width, sites.num_blocks("decoder")
    only = {"encoder_prefix": False, "cross_prefix": False}
    hub.write(tmp_path, CONFIG | only, network(width, blocks))
    with pytest.raises(FormatError, match="'decoder.0.attention' .it takes it for the first pos"):
        load_adapterhub(pair, tmp_path)
    hub.write(tmp_path, CONFIG, network(width, blocks), version="adapters.1.2.0")
    with pytest.raises(FormatError, match="there are no tensors of the 'encoder_prefix'"):
        load_adapterhub(pair, tmp_path)


def test_a_prefix_of_a_decoder_is_noted(tmp_path):
    tensors = network()
    for is_decoder in (False, True):
        model = tiny.perturbed(hf.BertModel(hf.BertConfig(**tiny.SMALL, is_decoder=is_decoder)))
        inlay.attach(model)
        hub.write(tmp_path, CONFIG, tensors, model_type="bert")
        load_adapterhub(model, tmp_path)
        notes = " ".join(model.adapters.entry("a").imported["notes"])
        assert ("may take it for the first positions" in notes) == is_decoder


def test_a_flat_table_of_another_size(tmp_path):
    hub.write(tmp_path, CONFIG | {"flat": True}, {f"{START}.control_trans": torch.ones(100)})
    model = tiny.encoder()
    inlay.attach(model)
    with pytest.raises(FormatError, match="has 100 numbers, which are not 5 rows for each of 3"):
        load_adapterhub(model, tmp_path)
