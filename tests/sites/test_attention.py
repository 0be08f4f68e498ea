"""Keys and values in front of an attention's own, against attention computed by hand."""

import pytest
import torch
import transformers as hf
from torch import nn

import inlay
from inlay.errors import SiteError
from inlay.sites.attention import AttentionPlace, attention_place, relative_bias
from inlay.sites.sitemap import Site, SiteMap
from inlay.sites.tensors import first_float_argument
from tests.contracts import tiny
from tests.contracts.families import FAMILIES


def prefixed(model, at="attention", length=3, *, counted=False, **settings):
    """Put a prefix with large weights on a model in float64 and make it active."""
    adapters = inlay.attach(model.double())
    method = inlay.Prefix(length=length, inner_width=None, counted=counted)
    entry = adapters.add("a", method, at=at, **settings)
    generator = torch.Generator().manual_seed(8)
    for parameter in entry.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    adapters.use("a")
    return entry


def kept(model, sites, site, run):
    """Return the outputs of an attention's q, k and v and the input of its o while running."""
    found = {}
    handles = []
    for role in "qkv":
        module = model.get_submodule(sites[f"{site}.{role}"].module)
        handles.append(
            module.register_forward_hook(
                lambda m, a, out, role=role: found.setdefault(role, out.detach())
            )
        )
    module = model.get_submodule(sites[f"{site}.o"].module)
    handles.append(
        module.register_forward_pre_hook(lambda m, a: found.setdefault("o", a[0].detach()))
    )
    run()
    for handle in handles:
        handle.remove()
    return found


def by_hand(found, keys, values, heads, mask=None):
    """Attend position by position and head by head."""
    q, k, v = (found[role] for role in "qkv")
    batch, length, width = q.shape
    size = width // heads
    result = torch.zeros_like(q)
    for row in range(batch):
        seen = torch.ones(k.shape[1], dtype=torch.bool) if mask is None else mask[row].bool()
        all_k = torch.cat([keys, k[row][seen]])
        all_v = torch.cat([values, v[row][seen]])
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            for position in range(length):
                scores = all_k[:, part] @ q[row, position, part] / size**0.5
                result[row, position, part] = scores.softmax(0) @ all_v[:, part]
    return result


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_self_attention_equals_the_definition(attention):
    model, inputs = tiny.encoder(), tiny.batch()
    model.set_attn_implementation(attention)
    entry = prefixed(model)
    for site in ("0.attention", "2.attention"):
        found = kept(model, model.adapters.sites, site, lambda: tiny.hidden(model, inputs))
        keys, values = entry.layer_at(site)()
        expected = by_hand(found, keys, values, 4, inputs["attention_mask"])
        torch.testing.assert_close(found["o"], expected)


def test_cross_attention_equals_the_definition():
    torch.manual_seed(2)
    model = FAMILIES["bart"].build()
    entry = prefixed(model, at="cross_attention")
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    inputs = {
        "input_ids": torch.randint(5, 90, (2, 5)), "attention_mask": mask,
        "decoder_input_ids": torch.randint(5, 90, (2, 3)),
    }  # fmt: skip
    site = "decoder.1.cross_attention"
    found = kept(model, model.adapters.sites, site, lambda: tiny.hidden(model, inputs))
    keys, values = entry.layer_at(site)()
    torch.testing.assert_close(found["o"], by_hand(found, keys, values, 4, mask))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("padded", [True, False])
def test_equals_a_cache_that_was_filled_with_the_prefix(kind, padded):
    """The other way to put keys in front, for decoders; grouped queries and rotation included."""
    model = tiny.decoder(kind)
    entry = prefixed(model, length=4)
    ids = torch.tensor([[0, 0, 5, 9, 14], [3, 8, 21, 40, 7]])
    mask = (ids != 0).long() if padded else torch.ones_like(ids)
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    with torch.no_grad():
        inputs = {"input_ids": ids, "position_ids": positions, "use_cache": False}
        ours = model(**inputs, attention_mask=mask if padded else None).logits
    heads = 2 if kind == "llama" else 4
    cache = hf.DynamicCache()
    for number, layer in enumerate(entry.layers.values()):
        both = [rows.view(4, heads, -1).transpose(0, 1).expand(2, -1, -1, -1) for rows in layer()]
        cache.update(*both, number)
    model.adapters.use(None)
    with torch.no_grad():
        longer = torch.cat([torch.ones(2, 4, dtype=torch.long), mask], dim=1)
        theirs = model(
            input_ids=ids, position_ids=positions, attention_mask=longer, past_key_values=cache
        ).logits
    real = mask.bool()
    torch.testing.assert_close(ours[real], theirs[real])


@pytest.mark.parametrize(("name", "counted"), [("t5", False), ("t5", True), ("bart", False)])
def test_a_pair_generates_the_same_with_and_without_a_cache(name, counted):
    torch.manual_seed(1)
    model = tiny.perturbed(hf.AutoModelForSeq2SeqLM.from_config(FAMILIES[name].config))
    model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id = 2
    prefixed(model, at="attention, cross_attention", counted=counted)
    ids = torch.tensor([[5, 9, 14, 1, 1], [3, 8, 21, 40, 7]])
    how = {"input_ids": ids, "attention_mask": (ids != 1).long(), "max_new_tokens": 5,
           "do_sample": False, "output_logits": True, "return_dict_in_generate": True}  # fmt: skip
    cached = model.generate(**how, use_cache=True)
    uncached = model.generate(**how, use_cache=False)
    assert torch.equal(cached.sequences, uncached.sequences)
    for one, two in zip(cached.logits, uncached.logits, strict=True):
        torch.testing.assert_close(one, two)
    model.adapters.use(None)
    assert not torch.equal(model.generate(**how).logits[0], cached.logits[0])


def test_a_counted_prefix_moves_the_texts_keys_back():
    """With zeros for keys and values, only the distances and the prefix's share are left."""
    torch.manual_seed(1)
    model = tiny.perturbed(hf.AutoModel.from_config(FAMILIES["t5"].config)).encoder.eval()
    entry = prefixed(model, length=2, layers=[0], counted=True)
    for parameter in entry.parameters():
        parameter.data.zero_()
    module = model.block[0].layer[0].SelfAttention
    assert relative_bias(model, "block.1.layer.0.SelfAttention") is module
    ids = torch.tensor([[5, 9, 14, 7]])
    found = kept(model, model.adapters.sites, "0.attention", lambda: model(input_ids=ids))
    size = module.key_value_proj_dim
    q, k, v = (found[role].view(4, -1, size).transpose(0, 1) for role in "qkv")
    distances = torch.arange(6)[None] - torch.arange(4)[:, None]
    buckets = module._relative_position_bucket(
        distances, bidirectional=True, num_buckets=module.relative_attention_num_buckets,
        max_distance=module.relative_attention_max_distance,
    )  # fmt: skip
    scores = torch.cat([torch.zeros(len(q), 4, 2).double(), q @ k.mT], dim=-1)
    scores = scores + module.relative_attention_bias.weight[buckets].permute(2, 0, 1)
    expected = scores.softmax(-1)[..., 2:] @ v
    torch.testing.assert_close(found["o"][0], expected.transpose(0, 1).flatten(1))


def test_no_other_base_weighs_by_distance():
    assert relative_bias(tiny.encoder(), "encoder.layer.1.attention.self") is None


def test_a_static_cache_gives_the_same():
    model = tiny.decoder()
    prefixed(model)
    ids = torch.tensor([[0, 0, 5, 9, 14], [3, 8, 21, 40, 7]])
    how = {"input_ids": ids, "attention_mask": (ids != 0).long(), "max_new_tokens": 4,
           "do_sample": False, "output_logits": True, "return_dict_in_generate": True}  # fmt: skip
    dynamic = model.generate(**how)
    static = model.generate(**how, cache_implementation="static", disable_compile=True)
    for one, two in zip(dynamic.logits, static.logits, strict=True):
        torch.testing.assert_close(one, two)


def test_attention_weights_are_those_of_the_bases_positions():
    model, inputs = tiny.encoder(), tiny.batch()
    model.set_attn_implementation("eager")
    prefixed(model)
    weights = model(**inputs, output_attentions=True).attentions[0]
    assert weights.shape == (3, 4, 7, 7)
    assert (weights.sum(-1) < 0.999).all()
    model.adapters.use(None)
    base = model(**inputs, output_attentions=True).attentions[0].sum(-1)
    torch.testing.assert_close(base, torch.ones_like(base))


def test_a_stack_puts_the_prefixes_one_after_the_other():
    model, inputs = tiny.encoder(), tiny.batch()
    one = prefixed(model, length=2, layers="1")
    adapters = model.adapters
    two = adapters.add("b", inlay.Prefix(length=3, inner_width=None), layers="1")
    both = adapters.add("both", inlay.Prefix(length=5, inner_width=None), layers="1")
    tiny.stir(two)
    rows = [entry.layer_at("1.attention").rows.rows for entry in (one, two, both)]
    rows[2].data = torch.cat([rows[0], rows[1]]).detach()
    with adapters.using("both"):
        expected = tiny.hidden(model, inputs)
    with adapters.using(inlay.Stack("a", "b")):
        torch.testing.assert_close(tiny.hidden(model, inputs), expected)


def test_the_widths_of_grouped_and_of_fused_maps():
    for name, site, expected in (
        ("llama", "1.attention", AttentionPlace(module="layers.1.self_attn", key_width=16,
                                                value_width=16)),
        ("phi3", "0.attention", AttentionPlace(module="layers.0.self_attn", key_width=16,
                                               value_width=16)),
        ("gpt2", "0.attention", AttentionPlace(module="h.0.attn", key_width=32, value_width=32)),
    ):  # fmt: skip
        model = FAMILIES[name].build()
        sites = inlay.probe(model)
        assert attention_place(sites[site], sites, model) == expected


def test_the_modules_keep_their_own_config_but_for_the_name():
    model = tiny.encoder()
    attention = model.get_submodule("encoder.layer.0.attention.self")
    own = attention.config
    inlay.attach(model)
    model.adapters.add("a", "prefix")
    assert attention.config is not own
    assert attention.config._attn_implementation == "sdpa", "nothing is active"
    model.set_attn_implementation("eager")
    assert attention.config._attn_implementation == "eager", "what is changed later is seen"
    model.adapters.remove("a")
    assert attention.config is own


def test_other_attention_functions_are_refused():
    model = tiny.encoder()
    prefixed(model)
    model.config._attn_implementation_internal = "flash_attention_2"
    module = model.get_submodule("encoder.layer.0.attention.self")
    with pytest.raises(SiteError, match=r"runs 'flash_attention_2'; call model.set_attn_impl"):
        module(torch.zeros(1, 2, 24, dtype=torch.float64))


def test_an_attention_that_goes_another_way_is_refused():
    model = tiny.encoder()
    prefixed(model)
    module = model.get_submodule("encoder.layer.1.attention.self")
    module.forward = lambda hidden, *args, **kwargs: (hidden, None)
    with pytest.raises(SiteError, match="took another way than transformers' attention"):
        tiny.hidden(model, tiny.batch())


class Alone(nn.Module):
    def __init__(self):
        super().__init__()
        self.k, self.v = nn.Linear(4, 4), nn.Linear(4, 4)


def test_unknown_maps_and_own_code_are_refused():
    attention = Site(name="0.attention", kind="attention", module="a", width=4, block=0)
    model = nn.ModuleDict({"a": Alone()})
    with pytest.raises(SiteError, match="no linear map of keys and values is known"):
        attention_place(attention, SiteMap((attention,)), model)
    maps = tuple(
        Site(name=f"0.attention.{role}", kind=role, module=f"a.{role}", width=4, block=0)
        for role in "kv"
    )
    with pytest.raises(SiteError, match="computes this attention by code of its own"):
        attention_place(attention, SiteMap((attention, *maps)), model)


def test_misread_widths_are_refused():
    model = tiny.encoder()
    entry = prefixed(model)
    rows = entry.layer_at("0.attention").rows
    rows.rows.data = torch.zeros(3, 40, dtype=torch.float64)
    entry.layer_at("0.attention").widths = (20, 20)
    with pytest.raises(SiteError, match="20 channels, but the attention has 4 heads of 6"):
        tiny.hidden(model, tiny.batch())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(("gate", "gates"), [("token", 1), ("token", 2), ("sequence", 2)])
def test_gates_multiply_keys_and_values_for_each_query(attention, gate, gates):
    """UniPELT's gate reads what the attention is given; padding has no part in it."""
    model, inputs = tiny.encoder(), tiny.batch()
    model.set_attn_implementation(attention)
    adapters = inlay.attach(model.double())
    method = inlay.Prefix(length=3, inner_width=None, gate=gate, gates=gates)
    entry = adapters.add("a", method, at="attention")
    generator = torch.Generator().manual_seed(8)
    for parameter in entry.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    adapters.use("a")
    site, states = "1.attention", {}
    module = model.encoder.layer[1].attention.self
    module.register_forward_pre_hook(
        lambda m, args, kwargs: states.update(x=first_float_argument(args, kwargs)),
        with_kwargs=True,
    )
    found = kept(model, adapters.sites, site, lambda: tiny.hidden(model, inputs))
    layer, mask = entry.layer_at(site), inputs["attention_mask"].bool()
    weights = torch.sigmoid(layer.gate.linear(states["x"]))
    keys, values = layer()
    for row in range(3):
        own = {role: tensor[row : row + 1] for role, tensor in found.items()}
        for position in range(int(mask[row].sum())):
            gates_here = weights[row, position]
            if gate == "sequence":
                gates_here = weights[row][mask[row]].mean(0)
            by_position = by_hand(
                own, keys * gates_here[0], values * gates_here[-1], 4, mask[row : row + 1]
            )
            torch.testing.assert_close(found["o"][row, position], by_position[0, position])
