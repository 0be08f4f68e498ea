"""What stands in front of which row, and how much of it counts."""

import pytest
import torch

import inlay
from inlay import Average, Fuse, Parallel, Rows, Stack
from inlay.adapters.fronts import positions_before, shifts_of, strands
from tests.contracts import tiny

ALL = {"a", "b", "c"}


@pytest.mark.parametrize(
    ("program", "kept", "expected"),
    [
        (None, ALL, {(): 1}),
        ("a", ALL, {("a",): 1}),
        ("a", {"b"}, {(): 1}),
        (Stack("a", "b", "a"), ALL, {("a", "b", "a"): 1}),
        (Stack("a", "x", "b"), ALL, {("a", "b"): 1}),
        (Average("a", "b", None, weights=(0.5, 0.75, -0.25)), ALL,
         {("a",): 0.5, ("b",): 0.75, (): -0.25}),
        (Average("x", "y", "a", weights=(0.5, 0.25, 0.25)), ALL, {(): 0.75, ("a",): 0.25}),
        (Stack(Average("a", "b", weights=(0.25, 0.75)), Average("c", None)), ALL,
         {("a", "c"): 0.125, ("a",): 0.125, ("b", "c"): 0.375, ("b",): 0.375}),
        (Stack("a", Fuse("x", "y")), ALL, {("a",): 1}),
    ],
)  # fmt: skip
def test_a_program_multiplied_out(program, kept, expected):
    assert strands(program, kept) == expected


def with_prefixes(**lengths):
    model = tiny.encoder().double()
    adapters = inlay.attach(model)
    for seed, (name, length) in enumerate(lengths.items()):
        method = inlay.Prefix(length=length, inner_width=None, takes_positions=name in "pq")
        tiny.stir(adapters.add(name, method), seed=seed)
    adapters.add("lora", "lora")
    return adapters


def test_how_far_words_stand_back():
    adapters = with_prefixes(a=2, p=3, q=4)
    entry = adapters.entry
    assert shifts_of(Stack("a", "p", "lora", "q"), entry) == {7}
    assert shifts_of(Average("lora", "a"), entry) == {0}
    assert shifts_of(Average("p", Stack("q", "a"), None), entry) == {0, 3, 4}
    fronts = adapters._running._fronts
    words = torch.zeros(4, 5)
    with adapters.using(Stack("a", "p")):
        assert fronts().shift(words) == 3
    with adapters.using(Rows("a", "lora", None, "a")):
        assert fronts().shift(words) == 0
    with adapters.using(Rows("q", None, Stack("p", "q"), "a")):
        assert fronts().shift(words).tolist() == [[4], [0], [7], [0]]


def test_each_row_has_its_own_keys_and_sees_no_others():
    adapters = with_prefixes(a=2, b=3)
    own = [adapters.entry(name).layer_at("1.attention")() for name in "ab"]
    query = torch.zeros(4, 4, 5, 6)
    with adapters.using(Rows("b", Stack("a", "b"), None, "a")):
        (one,) = adapters._running.prefixes("1.attention", query, None)
    (front,) = one.fronts
    assert front.keys.shape == (4, 5, 24)
    assert front.seen.sum(1).tolist() == [3, 5, 0, 2]
    assert torch.equal(front.keys[0, :3], own[1][0])
    assert torch.equal(front.values[1], torch.cat([own[0][1], own[1][1]]))
    assert torch.equal(front.values[3, :2], own[0][1])
    assert {tuple(m.index.tolist()): m.length for m in one.moved} == {
        (0,): 3, (1,): 5, (2,): 0, (3,): 2
    }  # fmt: skip


def test_rows_alike_hide_nothing():
    adapters = with_prefixes(a=2, b=2)
    with adapters.using(Rows("b", "a")):
        (one,) = adapters._running.prefixes("1.attention", torch.zeros(2, 4, 5, 6), None)
    assert one.seen(2, torch.device("cpu")) is None
    with adapters.using(Rows(None, "lora")):
        (none,) = adapters._running.prefixes("1.attention", torch.zeros(2, 4, 5, 6), None)
    assert none.fronts == ()
    assert none.length == 0


def test_an_average_is_several_passes_with_shares_by_row():
    adapters = with_prefixes(a=2, b=3)
    query = torch.zeros(3, 4, 5, 6)
    with adapters.using(Average("a", "b", weights=(0.25, 0.75))):
        one, two = adapters._running.prefixes("1.attention", query, None)
    assert (one.share, two.share, one.length, two.length) == (0.25, 0.75, 2, 3)
    with adapters.using(Rows("a", Average("b", "a", weights=(0.25, 0.75)), None)):
        one, two = adapters._running.prefixes("1.attention", query, None)
    assert one.share.tolist() == [1, 0.25, 1]
    assert two.share.tolist() == [0, 0.75, 0]
    assert one.seen(3, query.device).sum(1).tolist() == [2, 3, 0]


def test_positions_that_are_taken_from_the_base():
    adapters = inlay.attach(tiny.decoder("gpt2"))
    adapters.add("prompt", inlay.Prompt(length=2))
    adapters.add("moving", inlay.Prefix(length=3, inner_width=None, takes_positions=True))
    adapters.add("plain", inlay.Prefix(length=5, inner_width=None))
    for composition, number in (
        (None, 0), ("prompt", 2), ("moving", 3), ("plain", 0), (Stack("prompt", "moving"), 5),
        (Rows("prompt", "plain", "moving"), 3), (Parallel("plain", None), 0),
    ):  # fmt: skip
        with adapters.using(composition):
            assert adapters.positions_in_front == number
    assert positions_before(Stack("moving", "plain", "prompt"), adapters.entry) == 5


def test_vectors_of_each_row():
    adapters = inlay.attach(tiny.encoder())
    for seed, length in enumerate((2, 3, 3)):
        method = inlay.Prompt(length=length, deviation=0.5)
        tiny.stir(adapters.add(f"p{seed}", method), seed=seed)
    adapters.add("lora", "lora")
    own = [adapters.entry(f"p{seed}").layer_at("embedding")() for seed in range(3)]
    found, words = adapters._running.prompts, torch.zeros(3, 7)
    with adapters.using(Stack("p1", "lora", "p0")):
        every = found("embedding", words)
    assert torch.equal(every.vectors, torch.cat([own[1], own[0]]))
    assert every.lengths is None
    with adapters.using(Rows("p1", "p2", "p1")):
        alike = found("embedding", words)
    assert torch.equal(alike.vectors, torch.stack([own[1], own[2], own[1]]))
    assert alike.lengths is None
    with adapters.using(Rows("p0", "lora", "p1")):
        mixed = found("embedding", words)
    assert mixed.lengths.tolist() == [2, 0, 3]
    assert torch.equal(mixed.vectors[0, :2], own[0])
    assert torch.equal(mixed.vectors[2], own[1])
    with adapters.using(Rows("lora", None, "lora")):
        assert found("embedding", words) is None


def test_gates_of_rows_that_have_them():
    model = tiny.encoder().double()
    adapters = inlay.attach(model)
    adapters.add("gated", inlay.Prefix(length=2, inner_width=None, gate="token", gates=2))
    adapters.add("plain", inlay.Prefix(length=3, inner_width=None))
    states = torch.randn(3, 5, 24, dtype=torch.float64)
    layer = adapters.entry("gated").layer_at("0.attention")
    with adapters.using(Rows("plain", "gated", None)):
        (one,) = adapters._running.prefixes("0.attention", torch.zeros(3, 4, 5, 6), states)
    (front,) = one.fronts
    # Products over one row may be rounded otherwise than over three.
    torch.testing.assert_close(front.gates[1], layer.gates(states, None)[1], rtol=1e-12, atol=0)
    assert torch.equal(front.gates[[0, 2]], torch.ones_like(front.gates[[0, 2]]))
