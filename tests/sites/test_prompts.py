"""Vectors in front of the word vectors, against inputs that were lengthened by hand."""

import pytest
import torch
import transformers as hf

import inlay
from inlay.errors import AdapterError, SiteError
from inlay.sites.example import example_inputs
from inlay.sites.prompts import PromptPlace, prompt_place
from tests.contracts import tiny
from tests.contracts.families import FAMILIES

DONE = {
    "bert", "roberta", "xlm-roberta", "distilbert", "deberta", "deberta-v2", "electra",
    "modernbert", "gpt2", "gpt-j", "gpt-neox", "falcon", "opt", "bloom", "llama", "mistral",
    "mixtral", "qwen3", "gemma3", "phi3", "granite", "olmo2",
}  # fmt: skip


def prompted(model, length=4, **settings):
    # Grouped experts run in single precision only.
    model = model if model.config.model_type == "mixtral" else model.double()
    adapters = inlay.attach(model)
    entry = adapters.add("a", inlay.Prompt(length=length, deviation=0.5, **settings))
    adapters.use("a")
    return entry, entry.layer_at("embedding")


def lengthened(model, vectors, ids, mask, positions=None):
    """Make the arguments by hand, for a call without the adapter."""
    words = model.get_input_embeddings()(ids)
    rows = vectors.detach().expand(len(ids), -1, -1)
    ones = torch.ones(len(ids), len(vectors), dtype=torch.long)
    inputs = {
        "inputs_embeds": torch.cat([rows, words], dim=1),
        "attention_mask": torch.cat([ones, mask], dim=1),
    }
    if positions is not None:
        numbers = torch.arange(len(vectors)).expand(len(ids), -1)
        inputs["position_ids"] = torch.cat([numbers, positions + len(vectors)], dim=1)
    return inputs


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_family_equals_lengthened_inputs_or_is_refused(name):
    torch.manual_seed(3)
    model = FAMILIES[name].build()
    if name == "albert":
        model.pooler = None  # see the next test
    elif name not in DONE:
        with pytest.raises(SiteError, match="no vectors can be put in front"):
            prompted(model)
        return
    _, layer = prompted(model)
    ids = example_inputs(model)["input_ids"]
    mask = torch.ones_like(ids)
    mask[1, -2:] = 0
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        model.adapters.use(None)
        by_hand = model(**lengthened(model, layer(), ids, mask), output_hidden_states=True)
    real = mask.bool()
    expected = by_hand.last_hidden_state[:, 4:]
    close = {"atol": 1e-5, "rtol": 1e-4} if expected.dtype == torch.float32 else {}
    torch.testing.assert_close(found.last_hidden_state[real], expected[real], **close)
    assert all(state.shape[1] == ids.shape[1] for state in found.hidden_states)
    for one, two in zip(found.hidden_states, by_hand.hidden_states, strict=True):
        torch.testing.assert_close(one[real], two[:, 4:][real], **close)
    with torch.no_grad():
        base = model(input_ids=ids, attention_mask=mask).last_hidden_state
    assert not torch.allclose(base[real], expected[real], atol=1e-3)


def test_a_position_that_the_base_picks_itself_is_refused():
    model = FAMILIES["albert"].build()
    prompted(model)
    with pytest.raises(AdapterError, match="a position that the base picked itself"):
        model(**example_inputs(model))
    model.adapters.use(None)
    model(**example_inputs(model))


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_what_is_behind_the_stack_sees_the_first_word(name):
    """A pooler reads position 0, which must be a word of the caller's."""
    torch.manual_seed(3)
    model = FAMILIES[name].build()
    _, layer = prompted(model)
    ids, mask = example_inputs(model)["input_ids"], torch.ones(2, 7, dtype=torch.long)
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=mask)
        model.adapters.use(None)
        states = model(**lengthened(model, layer(), ids, mask)).last_hidden_state[:, 4:]
        torch.testing.assert_close(found.pooler_output, model.pooler(states))
    torch.testing.assert_close(found.last_hidden_state, states)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_generating_equals_generating_from_lengthened_inputs(kind):
    model = tiny.decoder(kind)
    _, layer = prompted(model)
    ids = torch.tensor([[0, 0, 5, 9, 14], [3, 8, 21, 40, 7]])
    mask = (ids != 0).long()
    how = {"max_new_tokens": 5, "do_sample": False, "output_logits": True,
           "return_dict_in_generate": True, "eos_token_id": None}  # fmt: skip
    cached = model.generate(input_ids=ids, attention_mask=mask, **how)
    uncached = model.generate(input_ids=ids, attention_mask=mask, **how, use_cache=False)
    model.adapters.use(None)
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    sequence = cached.sequences
    with torch.no_grad():
        for step in range(5):
            length = 5 + step
            longer = torch.cat([mask, torch.ones(2, step, dtype=torch.long)], dim=1)
            positions = (longer.cumsum(1) - 1).clamp_min(0)
            inputs = lengthened(model, layer(), sequence[:, :length], longer, positions)
            expected = model(**inputs).logits[:, -1].float()
            torch.testing.assert_close(cached.logits[step], expected)
            torch.testing.assert_close(uncached.logits[step], expected)


def test_token_types_and_given_positions():
    model = tiny.encoder()
    _, layer = prompted(model)
    inputs = tiny.batch()
    types = torch.tensor([[0, 0, 1, 1, 1, 1, 1]]).expand(3, -1)
    with torch.no_grad():
        found = model(**inputs, token_type_ids=types).last_hidden_state
        model.adapters.use(None)
        by_hand = lengthened(model, layer(), inputs["input_ids"], inputs["attention_mask"])
        by_hand["token_type_ids"] = torch.cat([torch.zeros(3, 4, dtype=torch.long), types], dim=1)
        expected = model(**by_hand).last_hidden_state[:, 4:]
    torch.testing.assert_close(found, expected)


def test_attentions_are_those_of_the_callers_positions():
    model = tiny.encoder()
    model.set_attn_implementation("eager")
    prompted(model)
    attentions = model(**tiny.batch(), output_attentions=True).attentions
    assert [tuple(a.shape) for a in attentions] == [(3, 4, 7, 7)] * 3


def test_logits_labels_and_gradients_of_a_task_class():
    model = hf.BertForTokenClassification(hf.BertConfig(**tiny.SMALL, num_labels=3))
    entry, _ = prompted(tiny.perturbed(model))
    model.adapters.train("a")
    inputs = tiny.batch()
    output = model(**inputs, labels=inputs["attention_mask"])
    assert output.logits.shape == (3, 7, 3)
    output.loss.backward()
    assert all(p.grad.any() for p in entry.layer_at("embedding").parameters())


def test_stacked_prompts_stand_in_order_and_below_other_adapters():
    model = tiny.encoder()
    _, one = prompted(model, length=2)
    adapters = model.adapters
    two = adapters.add("b", inlay.Prompt(length=3, deviation=0.5)).layer_at("embedding")
    both = adapters.add("both", inlay.Prompt(length=5)).layer_at("embedding")
    both.vectors.data = torch.cat([one.vectors, two.vectors]).detach()
    adapters.add("words", inlay.EmbeddingAdapter())
    tiny.stir(adapters.entry("words"))
    inputs = tiny.batch()
    with adapters.using(inlay.Stack("both", "words")):
        expected = tiny.hidden(model, inputs)
    with adapters.using(inlay.Stack("a", "words", "b")):
        torch.testing.assert_close(tiny.hidden(model, inputs), expected)
    with adapters.using("both"):
        assert not torch.allclose(tiny.hidden(model, inputs), expected)


def test_the_place_of_a_task_class_is_the_bare_base():
    model = tiny.classifier()
    sites = inlay.probe(model)
    assert prompt_place(sites["embedding"], sites, model) == PromptPlace(
        site="embedding", stack="bert", table="bert.embeddings.word_embeddings",
        output=sites["output"].module, rest=("bert.pooler",),
    )  # fmt: skip


def test_arguments_that_would_not_fit_are_refused():
    model = tiny.encoder()
    prompted(model)
    inputs = tiny.batch()
    mask = inputs["attention_mask"].bool()[:, None, None, :].expand(-1, 1, 7, -1)
    with pytest.raises(AdapterError, match=r"attention_mask is not of the form \(batch, pos"):
        model(input_ids=inputs["input_ids"], attention_mask=mask)
    with pytest.raises(AdapterError, match="not known what head_positions would be"):
        model(**inputs, head_positions=torch.zeros(3, 7))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ["roberta", "xlm-roberta", "opt"])
def test_numbers_that_are_told_and_those_that_the_base_finds(name, side):
    """Some bases tell padding by the words, which vectors hide; numbers need not begin at 0."""
    torch.manual_seed(3)
    model = FAMILIES[name].build()
    prompted(model, length=3)
    model.adapters.add("b", inlay.Prompt(length=1, deviation=0.5))
    ids, padding = torch.tensor([[5, 9, 14, 30, 8]] * 3), model.config.pad_token_id
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 1, 1, 1, 1]])
    mask = mask if side == "left" else mask.flip(1)
    ids, start = ids.masked_fill(mask == 0, padding), 0 if name == "opt" else padding + 1
    places = (mask.cumsum(1) - 1 + start).masked_fill(mask == 0, max(start - 1, 0))
    inputs = {"input_ids": ids, "attention_mask": mask}
    for children in (["a"] * 3, ["b", "a", None], [inlay.Stack("b", "a")] * 3, [None] * 3):
        with model.adapters.using(inlay.Rows(*children)):
            found = tiny.hidden(model, inputs)
            told = tiny.hidden(model, inputs | {"position_ids": places})
        torch.testing.assert_close(found[mask > 0], told[mask > 0])
        for row, child in enumerate(children):
            with model.adapters.using(child):
                alone = tiny.hidden(model, {"input_ids": ids[row : row + 1, mask[row] > 0]})
            torch.testing.assert_close(found[row, mask[row] > 0], alone[0])


def test_a_prompt_that_is_returned_is_a_longer_sequence():
    model, inputs = tiny.encoder(), tiny.batch()
    entry = inlay.attach(model).add("a", inlay.Prompt(length=2, deviation=0.5, returned=True))
    (layer,) = entry.layers.values()
    words = model.embeddings.word_embeddings(inputs["input_ids"])
    longer = torch.cat([layer().detach().expand(3, -1, -1), words], dim=1)
    mask = torch.cat([torch.ones(3, 2, dtype=torch.long), inputs["attention_mask"]], dim=1)
    with torch.no_grad():
        wanted = model(inputs_embeds=longer, attention_mask=mask)
        model.adapters.use("a")
        found = model(**inputs)
    assert found.last_hidden_state.shape == (3, 9, 24)
    torch.testing.assert_close(found.last_hidden_state, wanted.last_hidden_state)
    torch.testing.assert_close(found.pooler_output, wanted.pooler_output)


def pair():
    torch.manual_seed(2)
    return tiny.perturbed(hf.AutoModelForSeq2SeqLM.from_config(FAMILIES["t5"].config))


@pytest.mark.parametrize("is_masked", [True, False])
def test_the_decoder_of_a_pair_sees_the_prompts_positions(is_masked):
    model = pair()
    inputs = tiny.batch() | {"decoder_input_ids": tiny.batch()["input_ids"][:, :4]}
    if not is_masked:
        del inputs["attention_mask"]
    entry = inlay.attach(model).add("a", "prompt[length=3,returned=true]", submodel="encoder")
    tiny.stir(entry)
    (layer,) = entry.layers.values()
    embeds = model.get_input_embeddings()(inputs["input_ids"]).detach()
    longer = {
        "inputs_embeds": torch.cat([layer().detach().expand(3, -1, -1), embeds], dim=1),
        "decoder_input_ids": inputs["decoder_input_ids"],
    }
    if is_masked:
        ones = torch.ones(3, 3, dtype=torch.long)
        longer["attention_mask"] = torch.cat([ones, inputs["attention_mask"]], dim=1)
    expected = tiny.hidden(model, longer)
    model.adapters.use("a")
    torch.testing.assert_close(tiny.hidden(model, inputs), expected)


def test_a_pair_generates_behind_a_prompt_as_it_answers():
    model = pair()
    tiny.stir(inlay.attach(model).add("a", "prompt[length=3,returned=true]", submodel="encoder"))
    model.adapters.use("a")
    inputs = tiny.batch()
    model.config.decoder_start_token_id = 0
    model.generation_config.decoder_start_token_id = 0
    made = model.generate(**inputs, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    again = tiny.hidden(model, inputs | {"decoder_input_ids": made[:, :-1]})
    allowed = again.clone()
    allowed[..., model.config.eos_token_id] = -torch.inf  # as min_new_tokens has it
    assert torch.equal(allowed.argmax(-1), made[:, 1:])


@pytest.mark.parametrize("where", [{}, {"submodel": "encoder"}])
def test_a_prompt_that_a_pair_cannot_have(where):
    model = pair()
    inlay.attach(model)
    with pytest.raises(SiteError, match="which read one another's positions. Use Prompt.returned"):
        model.adapters.add("a", "prompt[length=3]", **where)
    with pytest.raises(SiteError, match="submodel='encoder'"):
        model.adapters.add("a", "prompt[length=3,returned=true]", submodel="decoder")
