"""The active composition as the hooks see it."""

import pytest
import torch

import inlay
from inlay import Average, Fuse, Parallel, Route, Rows, Stack
from inlay.errors import AdapterError, CompositionError
from tests.contracts import tiny


def test_the_stream_is_kept_only_for_those_who_read_it():
    model = tiny.encoder()
    inlay.attach(model)
    model.adapters.add("reads", inlay.Bottleneck(input="r"), at="ffn")
    model.adapters.add("does-not", inlay.Bottleneck(input="x"), at="ffn")
    running = model.adapters._running
    for name, wants in (("reads", True), ("does-not", False), (None, False)):
        model.adapters.use(name)
        assert running.wants_stream("1.ffn") is wants
        tiny.hidden(model, tiny.batch())
        assert model.adapters._hooks.local.streams == {}, "nothing is left behind"


def test_the_mask_reaches_those_who_look_at_neighbours():
    model = tiny.encoder()
    inlay.attach(model)
    entry = model.adapters.add("conv", inlay.ConvAdapter(reduction=4), at="1.ffn")
    masks = []
    entry.layer_at("1.ffn").register_forward_pre_hook(lambda m, args: masks.append(args[2:]))
    model.adapters.use("conv")
    inputs = tiny.batch()
    tiny.hidden(model, inputs)
    model(inputs["input_ids"], inputs["attention_mask"])
    tiny.hidden(model, {"input_ids": inputs["input_ids"]})
    assert torch.equal(masks[0][0], inputs["attention_mask"])
    assert torch.equal(masks[1][0], inputs["attention_mask"]), "also as a positional argument"
    assert masks[2] == ()


def test_a_cache_is_refused_by_those_who_look_at_neighbours():
    model = tiny.decoder()
    inlay.attach(model)
    model.adapters.add("conv", inlay.ConvAdapter(reduction=4))
    model.adapters.use("conv")
    first = model(torch.tensor([[5, 6, 7]]), use_cache=True)
    with pytest.raises(AdapterError, match="generate with use_cache=False"):
        model(torch.tensor([[8]]), past_key_values=first.past_key_values, use_cache=True)


def test_rows_are_for_batches_of_their_size():
    model = tiny.encoder()
    inlay.attach(model)
    model.adapters.add("a", "lora")
    model.adapters.use(inlay.Rows("a", None))
    with pytest.raises(CompositionError, match="batch of 2 rows, but the model was given 3"):
        tiny.hidden(model, tiny.batch(3))
    with pytest.raises(CompositionError, match="batch of 2 rows, but the model was given 4"):
        tiny.hidden(model, tiny.batch(4))
    assert len(tiny.hidden(model, tiny.batch(2))) == 2


def test_a_part_of_the_model_cannot_repeat_its_batch():
    model = tiny.classifier()
    inlay.attach(model)
    model.adapters.add("a", "lora")
    model.adapters.use(inlay.Parallel("a", None))
    inputs = tiny.batch(2)
    assert len(tiny.hidden(model, inputs)) == 4
    with pytest.raises(CompositionError, match="a part of it was called directly"):
        model.bert(**inputs)


def test_weights_and_penalties_of_what_ran():
    model = tiny.encoder()
    adapters = inlay.attach(model)
    for seed, name in enumerate("ab"):
        tiny.stir(adapters.add(name, "lora", at="q", layers=[0, 1]), seed=seed)
    fuse, route = inlay.Fuse("a", "b"), inlay.Route("a", "b")
    adapters.add_combiner(fuse, inlay.Fusion(regularisation=0.5))
    adapters.add_combiner(route, inlay.Gate(balance=0.25))
    assert adapters.penalty() == 0
    adapters.use(fuse)
    with adapters.combining_weights() as seen:
        tiny.hidden(model, tiny.batch(2, 6))
    assert list(seen) == [fuse.key]
    assert list(seen[fuse.key]) == ["0.attention.q", "1.attention.q"]
    assert [w.shape for w in seen[fuse.key]["0.attention.q"]] == [(2, 6, 2)]
    values = [c.value.weight for c in adapters.entry(fuse.key).combiners.values()]
    far = sum((value - torch.eye(24)).square().sum() for value in values)
    torch.testing.assert_close(adapters.penalty(), 0.5 * far)
    adapters.train(route)
    model(**tiny.batch())
    with adapters.combining_weights() as seen:
        model(**tiny.batch())
    expected = sum(
        0.25 * 2 * (w[0].reshape(-1, 2)[mask] .mean(0).square()).sum()
        for w in seen[route.key].values()
        for mask in [tiny.batch()["attention_mask"].reshape(-1).bool()]
    )  # fmt: skip
    torch.testing.assert_close(adapters.penalty(), expected)
    adapters.penalty().backward()
    assert all(p.grad is not None for p in adapters.entry(route.key).parameters())
    assert all(p.grad is None for p in adapters.entry("a").parameters())


def ends_model():
    """A language model with trained adapters of the kinds that act at ends and attentions."""
    model = tiny.decoder("llama").double()
    adapters = inlay.attach(model)
    for seed, (name, method) in enumerate(
        {
            "inv": inlay.Invertible(reduction=3, activation="tanh"),
            "glow": inlay.Invertible(form="glow"),
            "edit": inlay.LoReFT(rank=3, first=1, last=2),
            "lora": inlay.LoRA(rank=3, alpha=7),
            "side": inlay.Side(reduction=5),
            "prefix": inlay.Prefix(length=3, inner_width=7),
            "prompt": inlay.Prompt(length=2, deviation=0.5),
        }.items()
    ):
        at = "block, output" if name == "side" else None  # the words are lengthened by a prompt
        tiny.stir(adapters.add(name, method, at=at), seed=seed)
    return model


def test_ends_and_positions_run_row_by_row():
    """Stacks with inverses, and edits of the last real positions, each on rows of its own."""
    model = ends_model()
    children = (
        Stack("inv", "glow", "lora"), "edit", None, Stack("glow", "edit"), "inv",
        Average("edit", "lora", weights=(0.3, 0.7)),
    )  # fmt: skip
    inputs = tiny.batch(6, 9)
    with model.adapters.using(Rows(*children)):
        together = tiny.hidden(model, inputs)
    with model.adapters.using(Parallel(*children)):
        copies = tiny.hidden(model, inputs).chunk(6)
    for row, child in enumerate(children):
        with model.adapters.using(child):
            alone = tiny.hidden(model, inputs)
            real = inputs["attention_mask"].bool()
            torch.testing.assert_close(together[row][real[row]], alone[row][real[row]])
            torch.testing.assert_close(copies[row][real], alone[real])


def test_a_stack_of_every_kind_uses_each():
    model = ends_model()
    names = ("prompt", "prefix", "side", "inv", "edit")
    average = Average("lora", None)

    def output(*stack):
        with model.adapters.using(Stack(*stack)):
            return tiny.hidden(model, tiny.batch())

    whole = output(*names, average)
    for name in names:
        rest = [other for other in names if other != name]
        assert (output(*rest, average) - whole).abs().max() > 1e-4, name
    assert (output(*names) - whole).abs().max() > 1e-4
    assert whole.shape == output("lora").shape


def test_leaving_blocks_out_under_every_composition():
    """Rows, averages and learned combinations equal ones over adapters of the higher blocks."""
    model = tiny.encoder().double()
    adapters = inlay.attach(model)
    fuse, route = Fuse("a", "b", name="f"), Route("a", "b", name="r")
    for layers, end in (("all", ""), ("1-2", "+")):
        for seed, name in enumerate("ab"):
            entry = adapters.add(name + end, inlay.LoRA(rank=2), at="ffn.up", layers=layers)
            tiny.stir(entry, seed=seed)
        for seed, node in enumerate((fuse, route)):
            over = type(node)(*(name + end for name in "ab"), name=node.key + end)
            tiny.stir(adapters.add_combiner(over), seed=5 + seed)
    for name in ("a", "b", "f", "r"):
        higher = adapters.entry(f"{name}+").tensors()
        for key, tensor in adapters.entry(name).tensors().items():
            if key in higher:
                higher[key].copy_(tensor)
    inputs = tiny.batch(4)
    cases = {
        Rows("a", "b", Stack("b", "a"), None): Rows("a+", "b+", Stack("b+", "a+"), None),
        Average("a", "b"): Average("a+", "b+"),
        fuse: "f+",
        route: "r+",
    }
    for composition, higher in cases.items():
        with adapters.using(higher):
            expected = tiny.hidden(model, inputs)
        with adapters.using(composition):
            whole = tiny.hidden(model, inputs)
        with adapters.using(composition, skip_lowest=1):
            found = tiny.hidden(model, inputs)
        torch.testing.assert_close(found, expected)
        assert not torch.allclose(found, whole), composition
