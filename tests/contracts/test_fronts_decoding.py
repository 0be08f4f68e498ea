"""Decoding with a cache behind what is put in front, which is not as long for each row."""

import pytest
import torch

import inlay
from inlay import Parallel, Rows, Stack
from tests.contracts import tiny
from tests.contracts.fronts import (
    EXACT,
    METHODS,
    model_of,
    padded,
    prefix,
    program_of,
    prompt,
    row_of,
    run,
)


@pytest.mark.parametrize("base", ["llama", "gpt2"])
@pytest.mark.parametrize("name", METHODS)
def test_cached_decoding_equals_uncached_and_each_row_alone(name, base):
    model = model_of(base, name)
    children = ("a", None, program_of(name), "b")
    ids = torch.tensor([[0, 0, 5, 9, 14], [3, 8, 21, 40, 7], [0, 11, 13, 2, 30], [0, 0, 0, 4, 9]])
    inputs = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    how = {"max_new_tokens": 5, "do_sample": False, "output_logits": True, "eos_token_id": None,
           "return_dict_in_generate": True}  # fmt: skip
    with model.adapters.using(Rows(*children)):
        cached = model.generate(**inputs, **how, use_cache=True)
        uncached = model.generate(**inputs, **how, use_cache=False)
    assert torch.equal(cached.sequences, uncached.sequences)
    together = torch.stack(cached.logits)
    torch.testing.assert_close(together, torch.stack(uncached.logits), **EXACT)
    for row, child in enumerate(children):
        with model.adapters.using(child):
            alone = torch.stack(model.generate(**row_of(inputs, row), **how).logits)
        torch.testing.assert_close(together[:, row : row + 1], alone, **EXACT)


@pytest.mark.parametrize("name", ["prefix-positions", "prompt", "both"])
@pytest.mark.parametrize("base", ["llama", "gpt2"])
def test_parallel_decodes_with_a_cache(name, base):
    model = model_of(base, name)
    ids = torch.tensor([[0, 0, 5, 9, 14], [3, 8, 21, 40, 7]])
    mask, children = (ids != 0).long(), ("a", None, "b")
    more = torch.tensor([[11], [12], [13], [14], [15], [16]])
    longer = torch.cat([mask, torch.ones(2, 1, dtype=torch.long)], dim=1)
    places = (longer.cumsum(1) - 1).clamp_min(0)
    with model.adapters.using(Parallel(*children)), torch.no_grad():
        first = model(
            input_ids=ids, attention_mask=mask, position_ids=places[:, :-1], use_cache=True
        )
        second = model(
            input_ids=more, attention_mask=longer, position_ids=places[:, -1:],
            past_key_values=first.past_key_values,
        )  # fmt: skip
    for number, child in enumerate(children):
        rows = slice(2 * number, 2 * number + 2)
        whole = {"input_ids": torch.cat([ids, more[rows]], 1), "attention_mask": longer,
                 "position_ids": places}  # fmt: skip
        alone, real = run(model, child, whole), longer.bool()
        found = torch.cat([first.logits[rows], second.logits[rows]], dim=1)
        torch.testing.assert_close(found[real], alone[real], **EXACT)


def test_a_pair_generates_row_by_row_behind_prompts_and_prefixes():
    model = tiny.pair()
    adapters = tiny.attach(model)
    for seed, length in enumerate((3, 5)):
        tiny.stir(
            adapters.add(f"prompt{length}", prompt(length, returned=True), submodel="encoder"),
            seed=seed,
        )
        method = prefix(length, counted=length == 5, takes_positions=length == 3)
        at = "attention, cross_attention" if length == 5 else "attention"
        entry = adapters.add(f"prefix{length}", method, at=at)
        tiny.stir(entry, seed=seed + 2)
    children = ("prompt3", None, "prefix5", "prefix3", Stack("prompt5", "prefix5"))
    inputs = tiny.batch(5, 7)
    how = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "output_logits": True,
           "return_dict_in_generate": True}  # fmt: skip
    with adapters.using(Rows(*children)):
        together = torch.stack(model.generate(**inputs, **how).logits)
        uncached = torch.stack(model.generate(**inputs, **how, use_cache=False).logits)
    torch.testing.assert_close(together, uncached, **EXACT)
    for row, child in enumerate(children):
        with adapters.using(child):
            alone = torch.stack(model.generate(**row_of(inputs, row), **how).logits)
        torch.testing.assert_close(together[:, row : row + 1], alone, **EXACT)


@pytest.mark.parametrize("base", ["llama", "gpt2"])
def test_beside_what_moves_words_and_edits_positions(base):
    """All at once, decoded with a cache by hand and by `generate`."""
    model = model_of(base, "prompt")
    adapters = model.adapters
    tiny.stir(adapters.add("far", prefix(4, takes_positions=True)), seed=6)
    tiny.stir(adapters.add("edit", inlay.LoReFT(rank=3, first=2, last=2)), seed=7)
    children = ("far", Stack("a", "edit"), Stack("b", "far"), "edit", None)
    inputs = padded(len(children), 6, left=True)
    how = {"max_new_tokens": 4, "do_sample": False, "output_logits": True, "eos_token_id": None,
           "return_dict_in_generate": True}  # fmt: skip
    with adapters.using(Rows(*children)):
        together = torch.stack(model.generate(**inputs, **how).logits)
    for row, child in enumerate(children):
        with adapters.using(child):
            alone = torch.stack(model.generate(**row_of(inputs, row), **how).logits)
        torch.testing.assert_close(together[:, row : row + 1], alone, **EXACT)
    moving = Rows(Stack("a", "far"), Stack("far", "b"))  # whose words are numbered for the base
    ids = tiny.batch(1, 7)["input_ids"].expand(2, -1)
    with adapters.using(moving), torch.no_grad():
        whole = model(input_ids=ids).logits
        cache = model(input_ids=ids[:, :5], use_cache=True).past_key_values
        rest = model(input_ids=ids[:, 5:], past_key_values=cache).logits
    torch.testing.assert_close(rest, whole[:, 5:], **EXACT)
