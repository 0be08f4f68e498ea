"""What follows a text: what is learnt, windows, templates, generation in batches."""

import pytest
import torch
from torch.nn import functional as F

import inlay
from inlay.data.rows import Example
from inlay.store.bases import load_base, resolve_base
from inlay.tasks.text_generation import TextGeneration, chat_prompt
from inlay.tasks.writing import IGNORED, Written
from tests.data.forms.files import write_jsonl
from tests.tasks import bases

PLAIN = TextGeneration(form="plain", max_new_tokens=5)
PROMPTS = TextGeneration(form="to-text", max_new_tokens=5)
CHAT = TextGeneration(form="chat", max_new_tokens=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return bases.write(tmp_path_factory.mktemp("llama"), "decoder")


@pytest.fixture(scope="module")
def base(folder):
    return load_base(resolve_base(str(folder)), needs="decoder")


def row(text, target="", messages=None):
    return Example(text, None, target, "f", 1, None if messages is None else {"messages": messages})


def test_running_text_is_learnt_whole_in_windows(base):
    text = "the quick brown fox jumps over the lazy dog " * 4
    found = PLAIN.encode([row("a card"), row(text)], base[1], max_length=16)
    own = [one for one in found if one.row == 1]
    assert len(own) > 3
    joined = [token for one in own for token in one.features["input_ids"][1:]]
    assert joined == base[1](text, add_special_tokens=False)["input_ids"]
    assert all(one.features["input_ids"][0] == 2 and one.target[0] == IGNORED for one in own)
    assert PLAIN.reading_notes(found, max_length=16) == [
        f"2 passages read in {len(found)} windows of 16 tokens"
    ]


def test_of_a_prompt_only_the_completion_and_its_end_are_learnt(base):
    (found,) = PROMPTS.encode([row("the fox", "a dog")], base[1], max_length=40)
    known = [token for token in found.target if token != IGNORED]
    assert base[1].decode(known) == "a dog</s>"
    prompt = found.features["input_ids"][: -len(known)]
    assert base[1].decode(prompt) == "<s>the fox\n"


def test_a_long_prompt_loses_its_start_and_a_long_completion_its_end(base):
    rows = [row("the quick brown fox " * 9, "a dog"), row("a", "the lazy dog " * 20)]
    found = PROMPTS.encode(rows, base[1], max_length=12)
    assert [len(one.features["input_ids"]) for one in found] == [12, 12]
    assert [one.extra["cut"] for one in found] == [(True, False), (True, True)]
    assert base[1].decode([t for t in found[0].target if t != IGNORED]) == "a dog</s>"
    assert len(PROMPTS.reading_notes(found, max_length=12)) == 2


def test_a_conversation_without_a_template_is_written_in_lines(base):
    messages = [{"role": "user", "content": "hi"}]
    assert base[1].chat_template is None
    assert chat_prompt(messages, base[1]) == "user: hi\nassistant: "
    (found,) = CHAT.encode([row("user: hi", "ho", messages)], base[1], max_length=40)
    assert base[1].decode(found.features["input_ids"]) == "<s>user: hi\nassistant: ho</s>"


def test_a_template_is_used_where_there_is_one():
    own = bases.tokenizer(begins=True)
    own.chat_template = (
        "{% for m in messages %}<s>{{ m.role }}|{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}|>{% endif %}"
    )
    messages = [{"role": "user", "content": "hi"}]
    assert chat_prompt(messages, own) == "<s>user|hi|>"
    (found,) = CHAT.encode([row("user: hi", "ho", messages)], own, max_length=40)
    assert own.decode(found.features["input_ids"]) == "<s>user|hi|>ho</s>", "one start only"


def test_likelihood_is_that_of_the_next_token_and_padding_changes_nothing(base):
    encoded = PROMPTS.encode(
        [row("the fox", "a dog"), row("a", "card " * 6)], base[1], max_length=40
    )
    with torch.no_grad():
        batch = PROMPTS.collate(encoded, base[1])
        kept = PROMPTS.keep(PROMPTS.scores(base[0], None, batch), batch, encoded)
        for one, together in zip(encoded, kept, strict=True):
            ids = torch.tensor([one.features["input_ids"]])
            logits = base[0](ids).logits[0, :-1]
            expected = F.cross_entropy(
                logits, torch.tensor(one.target[1:]), ignore_index=IGNORED, reduction="sum"
            )
            assert float(together[0]) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("task", [PLAIN, PROMPTS])
def test_a_batch_writes_what_each_row_alone_writes(base, task):
    rows = [row("the quick brown fox"), row("a"), row("my card was")]
    encoded = task.encode_prompts(rows, base[1], max_length=40)
    together = task.write(base[0], encoded, base[1], device="cpu")
    alone = [task.write(base[0], [one], base[1], device="cpu")[0] for one in encoded]
    assert together == alone
    assert any(together)


def test_a_tokenizer_without_padding_is_padded_with_its_end(base):
    own = bases.tokenizer(begins=True, has_padding=False)
    assert own.pad_token_id is None
    batch = PLAIN.collate(PLAIN.encode([row("a"), row("the fox")], own, max_length=40), own)
    assert batch.inputs["attention_mask"].sum() < batch.inputs["input_ids"].numel()


def test_counts_report_and_the_unigram_baseline(base):
    answers = [Written("a dog", 2.0, 4), Written("x", 6.0, 4)]
    known = [row("p", "a dog"), row("q", "y")]
    found = PROMPTS.full_report(known, answers)
    assert found["perplexity"] == pytest.approx(2.718281828)
    assert found["exact_match"] == 0.5
    assert PLAIN.report(known, answers) == {}
    encoded = PLAIN.encode([row("the fox")], base[1], max_length=40)
    (unigram,) = PLAIN.token_baselines(encoded, encoded, base[1], 1)["unigram"]
    assert unigram.tokens == len(encoded[0].target) - 1


def test_from_data_to_answers(folder, tmp_path):
    rows = [{"prompt": f"say it {n}", "completion": f"the words number {n}"} for n in range(60)]
    run = inlay.train(
        write_jsonl(tmp_path / "d.jsonl", rows), base=str(folder), epochs=1, layers="all",
        out=str(tmp_path / "run"),
    )  # fmt: skip
    assert (run.metrics["task"], run.config.task) == ("text-generation", None)
    assert "exact_match" in run.metrics["test"]
    assert run.metrics["baselines"]["unigram"]["perplexity"] > 1
    assert len(run.predict(["say it 7", "say"])) == 2
