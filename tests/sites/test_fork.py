"""One text for many adapters: what they share is computed once, and nothing else changes."""

import gc
import threading

import pytest
import torch
import transformers as hf

import inlay
from inlay import Average, Fuse, Parallel, Stack
from inlay.sites.example import example_inputs
from inlay.sites.fork import _Branch, can_fork, is_repeated
from inlay.sites.tensors import first_float, first_float_argument, replace_first_float
from tests.contracts import tiny
from tests.contracts.families import FAMILIES


def adapted(model, *, layers="upper", sites=None):
    adapters = inlay.attach(model, sites=sites)
    for seed, name in enumerate("abc"):
        method = inlay.Bottleneck(inner_width=4)
        kinds = [
            kind for kind in ("attention", "ffn", "mixer", "conv") if kind in adapters.sites.kinds()
        ]
        tiny.stir(adapters.add(name, method, at=kinds or None, layers=layers), seed=seed)
    return model


def hidden_of(output):
    """Return a tensor with one entry for each row."""
    return output["image_embeds"] if "image_embeds" in output else first_float(output)


def together_and_alone(model, inputs, children="ab"):
    """Return what compositions give at once, and what each gives alone, one behind the other."""
    alone = [hidden_of(model(**inputs)) for child in children if model.adapters.use(child) is None]
    with model.adapters.using(Parallel(*children)):
        return hidden_of(model(**inputs)), torch.cat(alone)


def rows_seen(model, module):
    seen = []
    model.get_submodule(module).register_forward_hook(
        lambda _, args, kwargs, output: seen.append(len(first_float_argument(args, kwargs))),
        with_kwargs=True,
    )
    return seen


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "albert"])
def test_each_copy_is_as_if_alone(family):
    # Grouped products of experts have no float64.
    dtype = torch.float32 if family == "mixtral" else torch.float64
    model = adapted(FAMILIES[family].build().to(dtype), sites=FAMILIES[family].sites)
    inputs = example_inputs(model)
    with torch.no_grad():
        alone = []
        for composition in ("a", None, Stack("b", "c")):
            with model.adapters.using(composition):
                alone.append(hidden_of(model(**inputs)))
        with model.adapters.using(Parallel("a", None, Stack("b", "c"))):
            together = hidden_of(model(**inputs))
            again = hidden_of(model(**inputs))
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(together, torch.cat(alone), atol=tolerance, rtol=1e3 * tolerance)
    assert torch.equal(together, again)


SMALL = {
    "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24,
}  # fmt: skip
BETWEEN_BLOCKS = {
    # Its first block gives all others a bias, with an entry for each head of each row.
    "wavlm": lambda: hf.WavLMModel(
        hf.WavLMConfig(
            **SMALL, conv_dim=(8, 8), conv_stride=(2, 2), conv_kernel=(3, 3),
            num_feat_extract_layers=2, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        )
    ),
    # Adds a convolution of the embeddings to what the first block gives.
    "deberta-v2": lambda: hf.DebertaV2Model(
        hf.DebertaV2Config(**SMALL, vocab_size=40, conv_kernel_size=3)
    ),
    # Turn rows into pictures from stage to stage, by the number of rows at the start.
    "pvt": lambda: hf.PvtModel(
        hf.PvtConfig(
            image_size=32, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 2, 2],
            num_attention_heads=[1, 1, 2, 2],
        )
    ),
    "mobilevit": lambda: hf.MobileViTModel(
        hf.MobileViTConfig(
            image_size=32, hidden_sizes=[16, 16, 16], num_attention_heads=2,
            neck_hidden_sizes=[8, 8, 8, 8, 8, 8, 16],
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize("name", BETWEEN_BLOCKS)
def test_what_a_model_does_between_its_blocks_sees_all_copies(name, rows):
    torch.manual_seed(3)
    model = adapted(BETWEEN_BLOCKS[name]().double().eval(), layers="-1")
    inputs = {
        key: value[:1].repeat(rows, *[1] * (value.ndim - 1))
        for key, value in example_inputs(model).items()
    }
    for value in inputs.values():
        if value.is_floating_point():
            value += torch.randn(rows, *[1] * (value.ndim - 1))
    low = rows_seen(model, next(s.module for s in model.adapters.sites if s.kind == "block"))
    with torch.no_grad():
        together, alone = together_and_alone(model, inputs, "abc")
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=1e-9)
    # Convolutions of sound may round otherwise from copy to copy, and then all are computed.
    assert low == [low[0]] * 4 or name == "wavlm"


def test_a_state_that_is_changed_between_blocks_is_computed_as_it_is_then():
    model = adapted(tiny.encoder().double(), layers="-1")
    blocks = [model.get_submodule(s.module) for s in model.adapters.sites if s.kind == "block"]

    def change(module, args):
        args[0].add_(0.5)

    blocks[1].register_forward_pre_hook(change)
    inputs = tiny.batch(2, 6)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            together, alone = together_and_alone(model, inputs)
        torch.testing.assert_close(together, alone, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_block_that_works_in_place_is_as_if_alone(family, mode):
    model = adapted(FAMILIES[family].build().double(), layers="-1")
    for site in model.adapters.sites:
        if site.kind == "block":
            work_in_place(model.get_submodule(site.module))
    inputs = example_inputs(model)
    with mode():
        together, alone = together_and_alone(model, inputs)
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=1e-9)


def work_in_place(module):
    real = module.forward

    def forward(hidden, *args, **kwargs):
        output = real(hidden.clone(), *args, **kwargs)
        hidden.copy_(first_float(output))
        return replace_first_float(output, hidden)

    module.forward = forward


@pytest.mark.parametrize("family", ["whisper", "bart", "t5"])
def test_copies_that_differ_in_what_a_block_is_given_besides_are_all_computed(family):
    model = FAMILIES[family].build().double()
    adapters = inlay.attach(model, sites=FAMILIES[family].sites)
    for seed, name in enumerate("ab"):
        method = inlay.Bottleneck(inner_width=4)
        placed = {"at": "ffn", "layers": "-1", "submodel": "decoder"}
        tiny.stir(adapters.add(name, method, **placed), seed=seed)
    inputs = {**example_inputs(model), "use_cache": False}
    low = rows_seen(model, adapters.sites["decoder.0.block"].module)

    def round_otherwise(module, args, output):
        states = first_float(output).clone()
        states[2:] += 1e-14
        return replace_first_float(output, states)

    encoder = model.get_encoder()
    for changed in (False, True):
        if changed:
            encoder.register_forward_hook(round_otherwise)
        low.clear()
        with torch.no_grad():
            together, alone = together_and_alone(model, inputs)
        torch.testing.assert_close(together, alone, atol=1e-9, rtol=1e-6)
        assert low == [2, 2, 4 if changed else 2]


def test_what_a_block_gives_in_a_form_that_is_not_known_is_computed_for_all():
    model = adapted(tiny.encoder().double(), layers="-1")
    block = model.get_submodule(model.adapters.sites["0.block"].module)
    behind = model.get_submodule(model.adapters.sites["1.block"].module)
    real, next_real = block.forward, behind.forward
    block.forward = lambda *args, **kwargs: {"state": real(*args, **kwargs)}
    behind.forward = lambda hidden, *args, **kwargs: next_real(hidden["state"], *args, **kwargs)
    inputs = tiny.batch(2, 6)
    with torch.no_grad():
        together, alone = together_and_alone(model, inputs)
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=1e-9)


def test_nothing_of_the_size_of_a_state_is_held_until_the_end():
    model = adapted(tiny.encoder(), layers="-1")
    held = []
    last = next(s.module for s in reversed(list(model.adapters.sites)) if s.kind == "block")

    def look(module, args, output):
        for handle in gc.get_objects():
            if isinstance(handle, _Branch):
                held.extend(own.whole.shape for own in handle.known.values())

    model.get_submodule(last).register_forward_hook(look)
    with torch.no_grad(), model.adapters.using(Parallel("a", "b")):
        model(**tiny.batch(2, 6))
    assert held
    assert not [shape for shape in held if shape[:2] == (4, 6)]


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2", "modernbert", "vit", "deberta-v2"])
def test_blocks_below_the_adapters_run_on_one_copy(family):
    model = adapted(FAMILIES[family].build(), sites=FAMILIES[family].sites)
    first, last = (s for s in model.adapters.sites if s.kind == "block")
    low, high = rows_seen(model, first.module), rows_seen(model, last.module)
    with torch.no_grad(), model.adapters.using(Parallel("a", "b", "c")):
        model(**example_inputs(model))
    assert (low, high[-1]) == ([2], 6)


READ = ("bert", "llama", "gpt2", "modernbert", "deberta-v2", "t5", "whisper", "vit", "mamba")
"""Families whose blocks are of one width, as side networks need them."""


@pytest.mark.parametrize("family", READ)
def test_blocks_that_adapters_only_read_run_on_one_copy(family):
    model = FAMILIES[family].build().double()
    adapters = inlay.attach(model, sites=FAMILIES[family].sites)
    for seed, name in enumerate("abc"):
        tiny.stir(adapters.add(name, "side[reduction=3]"), seed=seed)
    first = adapters.sites.submodels()[0]
    blocks = [s.module for s in adapters.sites if s.kind == "block" and s.submodel == first]
    seen = [rows_seen(model, block) for block in blocks]
    with torch.no_grad():
        together, alone = together_and_alone(model, example_inputs(model), "abc")
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=1e-9)
    assert not torch.allclose(*together.chunk(3)[:2])
    assert seen == [[2] * 4] * len(blocks)  # three alone, and all at once


def test_a_block_that_one_adapter_changes_and_another_reads_runs_on_all_copies():
    model = adapted(tiny.encoder().double(), layers="-1")
    tiny.stir(model.adapters.add("side", "side[reduction=3]"), seed=4)
    blocks = [s.module for s in model.adapters.sites if s.kind == "block"]
    seen = [rows_seen(model, block) for block in blocks]
    inputs = tiny.batch(2, 6)
    with torch.no_grad():
        together, alone = together_and_alone(model, inputs, ("side", "a", Stack("b", "side"), None))
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=1e-9)
    assert [rows[-1] for rows in seen] == [2] * (len(blocks) - 1) + [8]


@pytest.mark.parametrize("family", ["bert", "llama", "gpt-neox", "t5", "vit"])
def test_what_stands_in_front_of_the_adapters_runs_on_one_copy(family):
    model = FAMILIES[family].build()
    adapters = inlay.attach(model, sites=FAMILIES[family].sites)
    last = adapters.sites.num_blocks(adapters.sites.submodels()[0]) - 1
    for seed, name in enumerate("ab"):
        method = inlay.Bottleneck(inner_width=4)
        added = adapters.add(name, method, at="ffn", layers=str(last))
        tiny.stir(added, seed=seed)
    up = next(s.module for s in adapters.sites if s.block == last and s.kind == "up")
    seen = rows_seen(model, up)
    inputs = example_inputs(model)
    with torch.no_grad():
        alone = [hidden_of(model(**inputs)) for name in "ab" if adapters.use(name) is None]
        seen.clear()
        with adapters.using(Parallel("a", "b")):
            together = hidden_of(model(**inputs))
    assert len(together) == 4
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-4)
    assert seen == [2]


def test_gradients_are_those_of_each_alone():
    model = adapted(tiny.encoder().double()).eval()
    inputs = tiny.batch(2, 6)
    weights = torch.randn(2, 6, 24, dtype=torch.float64)

    def gradients(composition, weights):
        model.adapters.zero_grad()
        for name in model.adapters.names:
            model.adapters.entry(name).requires_grad_(True)
        with model.adapters.using(composition):
            (model(**inputs).last_hidden_state * weights).sum().backward()
        return [
            torch.zeros_like(p) if p.grad is None else p.grad.clone()
            for p in model.adapters.parameters()
        ]

    together = gradients(Parallel("a", "b"), weights.repeat(2, 1, 1))
    alone = [gradients(name, weights) for name in "ab"]
    for one, *parts in zip(together, *alone, strict=True):
        torch.testing.assert_close(one, sum(parts), atol=1e-10, rtol=1e-9)


def test_where_the_copies_are_not_the_same_or_are_seen_all_are_computed():
    model = adapted(FAMILIES["llama"].build())
    seen = rows_seen(model, next(s.module for s in model.adapters.sites if s.kind == "block"))
    inputs = example_inputs(model)
    with torch.no_grad(), model.adapters.using(Parallel("a", "b")):
        model(**inputs, output_hidden_states=True)
        model.train()
        model(**inputs)
    assert seen == [4, 4]
    assert not can_fork(model, {})


def test_hooks_are_gone_after_a_pass_and_after_an_error():
    model = adapted(tiny.encoder())
    modules = [model.get_submodule(s.module) for s in model.adapters.sites if s.kind == "block"]

    def hooks():
        return [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in modules]

    before = hooks()
    with torch.no_grad(), model.adapters.using(Parallel("a", "b")):
        model(**tiny.batch(2, 6))
        assert hooks() == before
        modules[-1].register_forward_hook(lambda *_: 1 / 0)
        before = hooks()
        with pytest.raises(ZeroDivisionError, match="division"):
            model(**tiny.batch(2, 6))
    assert hooks() == before


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_what_counts_as_repeated(dtype):
    one = torch.randn(2, 3, requires_grad=True).to(dtype)
    assert is_repeated(one.repeat(3, 1), 2)
    assert is_repeated(one.repeat(3, 1).t().contiguous().t(), 2)
    other = one.repeat(3, 1)
    other[5, 2] += 0.1
    assert not is_repeated(other, 2)
    for whole in (torch.tensor([True, False] * 3), torch.tensor([4, 5] * 3)):
        assert is_repeated(whole, 2)
        assert not is_repeated(whole, 3)


@pytest.mark.parametrize("takes_positions", [True, False])
def test_prefixes_above_share_blocks_unless_they_move_words(takes_positions):
    model = tiny.decoder().double()
    adapters = inlay.attach(model)
    for length, name in ((3, "a"), (4, "b")):
        method = inlay.Prefix(length=length, inner_width=None, takes_positions=takes_positions)
        tiny.stir(adapters.add(name, method, layers=[1, 2]), seed=length)
    seen = rows_seen(model, adapters.sites["0.block"].module)
    inputs = tiny.batch(2, 6) | {"use_cache": False}
    with adapters.using(Parallel("a", None, "b")):
        together = tiny.hidden(model, inputs).chunk(3)
    assert seen == [6 if takes_positions else 2]
    for part, child in zip(together, ("a", None, "b"), strict=True):
        with adapters.using(child):
            torch.testing.assert_close(part, tiny.hidden(model, inputs), atol=1e-12, rtol=1e-9)


DECODERS = ("gpt2", "gpt-neox", "bloom", "falcon", "gpt-j", "llama", "mistral", "gemma3")


@pytest.mark.parametrize("family", DECODERS)
def test_a_cache_is_filled_for_all_copies_by_one(family):
    model = FAMILIES[family].build().double()
    adapters = inlay.attach(model, sites=FAMILIES[family].sites)
    for seed, name in enumerate("ab"):
        added = adapters.add(name, inlay.Bottleneck(inner_width=4), at="ffn", layers="-1")
        tiny.stir(added, seed=seed)
    ids = torch.randint(5, 100, (2, 6), generator=torch.Generator().manual_seed(1))

    def second(composition):
        with torch.no_grad(), adapters.using(composition):
            first = model(input_ids=ids[:, :4], use_cache=True)
            cache = first.past_key_values
            return model(input_ids=ids[:, 4:5], past_key_values=cache, use_cache=True)[0]

    seen = rows_seen(model, next(s.module for s in adapters.sites if s.kind == "block"))
    together = second(Parallel("a", "b"))
    assert seen == [2, 4], "what goes on from a cache is computed for all"
    torch.testing.assert_close(
        together, torch.cat([second("a"), second("b")]), atol=1e-9, rtol=1e-6
    )


def test_a_cache_is_filled_once_where_a_block_has_to_run_again():
    model = adapted(FAMILIES["llama"].build().double(), layers="-1")
    block = model.get_submodule(model.adapters.sites["0.block"].module)
    behind = model.get_submodule(model.adapters.sites["1.block"].module)
    real, next_real = block.forward, behind.forward
    block.forward = lambda *args, **kwargs: {"state": real(*args, **kwargs)}
    behind.forward = lambda hidden, *args, **kwargs: next_real(hidden["state"], *args, **kwargs)
    inputs = {**example_inputs(model), "use_cache": True}
    with torch.no_grad():
        alone = []
        for name in "ab":
            model.adapters.use(name)
            alone.append(model(**inputs))
        with model.adapters.using(Parallel("a", "b")):
            together = model(**inputs)
    expected = torch.cat([hidden_of(one) for one in alone])
    torch.testing.assert_close(hidden_of(together), expected, atol=1e-12, rtol=1e-9)
    for number, layer in enumerate(together.past_key_values.layers):
        keys = torch.cat([one.past_key_values.layers[number].keys for one in alone])
        torch.testing.assert_close(layer.keys, keys, atol=1e-12, rtol=1e-9)


def shared_below(model):
    """Add adapters in all blocks, `s` and `t`, and in the last one, `a` and `b`."""
    adapters = inlay.attach(model)
    for seed, name in enumerate("stab"):
        layers = "all" if name in "st" else "-1"
        method = inlay.Bottleneck(inner_width=4)
        tiny.stir(adapters.add(name, method, at="attention, ffn", layers=layers), seed=seed)
    tiny.stir(adapters.add("low", inlay.LoRA(rank=3), at="q, up", layers="all"), seed=9)
    return [rows_seen(model, s.module) for s in adapters.sites if s.kind == "block"]


@pytest.mark.parametrize(
    ("composition", "first_different"),
    [
        (Parallel(Stack("s", "a"), Stack("s", "b")), 2),
        (Parallel(Stack("s", "a"), "s", Stack("s", "a", "b")), 2),
        (Parallel(Stack("low", "s", "a"), Stack("low", "s", "b")), 2),
        (Parallel(Average("s", "t", weights=[0.25, 0.75]),
                  Stack(Average("s", "t", weights=[0.25, 0.75]), "a")), 2),
        (Parallel(Stack(Average("s", "t"), "a"), Average("s", "t", weights=[0.25, 0.75])), 0),
        (Parallel(Stack("s", "a"), Stack("t", "a")), 0),
        (Parallel(Stack("s", "t"), Stack("t", "s")), 0),
        (Parallel("s", None), 0),
        (Parallel("s", "s"), 3),
    ],
)  # fmt: skip
def test_blocks_run_on_one_copy_up_to_the_first_where_adapters_differ(composition, first_different):
    model = tiny.encoder().double()
    seen = shared_below(model)
    assert len(seen) == 3
    inputs = tiny.batch(2, 6)
    with torch.no_grad():
        together, alone = together_and_alone(model, inputs, composition.children)
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=1e-9)
    rows = 2 * len(composition.children)
    assert [own[-1] for own in seen] == [2] * first_different + [rows] * (3 - first_different)


def test_blocks_where_adapters_are_left_out_run_on_one_copy():
    model = tiny.encoder().double()
    seen = shared_below(model)
    inputs = tiny.batch(2, 6)
    with torch.no_grad():
        alone = []
        for name in "st":
            model.adapters.use(name, skip_lowest=2)
            alone.append(hidden_of(model(**inputs)))
        model.adapters.use(Parallel("s", "t"), skip_lowest=2)
        together = hidden_of(model(**inputs))
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-12, rtol=1e-9)
    assert [own[-1] for own in seen] == [2, 2, 4]


def test_a_pass_broken_off_in_a_shared_block_leaves_nothing_behind():
    model = tiny.encoder().double()
    shared_below(model)
    composition, inputs = Parallel(Stack("s", "a"), Stack("s", "b")), tiny.batch(2, 6)
    inner = model.get_submodule(model.adapters.sites["0.ffn"].module)
    with torch.no_grad(), model.adapters.using(composition):
        before = hidden_of(model(**inputs))
        handle = inner.register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError, match="division"):
            model(**inputs)
        handle.remove()
        assert not model.adapters._running.thread.is_cut, "for parts that are called directly"
        assert torch.equal(hidden_of(model(**inputs)), before)
        handle = inner.register_forward_hook(interrupt)
        with pytest.raises(KeyboardInterrupt, match="by hand"):
            model(**tiny.batch(3, 5))
        handle.remove()
        assert torch.equal(hidden_of(model(**inputs)), before)
    with torch.no_grad(), model.adapters.using("s"):
        expected = hidden_of(model(**inputs))
    with torch.no_grad():
        with model.adapters.using(composition):
            handle = inner.register_forward_hook(interrupt)
            with pytest.raises(KeyboardInterrupt, match="by hand"):
                model(**inputs)
            handle.remove()
        with model.adapters.using("s"):
            assert torch.equal(hidden_of(model(**inputs)), expected)


def interrupt(*given):
    raise KeyboardInterrupt("by hand")


def test_learned_combinations_and_what_sees_neighbours_are_computed_for_all():
    model = tiny.encoder().double()
    seen = shared_below(model)
    adapters = model.adapters
    tiny.stir(adapters.add("conv", "conv[reduction=4]", layers="all"), seed=6)
    adapters.add_combiner(Fuse("s", "t"))
    inputs = tiny.batch(2, 6)
    for child in (Fuse("s", "t"), "conv"):
        with torch.no_grad():
            together, alone = together_and_alone(
                model, inputs, (Stack(child, "a"), Stack(child, "b"))
            )
        torch.testing.assert_close(together, alone, atol=1e-12, rtol=1e-9)
        assert [own[-1] for own in seen] == [4, 4, 4]


def test_a_filled_cache_that_is_given_by_place_is_used_for_all_copies():
    model = FAMILIES["gpt2"].build().double()
    adapters = inlay.attach(model)
    for seed, name in enumerate("ab"):
        added = adapters.add(name, inlay.Bottleneck(inner_width=4), at="ffn", layers="-1")
        tiny.stir(added, seed=seed)
    ids = torch.randint(5, 100, (2, 6), generator=torch.Generator().manual_seed(1))

    def second(composition):
        with torch.no_grad(), adapters.using(composition):
            cache = model(ids[:, :4], use_cache=True).past_key_values
            return model(ids[:, 4:5], cache)[0]

    together = second(Parallel("a", "b"))
    torch.testing.assert_close(
        together, torch.cat([second("a"), second("b")]), atol=1e-9, rtol=1e-6
    )


def test_a_mapping_that_a_block_fills_is_not_cut():
    model = adapted(tiny.encoder().double(), layers="-1")
    seen = [rows_seen(model, s.module) for s in model.adapters.sites if s.kind == "block"]
    first, second = (model.adapters.sites[f"{n}.block"].module for n in (0, 1))
    kept = {}
    for path in (first, second):
        block = model.get_submodule(path)
        real = block.forward
        block.forward = lambda hidden, *given, store, real=real, **named: filled(
            store, real(hidden, *given, **named)
        )
        block.register_forward_pre_hook(
            lambda module, args, kwargs: (args, {**kwargs, "store": kept}), with_kwargs=True
        )
    inputs = tiny.batch(2, 6)
    with torch.no_grad():
        alone = []
        for name in "ab":
            kept.clear()
            model.adapters.use(name)
            alone.append(hidden_of(model(**inputs)))
        kept.clear()
        model.adapters.use(Parallel("a", "b"))
        together = hidden_of(model(**inputs))
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-12, rtol=1e-9)
    assert [own[-1] for own in seen] == [4, 4, 4]


def filled(store, output):
    """Add what an earlier block has left, as blocks that share keys and values do."""
    hidden = first_float(output)
    before = store.setdefault("hidden", hidden)
    return replace_first_float(output, hidden + 0.5 * before)


@pytest.mark.parametrize("other", [Parallel("b", "a"), "b"])
def test_a_pass_of_another_thread_is_its_own(other):
    model = adapted(tiny.encoder().double(), layers="-1")
    rows = tiny.batch(2, 6)
    equal = {key: value[:1].repeat(2, 1) for key, value in rows.items()}

    def answer(composition, inputs):
        with torch.no_grad(), model.adapters.using(composition):
            return hidden_of(model(**inputs))

    expected = answer(Parallel("a", "b"), rows), answer(other, equal)
    is_in = {name: threading.Event() for name in ("one", "two")}
    is_done = threading.Event()
    found = {}

    def wait(*_):
        """Let the first pass end while the second one is below the adapters."""
        name = threading.current_thread().name
        is_in[name].set()
        (is_in["two"] if name == "one" else is_done).wait(10)

    def one():
        found["one"] = answer(Parallel("a", "b"), rows)
        is_done.set()

    def two():
        is_in["one"].wait(10)
        found["two"] = answer(other, equal)

    lowest = next(s.module for s in model.adapters.sites if s.kind == "block")
    model.get_submodule(lowest).register_forward_hook(wait)
    threads = [threading.Thread(target=run, name=run.__name__) for run in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert torch.equal(found["one"], expected[0])
    assert torch.equal(found["two"], expected[1])
