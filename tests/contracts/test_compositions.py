"""The laws of the algebra, over methods, compositions and families of models."""

import pytest
import torch

import inlay
from inlay import Average, Fuse, Parallel, Route, Rows, Stack
from inlay.errors import CompositionError
from inlay.sites.example import example_inputs
from inlay.sites.tensors import first_float
from tests.contracts import tiny
from tests.contracts.families import FAMILIES
from tests.contracts.methods import SITE_METHODS
from tests.contracts.pairs import pairs

EXACT = {"atol": 1e-9, "rtol": 1e-9}
LOOSE = {"atol": 1e-5, "rtol": 1e-4}
FUSE, ROUTE = Fuse("a", "b"), Route("a", "c")
ANY = {
    "name": "a",
    "stack": Stack("a", "b"),
    "average": Average("a", "b", "c", weights=(0.5, 0.75, -0.25)),
    "fuse": FUSE,
    "route": ROUTE,
    "deep": Stack(Average("a", Stack("b", FUSE), weights=(0.3, 0.7)), ROUTE, "c"),
}
METHODS = list(SITE_METHODS)
SOME = ("side", "conv", "compacter", "lora", "bottleneck-parallel")
"""Methods that hand on from site to site, act on positions together, share something, act on single
maps, on what comes in."""
BY_KIND = pytest.mark.parametrize(
    ("model", "kind"), pairs(METHODS, ANY, SOME, ["deep"]), indirect=["model"]
)


def adapted(model, method, at, *, combiners=True):
    """Three trained adapters: `a` everywhere, `b` of the same kind, `c` of another at the end."""
    adapters = tiny.attach(model)
    tiny.stir(adapters.add("a", method, at=at), seed=1)
    tiny.stir(adapters.add("b", method, at=at), seed=2)
    tiny.stir(adapters.add("c", inlay.Bottleneck(inner_width=4, input="x"), at="block"), seed=3)
    if combiners:
        for seed, node in enumerate((FUSE, ROUTE)):
            method = inlay.Gate(top_k=1) if node is ROUTE else None
            tiny.stir(adapters.add_combiner(node, method), seed=seed)
    return model


@pytest.fixture(params=METHODS)
def model(request):
    method, at = SITE_METHODS[request.param]
    return adapted(tiny.encoder().double(), method, at)


def run(model, composition, inputs):
    with model.adapters.using(composition), torch.no_grad():
        return first_float(model(**inputs))


def row_of(inputs, row):
    return {key: value[row : row + 1] for key, value in inputs.items()}


def test_flat_equals_nested(model):
    inputs = tiny.batch()
    for nested, flat in (
        (Stack(Stack("a", "b"), "c"), Stack("a", Stack("b", "c"))),
        (Parallel(Parallel("a", "b"), "c"), Parallel("a", "b", "c")),
        (Average(Average("a", "b"), "c", weights=(0.5, 0.5)),
         Average("a", "b", "c", weights=(0.25, 0.25, 0.5))),
        (Stack("a"), "a"),
        (Average("a", "a"), "a"),
        (Stack("a", Average("b", "b", weights=(0.9, 0.1))), Stack("a", "b")),
        (Stack("a", Parallel("b", "c")), Parallel(Stack("a", "b"), Stack("a", "c"))),
        (Rows("a", Stack("b"), None), Rows(Stack("a"), "b", Average(None))),
    ):  # fmt: skip
        assert torch.equal(run(model, nested, inputs), run(model, flat, inputs)), nested
    assert not torch.equal(run(model, "a", inputs), run(model, Stack("a", "b"), inputs))


@BY_KIND
def test_rows_equal_row_by_row(model, kind):
    rows = Rows("c", ANY[kind], None, Average("a", "c"), ANY[kind], "b")
    inputs = tiny.batch(6, 9)
    together = run(model, rows, inputs)
    for row, composition in enumerate(rows.children):
        alone = run(model, composition, row_of(inputs, row))
        torch.testing.assert_close(together[row : row + 1], alone, **EXACT)
    assert torch.equal(together[2], run(model, None, inputs)[2]), "untouched, bit for bit"


def test_rows_learn_as_row_by_row(model):
    rows = Rows("a", None, Stack("b", "a"), Average("a", "c"), FUSE, "b")
    inputs = tiny.batch(6, 8)
    weights = torch.randn(6, 8, 24, dtype=torch.float64)
    together = tiny.gradients(model, rows, inputs, weights)
    total = {key: torch.zeros_like(value) for key, value in together.items()}
    for row, composition in enumerate(rows.children):
        if composition is not None:
            part = tiny.gradients(model, composition, row_of(inputs, row), weights[row : row + 1])
            total = {key: value + part[key] for key, value in total.items()}
    assert any(value.abs().max() > 0 for value in total.values())
    for key, value in total.items():
        torch.testing.assert_close(together[key], value, **EXACT)


def test_parallel_equals_each_alone(model):
    children = ("a", None, Stack("b", "c"), FUSE)
    inputs = tiny.batch(3, 8)
    weights = torch.randn(3, 8, 24, dtype=torch.float64)
    outputs = run(model, Parallel(*children), inputs).chunk(4)
    together = tiny.gradients(model, Parallel(*children), inputs, weights.repeat(4, 1, 1))
    total = {key: torch.zeros_like(value) for key, value in together.items()}
    for child, output in zip(children, outputs, strict=True):
        torch.testing.assert_close(output, run(model, child, inputs), **EXACT)
        if child is not None:
            part = tiny.gradients(model, child, inputs, weights)
            total = {key: value + part[key] for key, value in total.items()}
    for key, value in total.items():
        torch.testing.assert_close(together[key], value, **EXACT)


def test_parallel_and_rows_together(model):
    composition = Stack(Parallel(Rows("a", None, "b"), "c"), "a")
    inputs = tiny.batch(3, 8)
    first, second = run(model, composition, inputs).chunk(2)
    expected = run(model, Rows(Stack("a", "a"), "a", Stack("b", "a")), inputs)
    torch.testing.assert_close(first, expected, **EXACT)
    torch.testing.assert_close(second, run(model, Stack("c", "a"), inputs), **EXACT)


@BY_KIND
def test_rows_do_not_see_each_other(model, kind):
    inputs = tiny.batch(3, 8)
    together = run(model, ANY[kind], inputs)
    for row in range(3):
        alone = run(model, ANY[kind], row_of(inputs, row))
        torch.testing.assert_close(together[row : row + 1], alone, **EXACT)


def test_an_average_is_that_of_the_outputs():
    model = adapted(tiny.encoder().double(), inlay.Bottleneck(inner_width=5), "ffn")
    outputs = []
    site = model.adapters.sites["2.ffn"]
    handle = model.get_submodule(site.module).register_forward_hook(
        lambda m, args, out: outputs.append(out)
    )
    inputs = tiny.batch()
    for name in ("a", "b"):
        model.adapters.add(f"only-{name}", inlay.Bottleneck(inner_width=5), at="2.ffn")
        own = model.adapters.entry(f"only-{name}")
        own.load_state_dict(
            {k.replace("_layers.2.", "_layers.0."): v
             for k, v in model.adapters.entry(name).state_dict().items() if "_layers.2." in k}
        )  # fmt: skip
        run(model, f"only-{name}", inputs)
    run(model, Average("only-a", "only-b", weights=(0.3, 0.7)), inputs)
    handle.remove()
    a, b, both = outputs
    torch.testing.assert_close(both, 0.3 * a + 0.7 * b, **EXACT)
    assert not torch.allclose(a, b)


@pytest.mark.parametrize("name", ["llama", "t5", "swin", "convnext", "opt", "mixtral", "whisper",
                                  "deberta-v2", "mamba"])  # fmt: skip
@pytest.mark.parametrize("at", ["residual", "linear"])
def test_rows_and_parallel_in_every_form_of_a_batch(name, at):
    """Windows, flattened positions, channels first, two submodels: rows are found in all."""
    # Experts have a kernel for low precisions only.
    exact, tolerance = (torch.float32, LOOSE) if name == "mixtral" else (torch.float64, EXACT)
    model = FAMILIES[name].build().to(exact)
    adapters = inlay.attach(model)
    method = inlay.LoRA(rank=3, alpha=7) if at == "linear" else inlay.Bottleneck(inner_width=3)
    for seed, adapter in enumerate(("a", "b")):
        where = at if at == "linear" else ", ".join(
            k for k in adapters.sites.kinds()
            if k in ("attention", "cross_attention", "ffn", "conv", "mixer")
        )  # fmt: skip
        tiny.stir(adapters.add(adapter, method, at=where), seed=seed)
    inputs = example_inputs(model)
    alone = {child: run(model, child, inputs) for child in ("a", "b", None)}
    assert not torch.allclose(alone["a"], alone["b"])
    mixed = run(model, Rows("b", None), inputs)
    torch.testing.assert_close(mixed[0], alone["b"][0], **tolerance)
    torch.testing.assert_close(mixed[1], alone[None][1], **tolerance)
    parts = run(model, Parallel("a", None, "b"), inputs).chunk(3)
    for child, part in zip(("a", None, "b"), parts, strict=True):
        torch.testing.assert_close(part, alone[child], **tolerance)


DECODED = {**ANY, "rows": Rows("a", FUSE), "none": Rows(None, Stack("b", ROUTE))}


@pytest.mark.parametrize("kind", DECODED)
@pytest.mark.parametrize("base", ["llama", "gpt2"])
def test_cached_decoding_equals_uncached(base, kind):
    at = "qkv, o" if base == "gpt2" else "q, v"
    model = adapted(tiny.decoder(base).double(), inlay.LoRA(rank=3, alpha=7), at)
    ids = torch.tensor([[0, 0, 5, 9, 14], [3, 8, 21, 40, 7]])
    inputs = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    how = {"max_new_tokens": 5, "do_sample": False, "output_logits": True,
           "return_dict_in_generate": True}  # fmt: skip
    with model.adapters.using(DECODED[kind]):
        cached = model.generate(**inputs, **how, use_cache=True)
        uncached = model.generate(**inputs, **how, use_cache=False)
    with model.adapters.using(None):
        base_only = model.generate(**inputs, **how, use_cache=True)
    assert torch.equal(cached.sequences, uncached.sequences)
    torch.testing.assert_close(torch.stack(cached.logits), torch.stack(uncached.logits), **EXACT)
    assert not torch.allclose(base_only.logits[-1], cached.logits[-1])


@pytest.mark.parametrize("base", ["llama", "gpt2"])
def test_parallel_decodes_with_a_cache(base):
    at = "qkv, o" if base == "gpt2" else "q, v"
    model = adapted(tiny.decoder(base).double(), inlay.LoRA(rank=3, alpha=7), at)
    ids = torch.tensor([[0, 0, 5, 9, 14], [3, 8, 21, 40, 7]])
    mask = (ids != 0).long()
    children = ("a", None, "c")
    both = Parallel(*children)
    more = torch.tensor([[11], [12], [13], [14], [15], [16]])
    with model.adapters.using(both), torch.no_grad():
        first = model(input_ids=ids, attention_mask=mask, use_cache=True)
        longer = torch.cat([mask, torch.ones(2, 1, dtype=torch.long)], dim=1)
        second = model(input_ids=more, attention_mask=longer, past_key_values=first.past_key_values)
    for number, child in enumerate(children):
        rows = slice(2 * number, 2 * number + 2)
        whole = {"input_ids": torch.cat([ids, more[rows]], 1), "attention_mask": longer}
        alone = run(model, child, whole)
        torch.testing.assert_close(first.logits[rows], alone[:, :-1], **EXACT)
        torch.testing.assert_close(second.logits[rows], alone[:, -1:], **EXACT)
    with model.adapters.using(None):
        foreign = model(input_ids=ids, use_cache=True).past_key_values
    with pytest.raises(CompositionError, match="the cache was not filled under this Parallel"):
        run(model, both, {"input_ids": ids[:, :1], "past_key_values": foreign})


def test_generating_under_a_parallel_by_repeating():
    model = adapted(tiny.decoder().double(), inlay.LoRA(rank=3, alpha=7), "q, v")
    ids = torch.tensor([[0, 0, 5, 9, 14], [3, 8, 21, 40, 7]])
    inputs = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    rows, repeated = inlay.repeat(Parallel("a", "c"), inputs)
    assert rows == Rows("a", "a", "c", "c")
    with model.adapters.using(rows):
        together = model.generate(**repeated, max_new_tokens=4, do_sample=False)
    for number, child in enumerate(("a", "c")):
        with model.adapters.using(child):
            alone = model.generate(**inputs, max_new_tokens=4, do_sample=False)
        assert torch.equal(together[2 * number : 2 * number + 2], alone)


def test_an_encoder_decoder_generates_row_by_row():
    """`generate` calls the encoder by itself, so its rows are told by the composition alone."""
    model = tiny.pair()
    adapted(model, inlay.LoRA(rank=3, alpha=7), "q, v, up")
    inputs = tiny.batch(3, 6)
    how = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "output_logits": True,
           "return_dict_in_generate": True}  # fmt: skip
    children = ("a", None, Stack("b", FUSE))
    with model.adapters.using(Rows(*children)):
        together = torch.stack(model.generate(**inputs, **how).logits)
    for row, child in enumerate(children):
        with model.adapters.using(child):
            alone = torch.stack(model.generate(**row_of(inputs, row), **how).logits)
        torch.testing.assert_close(together[:, row : row + 1], alone, **EXACT)
    with (
        model.adapters.using(Parallel("a", "b")),
        pytest.raises(CompositionError, match="Repeat the batch yourself"),
    ):
        model.generate(**inputs, **how)


def test_two_batches_in_one_call_have_no_rows():
    model = FAMILIES["clip"].build()
    inlay.attach(model).add("a", inlay.LoRA(rank=2), at="q")
    inputs = example_inputs(model)
    inputs["pixel_values"] = torch.cat([inputs["pixel_values"]] * 2)
    for composition in (Rows("a", None), Parallel("a", None)):
        with pytest.raises(CompositionError, match="'pixel_values' is 4 x 3 x 32 x 32"):
            run(model, composition, inputs)


def test_training_in_a_stack_over_a_parallel():
    model = adapted(tiny.encoder().double(), inlay.LoRA(rank=3, alpha=7), "q, v")
    model.adapters.train(Stack("a", Parallel("b", "c")))
    assert model.adapters.in_training == ("a", "b", "c")
    model(**tiny.batch()).last_hidden_state.sum().backward()
    for name in ("a", "b", "c"):
        layer = next(iter(model.adapters.entry(name).layers.values()))
        assert all(p.grad is not None for p in layer.parameters())


@pytest.mark.parametrize("kind", [*ANY, "rows", "parallel"])
def test_checkpointing_gives_the_same_gradients(kind):
    nodes = {**ANY, "rows": Rows("a", None, "b"), "parallel": Parallel("a", "b")}
    found = []
    for checkpointing in (False, True):
        model = tiny.classifier().double()
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        adapted(model, inlay.Bottleneck(inner_width=5), "attention, ffn")
        for name in model.adapters.names:
            model.adapters.entry(name).requires_grad_(True)
        model.adapters.use(nodes[kind])
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model(**tiny.batch(), labels=torch.tensor([0, 1, 2])).loss.backward()
        found.append([p.grad for p in model.adapters.parameters() if p.grad is not None])
    assert len(found[0]) == len(found[1]) > 0
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, **EXACT)


@pytest.mark.parametrize("method", ["pfeiffer", "lora", "side", "prefix", "prompt"])
@pytest.mark.parametrize("node", [Rows("a", None, "b"), Parallel("b", None)], ids=["rows", "par"])
def test_compiled_rows_equal_eager_ones(method, node):
    torch._dynamo.reset()  # a function traced for other models is traced no more after a while
    model = tiny.encoder(num_layers=2)
    adapters = tiny.attach(model)
    for name, seed in (("a", 9), ("b", 10)):
        tiny.stir(adapters.add(name, method), seed=seed)
    adapters.use(node)
    inputs = tiny.batch()
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        first, again = compiled(**inputs)[0], compiled(**inputs)[0]
        expected = model(**inputs)[0]
    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(again, expected)
