"""What a cache holds behind prompts of different lengths, and what cannot go on behind it."""

import copy

import pytest
import torch
import transformers as hf

import inlay
from inlay import Rows
from inlay.errors import AdapterError
from inlay.sites.filled import Filled, seen_by
from inlay.sites.vectors import Vectors
from tests.contracts import tiny


class Cache:
    layers = ()
    length = 8

    def get_seq_length(self):
        return self.length


def of(*lengths):
    return Vectors(torch.zeros(len(lengths), max(lengths), 2), torch.tensor(lengths))


def test_how_many_words_were_there_at_first():
    filled, cache = Filled(), Cache()
    for output in ({"logits": None, "past_key_values": cache}, (torch.zeros(1), cache)):
        filled.begin(of(1, 3), 5)
        filled.note(output)
        filled.check(cache, of(1, 3))
        assert filled.first_words(cache, 1) == 5
    assert seen_by(cache) == 8
    assert seen_by(None) == 0


def test_a_cache_of_others():
    filled, cache = Filled(), Cache()
    alike = Vectors(torch.zeros(3, 2))
    for now in (alike, None):
        filled.check(cache, now)
    assert filled.first_words(cache, 1) == 0, "and not known to be otherwise"
    with pytest.raises(AdapterError, match=r"behind prompts of one length or none, and .* 3, 1 ve"):
        filled.check(cache, of(3, 1))
    filled.begin(of(1, 3), 5)
    filled.note({"past_key_values": cache})
    for other, said in ((of(0, 3), "of 0, 3 vectors"), (alike, "of one length or none"),
                        (None, "of one length or none")):  # fmt: skip
        with pytest.raises(AdapterError, match=f"of 1, 3 vectors .* has prompts {said}"):
            filled.check(cache, other)
    filled.begin(alike, 5)
    filled.note({"past_key_values": Cache()})
    assert list(filled.caches) == [cache]


def test_a_cache_that_was_emptied_is_of_no_prompts():
    filled, cache = Filled(), Cache()
    filled.begin(of(1, 3), 5)
    filled.note({"past_key_values": cache})
    filled.start(cache)
    assert list(filled.caches) == [cache]
    cache.length = 0
    for other in (None, (), Cache(), cache):
        filled.start(other)
    assert list(filled.caches) == []


def prompted(model):
    adapters = inlay.attach(model)
    for name, length in (("one", 1), ("four", 4)):
        adapters.add(name, inlay.Prompt(length=length, deviation=0.5))
    return adapters


def test_positions_must_be_told_behind_such_a_cache():
    model = tiny.decoder()
    adapters = prompted(model)
    ids = torch.tensor([[5, 9], [3, 8]])
    with adapters.using(Rows("one", "four")), torch.no_grad():
        cache = model(input_ids=ids, use_cache=True).past_key_values
        with pytest.raises(AdapterError, match="does not tell where words are; pass position_ids"):
            model(input_ids=ids, past_key_values=cache)
    with (
        adapters.using(Rows("four", "one")),
        pytest.raises(AdapterError, match="was not filled behind the prompts of this"),
    ):
        model(input_ids=ids, past_key_values=cache, position_ids=torch.tensor([[2, 3]] * 2))


def test_such_a_cache_is_not_continued_without_the_prompts():
    """Words would see the padding behind shorter rows, and be told numbers that are too low."""
    model = tiny.decoder()
    adapters = prompted(model)
    adapters.add("lora", "lora")
    ids, places = torch.tensor([[5, 9], [3, 8]]), torch.tensor([[2, 3]] * 2)
    with torch.no_grad():
        with adapters.using(Rows("one", "four")):
            cache = model(input_ids=ids, use_cache=True).past_key_values
        for composition in (None, "lora", "one", Rows("lora", None)):
            with (
                adapters.using(composition),
                pytest.raises(AdapterError, match="it is behind prompts of 1, 4 vectors in its ro"),
            ):
                model(input_ids=ids, past_key_values=cache, position_ids=places)
        with adapters.using(Rows("one", "four")):
            model(input_ids=ids, past_key_values=cache, position_ids=places)
        cache.reset()
        with adapters.using(None):
            plain = model(input_ids=ids).logits
            torch.testing.assert_close(model(input_ids=ids, past_key_values=cache).logits, plain)
            again = model(input_ids=ids, past_key_values=cache).logits
            whole = model(input_ids=torch.cat([ids, ids], dim=1)).logits[:, 2:]
        torch.testing.assert_close(again, whole)


def test_adapters_may_come_and_go_between_two_steps():
    model = tiny.decoder()
    adapters = prompted(model)
    ids, places = torch.tensor([[5, 9], [3, 8]]), torch.tensor([[2, 3]] * 2)
    found = []
    with torch.no_grad(), adapters.using(Rows("one", "four")):
        for is_changed in (False, True):
            cache = model(input_ids=ids, use_cache=True).past_key_values
            if is_changed:
                adapters.add("lora", "lora")
                adapters.add("two", inlay.Prompt(length=2))
                adapters.remove("two")
            more = model(input_ids=ids, past_key_values=cache, position_ids=places)
            found.append(more.logits)
    assert torch.equal(*found)
    other = copy.deepcopy(model)
    with torch.no_grad(), other.adapters.using(Rows("one", "four")):
        fresh = other(input_ids=ids, use_cache=True).past_key_values
        more = other(input_ids=ids, past_key_values=fresh, position_ids=places)
    assert torch.equal(more.logits, found[0])


def test_a_cache_is_not_of_a_pass_that_was_broken_off():
    model = tiny.decoder()
    adapters = prompted(model)
    ids = torch.tensor([[5, 9], [3, 8]])

    def fail(module, args):
        raise KeyboardInterrupt

    handle = model.model.layers[1].register_forward_pre_hook(fail)
    with adapters.using(Rows("one", "four")), pytest.raises(KeyboardInterrupt, match="^$"):
        model(input_ids=ids)
    handle.remove()
    with torch.no_grad(), adapters.using(None):
        cache = model(input_ids=ids, use_cache=True).past_key_values
    with (
        adapters.using(Rows("one", "four")),
        pytest.raises(AdapterError, match="was not filled behind the prompts of this"),
    ):
        model(input_ids=ids, past_key_values=cache, position_ids=torch.tensor([[2, 3]] * 2))


@pytest.mark.parametrize("window", [7, 40])
def test_a_window_over_a_cache_must_hold_all(window):
    """Padding would take a place in it that a row alone gives to a word."""
    torch.manual_seed(1)
    config = hf.MistralConfig(
        **tiny.SMALL, num_key_value_heads=2, sliding_window=window, bos_token_id=1,
        eos_token_id=96, pad_token_id=0,
    )  # fmt: skip
    model = tiny.perturbed(hf.MistralForCausalLM(config)).double()
    adapters = prompted(model)
    ids = torch.tensor([[5, 9, 14], [3, 8, 21]])
    how = {"max_new_tokens": 5, "do_sample": False, "output_logits": True, "eos_token_id": None,
           "return_dict_in_generate": True}  # fmt: skip
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with adapters.using(Rows("one", "four")):
        if window < 12:
            with pytest.raises(AdapterError, match="this base sees 7 positions back"):
                model.generate(**inputs, **how)
            found = model.generate(**inputs, **how, use_cache=False)
        else:
            found = model.generate(**inputs, **how)
    for row, name in enumerate(("one", "four")):
        with adapters.using(name):
            own = {key: value[row : row + 1] for key, value in inputs.items()}
            alone = model.generate(**own, **how)
        for one, two in zip(found.logits, alone.logits, strict=True):
            torch.testing.assert_close(one[row : row + 1], two)


def test_a_recurrent_cache():
    filled, cache = Filled(), Cache()
    layer = type("Layer", (), {"recurrent_states": {}})()
    cache.layers = (layer,)
    filled.begin(of(1, 3), 5)
    filled.note({"past_key_values": cache})
    with pytest.raises(AdapterError, match="only a cache of keys and values can be continued"):
        filled.first_words(cache, 1)
