"""Blocks that are passed over: the same result for every family, and what cannot be is refused."""

import pytest
import torch
import transformers as hf
from torch import nn

import inlay
from inlay.errors import SiteError
from inlay.sites.example import example_inputs
from inlay.sites.probe import probe
from inlay.sites.replay import Replay, trunks
from tests.contracts import tiny
from tests.contracts.families import FAMILIES

NOT_CUT = {"albert"}
"""Families whose one block is shared by depth."""


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    if hasattr(value, "values"):
        value = value.values()
    return (
        [t for item in value for t in tensors(item)]
        if isinstance(value, tuple | list)
        or (
            not isinstance(value, str | int | float | bool | type(None))
            and hasattr(value, "__iter__")
        )
        else []
    )


COMPUTED = {"opt", "beit", "wav2vec2-conformer"}
"""Families whose sublayers in the first changed block are computed each time."""


@pytest.mark.parametrize(
    ("acting", "attention"), [("all", None), ("ffn", None), ("block", None), ("ffn", "eager")]
)
@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in NOT_CUT])
def test_replayed_equals_computed_bit_for_bit(family, acting, attention):
    model = FAMILIES[family].build()
    if attention is not None:
        model.set_attn_implementation(attention)
    sites, inputs = FAMILIES[family].sites, example_inputs(model)
    last = {name: sites.num_blocks(name) - 1 for name in sites.submodels()}
    for submodel in sites.submodels():
        names = [
            s.name for s in sites
            if s.submodel == submodel and s.block == last[submodel] and not s.is_map
            and (acting == "all" or s.kind == acting)
        ]  # fmt: skip
        found = trunks(sites, names)
        if not names:
            continue
        assert found
        replay = Replay(model, found)
        with torch.no_grad(), replay.installed():
            replay.record()
            computed, states = model(**inputs), dict(replay.recorded)
            replay.check()
            assert states.keys() == replay.kept
            replay.shorten(states, replay.forms)
            states = {path: states[path] for trunk in replay.trunks for path in trunk.states}
            is_led = any(trunk.lead_in for trunk in replay.trunks)
            assert is_led == (family not in COMPUTED)
            replay.replay(states)
            again = model(**inputs)
            replay.replay({path: torch.zeros_like(state) for path, state in states.items()})
            other = model(**inputs)
            replay.record(states)
            checked = model(**inputs)
            assert all(torch.equal(replay.recorded[path], states[path]) for path in states)
            replay.stop()
            as_always = model(**inputs)
        for one, *others in zip(*map(tensors, (computed, again, checked, as_always)), strict=True):
            assert all(torch.equal(one, other) for other in others)
        differs = [
            not torch.equal(a, b) for a, b in zip(*map(tensors, (computed, other)), strict=True)
        ]
        assert any(differs), "what was replayed must matter"
    assert not any("forward" in vars(module) for module in model.modules())


def test_lower_blocks_are_not_computed():
    model = tiny.encoder()
    sites = probe(model)
    (trunk,) = trunks(sites, ["2.ffn"])
    assert [path.rsplit(".", 1)[-1] for path in trunk.blocks] == ["0", "1"]
    runs = []
    for path in trunk.blocks:
        attention = model.get_submodule(path).attention
        attention.register_forward_hook(lambda *_, path=path: runs.append(path))
    replay = Replay(model, [trunk])
    with torch.no_grad(), replay.installed():
        replay.record()
        model(**tiny.batch())
        assert runs == list(trunk.blocks)
        replay.replay(dict(replay.recorded))
        model(**tiny.batch())
    assert runs == list(trunk.blocks)


def test_what_counts_as_trunk():
    sites = probe(tiny.encoder())
    assert trunks(sites, ["0.attention"]) == []
    assert trunks(sites, ["embedding"]) == []
    (whole,) = trunks(sites, [])
    (ladder,) = trunks(sites, ["output"], [s.name for s in sites if s.kind == "block"])
    assert whole.blocks == ladder.blocks
    assert ladder.kept == ladder.blocks
    assert whole.kept == whole.blocks[-1:]
    (behind,) = trunks(probe(tiny.decoder()), ["lm_head"])
    assert behind.kept == behind.blocks[-1:]
    assert len(behind.blocks) == 3
    (one,) = trunks(sites, ["1.block"])
    assert one.blocks == whole.blocks[:1]


def test_a_stack_within_a_block_ends_the_trunk_above_it():
    config = hf.MobileBertConfig(
        hidden_size=32, embedding_size=16, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=48, intra_bottleneck_size=16, vocab_size=120,
        num_feedforward_networks=3, true_hidden_size=16,
    )  # fmt: skip
    sites = probe(hf.MobileBertModel(config).eval())
    inner = [s for s in sites if s.submodel == "ffn" and s.kind == "ffn"]
    (trunk, *_) = trunks(sites, [inner[-1].name])
    assert [path.rsplit(".", 1)[-1] for path in trunk.blocks] == ["0", "1"]
    assert trunk.lead_in == ()


def test_a_later_submodel_is_changed_by_an_earlier_one():
    sites = FAMILIES["bart"].sites
    encoder, decoder = sites.submodels()
    assert [t.submodel for t in trunks(sites, [f"{decoder}.1.ffn"])] == [encoder, decoder]
    assert [t.submodel for t in trunks(sites, [f"{encoder}.1.ffn", f"{decoder}.1.ffn"])] == [
        encoder
    ]


class _Two(nn.Module):
    """A block that makes something besides its hidden state."""

    def __init__(self, *, makes):
        super().__init__()
        self.linear, self.makes = nn.Linear(8, 8), makes

    def forward(self, x):
        y = x + self.linear(x)
        return (y, y.sum(-1)) if self.makes else (y, None)


class _Model(nn.Module):
    def __init__(self, *makes):
        super().__init__()
        self.blocks = nn.ModuleList(_Two(makes=flag) for flag in makes)

    def forward(self, x):
        total = 0
        for block in self.blocks:
            x, extra = block(x)
            total = total if extra is None else total + extra
        return x, total


@pytest.mark.parametrize("makes", [(False, True, False), (True, False, False)])
def test_a_block_that_makes_more_is_run_or_refused(makes):
    model, x = _Model(*makes), torch.randn(2, 3, 8)
    sites = inlay.SiteMap(
        tuple(
            inlay.Site(name=f"{i}.block", kind="block", module=f"blocks.{i}", width=8, block=i)
            for i in range(3)
        )
    )
    replay = Replay(model, trunks(sites, []))
    with torch.no_grad(), replay.installed():
        replay.record()
        computed, states = model(x), dict(replay.recorded)
        if makes[1]:
            with pytest.raises(SiteError, match="returns more than its hidden state"):
                replay.check()
            return
        replay.check()
        replay.replay(states)
        for one, two in zip(computed, model(x), strict=True):
            assert torch.equal(one, two)
