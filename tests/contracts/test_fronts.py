"""The laws of the algebra for what is put in front: prefixes, prompts, and both beside others."""

import pytest
import torch

import inlay
from inlay import Average, Parallel, Rows, Stack
from inlay.errors import CompositionError, SiteError
from inlay.sites.example import example_inputs
from tests.contracts import tiny
from tests.contracts.families import FAMILIES
from tests.contracts.fronts import (
    EXACT,
    METHODS,
    PREFIXES,
    model_of,
    padded,
    prefix,
    program_of,
    row_of,
    run,
    scattered,
)

LOOSE = {"atol": 1e-5, "rtol": 1e-4}
BASES = ("bert", "llama", "gpt2")


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", METHODS)
def test_rows_equal_row_by_row(name, base, left):
    model = model_of(base, name)
    children = ("a", None, Stack("c", "b", "a"), program_of(name), "side", "c", "b")
    inputs = padded(len(children), 9, left=left)
    together = run(model, Rows(*children), inputs)
    for row, child in enumerate(children):
        real = inputs["attention_mask"][row].bool()
        alone = run(model, child, row_of(inputs, row))[0]
        torch.testing.assert_close(together[row][real], alone[real], **EXACT)
        if child is not None:
            base_only = run(model, None, row_of(inputs, row))[0]
            assert not torch.allclose(alone[real], base_only[real], atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_rows_and_parallel_learn_as_each_alone(name):
    model = model_of("bert", name)
    children = ("a", None, Stack("b", "a"), program_of(name), "b")
    inputs = padded(5, 8)
    weights = torch.randn(5, 8, 24, dtype=torch.float64) * inputs["attention_mask"].unsqueeze(-1)
    together = tiny.gradients(model, Rows(*children), inputs, weights)
    total = {key: torch.zeros_like(value) for key, value in together.items()}
    for row, child in enumerate(children):
        if child is not None:
            part = tiny.gradients(model, child, row_of(inputs, row), weights[row : row + 1])
            total = {key: value + part[key] for key, value in total.items()}
    for letter in "ab":
        own = {id(p) for p in model.adapters.entry(letter).parameters()}
        mine = [k for k, p in model.adapters.named_parameters() if id(p) in own]
        assert any(total[key].abs().max() > 1e-6 for key in mine)
    for key, value in total.items():
        torch.testing.assert_close(together[key], value, **EXACT)
    twice = tiny.gradients(model, Parallel("a", None, "b"), inputs, weights.repeat(3, 1, 1))
    each = [tiny.gradients(model, child, inputs, weights) for child in "ab"]
    for key, value in twice.items():
        torch.testing.assert_close(value, each[0][key] + each[1][key], **EXACT)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", METHODS)
def test_parallel_equals_each_alone(name, base):
    model = model_of(base, name)
    children = ("a", None, program_of(name), Stack("b", "c"), "side")
    inputs = padded(3, 8)
    real = inputs["attention_mask"].bool()
    parts = run(model, Parallel(*children), inputs).chunk(len(children))
    for child, part in zip(children, parts, strict=True):
        torch.testing.assert_close(part[real], run(model, child, inputs)[real], **EXACT)
    mixed = run(model, Parallel(Rows("a", None, "b"), "b"), inputs).chunk(2)
    torch.testing.assert_close(
        mixed[0][real], run(model, Rows("a", None, "b"), inputs)[real], **EXACT
    )
    torch.testing.assert_close(mixed[1][real], run(model, "b", inputs)[real], **EXACT)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", [name for name in PREFIXES if name != "prefix-positions"])
def test_an_average_of_prefixes_is_that_of_the_attentions_outputs(name, attention):
    """At the first attention, which the members are all given the same words by."""
    model = model_of("bert", name)
    model.set_attn_implementation(attention)
    module = model.get_submodule(model.adapters.sites["0.attention.o"].module)
    seen = []
    module.register_forward_hook(lambda m, args, output: seen.append(output))
    inputs = padded(3, 8)
    for composition in ("a", "b", None, Stack("a", "b")):
        run(model, composition, inputs)
    a, b, none, stack = seen[:4]
    for composition, expected in (
        (Average("a", "b", None, weights=(0.3, 0.9, -0.2)), 0.3 * a + 0.9 * b - 0.2 * none),
        (Stack("a", Average("b", None, weights=(0.4, 0.6))), 0.4 * stack + 0.6 * a),
        (Average("a", "c", weights=(0.4, 0.6)), 0.4 * a + 0.6 * none),
    ):
        run(model, composition, inputs)
        torch.testing.assert_close(seen[-1], expected, **EXACT)
    rows = Rows("a", Average("a", "b", weights=(0.2, 0.8)), Average(None, "b"))
    run(model, rows, inputs)
    expected = torch.stack([a[0], 0.2 * a[1] + 0.8 * b[1], 0.5 * none[2] + 0.5 * b[2]])
    torch.testing.assert_close(seen[-1], expected, **EXACT)
    assert not torch.allclose(a, b)
    assert torch.equal(run(model, Average("a", "a"), inputs), run(model, "a", inputs))


TEXT = [
    "bert", "roberta", "xlm-roberta", "distilbert", "deberta", "deberta-v2", "electra",
    "modernbert", "gpt2", "gpt-j", "gpt-neox", "falcon", "opt", "bloom", "llama", "mistral",
    "mixtral", "qwen3", "gemma3", "phi3", "granite", "olmo2",
]  # fmt: skip
"""Families that take prompts; see tests/sites/test_prompts.py."""

OWN_CODE = {"deberta", "deberta-v2", "gpt-j", "falcon", "bloom"}
"""Families without prefixes; see test_prefix.py."""

UNTOLD = {"t5", "swin", "vit", "bart"}
"""Families whose words cannot be moved, or not row by row; see the next test."""

ATTENDING = [x for x in [*TEXT, "t5", "bart", "whisper", "swin", "vit"] if x not in OWN_CODE]
CASES = [
    *((family, "prompt") for family in TEXT),
    *((family, name) for family in ATTENDING for name in ("prefix", "prefix-token")),
    *((family, "prefix-positions") for family in ATTENDING if family not in UNTOLD),
]
FEW = {"t5", "opt", "modernbert", "distilbert", "swin", "roberta", "llama"}


@pytest.mark.parametrize(
    ("family", "name"),
    [
        pytest.param(family, name, marks=() if family in FEW else pytest.mark.slow)
        for family, name in CASES
    ],
)
def test_rows_and_parallel_in_every_family(family, name):
    """Relative, rotary, absolute and told positions; windows; pairs; words beside padding."""
    # Experts have a kernel for low precisions only; one attends in float32 whatever it is given.
    exact = torch.float32 if family == "mixtral" else torch.float64
    tolerance = LOOSE if family in ("mixtral", "gpt-j") else EXACT
    model = scaled(FAMILIES[family].build().to(exact), family, name)
    inputs = example_inputs(model)
    real = torch.ones(2, 1, dtype=torch.bool)
    if "input_ids" in inputs:
        real = torch.ones_like(inputs["input_ids"]).bool()
        real[1, -2:] = False
        inputs["attention_mask"] = real.long()
        if isinstance(model.config.pad_token_id, int):  # by which some tell positions
            inputs["input_ids"][1, -2:] = model.config.pad_token_id
    alone = {child: run(model, child, inputs) for child in ("a", "b", None)}

    def check(found, row, child):
        expected = alone[child][row]
        if real.shape[1] == len(found):
            found, expected = found[real[row]], expected[real[row]]
        torch.testing.assert_close(found, expected, **tolerance)

    assert not torch.allclose(alone["a"], alone["b"], atol=1e-4)
    for children in (("b", None), ("a", "b")):
        mixed = run(model, Rows(*children), inputs)
        for row, child in enumerate(children):
            check(mixed[row], row, child)
    parts = run(model, Parallel("a", None, "b"), inputs).chunk(3)
    for child, part in zip(("a", None, "b"), parts, strict=True):
        for row in range(2):
            check(part[row], row, child)


def scaled(model, family, name):
    adapters = inlay.attach(model, sites=FAMILIES[family].sites)
    where = METHODS[name][2]
    if where == "attention" and "cross_attention" in adapters.sites.kinds():
        where = "attention, cross_attention"
    for seed, adapter in enumerate("ab"):
        entry = adapters.add(adapter, METHODS[name][seed], at=where)
        tiny.stir(entry, seed=seed)
        for parameter in entry.parameters():
            parameter.data.mul_(4)
    return model


@pytest.mark.parametrize("family", sorted(UNTOLD))
def test_words_that_cannot_be_moved_row_by_row(family):
    model = FAMILIES[family].build()
    if family != "bart":
        with pytest.raises(SiteError, match="takes_positions=True: words cannot be moved"):
            scaled(model, family, "prefix-positions")
        return
    scaled(model, family, "prefix-positions")
    for composition in (Rows("a", None), Parallel("a", "b")):
        with pytest.raises(CompositionError, match="numbers the words of all rows alike"):
            model.adapters.use(composition)
    model.adapters.add("same", prefix(4, takes_positions=True))
    run(model, Rows("a", "same"), example_inputs(model))


def test_heads_that_pool_do_not_see_the_padding():
    model = scattered(tiny.classifier().double(), *METHODS["prompt"])
    children = ("a", None, "b", Stack("b", "a"))
    inputs = padded(4, 8)
    together = run(model, Rows(*children), inputs)
    for row, child in enumerate(children):
        alone = run(model, child, row_of(inputs, row))
        torch.testing.assert_close(together[row : row + 1], alone, **EXACT)


@pytest.mark.parametrize("name", ["prefix", "prompt", "both", "side"])
def test_checkpointing_gives_the_same_gradients(name):
    found = []
    for checkpointing in (False, True):
        model = tiny.classifier().double()
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        scattered(model, *METHODS[name])
        model.adapters.use(Rows("a", Stack("b", "a"), None))
        for letter in "ab":
            model.adapters.entry(letter).requires_grad_(True)
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model(**tiny.batch(), labels=torch.tensor([0, 1, 2])).loss.backward()
        found.append([p.grad for p in model.adapters.parameters() if p.grad is not None])
    assert len(found[0]) == len(found[1]) > 0
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, **EXACT)
