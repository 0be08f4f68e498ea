"""What follows a text: what is learnt, windows, templates, generation in batches."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel

import inlay
from inlay.data.rows import Example
from inlay.errors import ConfigError, DataError
from inlay.evaluation.truncation import unread
from inlay.store.bases import load_base, resolve_base
from inlay.tasks.base import Encoded
from inlay.tasks.options import with_options
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
    notes = PROMPTS.reading_notes(found, max_length=12)
    assert len(notes) == 3
    assert notes[2] == "1 of 2 completions longer than max_new_tokens 5, where an answer ends"


def test_a_conversation_without_a_template_is_written_in_lines(base):
    messages = [{"role": "user", "content": "hi"}]
    assert base[1].chat_template is None
    assert chat_prompt(messages, base[1]) == "user: hi\nassistant: "
    (found,) = CHAT.encode([row("user: hi", "ho", messages)], base[1], max_length=40)
    assert base[1].decode(found.features["input_ids"]) == "<s>user: hi\nassistant: ho</s>"


def test_a_missing_template_is_told():
    plain, own = bases.tokenizer(), bases.tokenizer()
    own.chat_template = "{{ messages[0].content }}"
    note = "no chat template in the tokenizer: each message is a line, role: content"
    assert CHAT.tokenizer_notes(plain) == [note]
    assert CHAT.tokenizer_notes(own) == PROMPTS.tokenizer_notes(plain) == []


def test_what_a_template_refuses_is_said():
    own = bases.tokenizer()
    own.chat_template = "{{ raise_exception('System role not supported') }}"
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
    with pytest.raises(DataError, match="of system, user: System role not supported. Change"):
        chat_prompt(messages, own)


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
    assert any(own.text for own in together)


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


def coded(text, tests):
    return Example(text, None, "x", "f", 1, None if tests is None else {"tests": tests})


def test_programs_are_run_only_if_asked_and_counted_by_row():
    rows = [
        coded("a", ["assert f() == 1"]), coded("b", ["assert f() == 2"]), coded("c", None)
    ]  # fmt: skip
    one, two = "def f(): return 1", "def f(): return 2"
    answers = [Written(one, 1.0, 2, (two, two)), Written(one, 1.0, 2, (one, one)), Written(one)]
    plain = TextGeneration(form="to-text", do_sample=True)
    assert set(plain.report(rows, answers)) == {"exact_match"}
    task = with_options(plain, {"pass_at": "1,2", "num_samples": "3"})
    assert task.pass_at == (1, 2)
    report = task.report(rows, answers)
    assert report["pass_at_1"] == pytest.approx((1 / 3 + 0) / 2)
    assert report["pass_at_2"] == pytest.approx((2 / 3 + 0) / 2)
    assert report["n_with_tests"] == 2


def test_code_that_prepares_tests_runs_before_them():
    row = Example("a", None, "x", "f", 1, {"tests": ["assert f() == k"], "setup": "k = 3"})
    task = with_options(TextGeneration(form="to-text"), {"pass_at": [1]})
    assert task.report([row], [Written("def f(): return 3")])["pass_at_1"] == 1.0


def test_further_texts_are_drawn_with_seeds_of_their_own():
    task = TextGeneration(form="to-text", do_sample=True, seed=7, pass_at=(1, 3), num_samples=0)
    assert [own.seed for own in task.writers_of_others()] == [8, 9]
    assert list(TextGeneration(form="to-text").writers_of_others()) == []


@pytest.mark.parametrize(
    ("form", "given", "message"),
    [
        ("to-text", {"num_samples": 4}, "num_samples=4: without pass_at no code is run"),
        ("to-text", {"test_seconds": 4}, "test_seconds=4.0: without pass_at no code is run"),
        ("plain", {"pass_at": 1}, "pass_at: rows of prompts .* these are plain rows"),
        ("to-text", {"pass_at": "1,10"}, "10 programs of a row are the same unless"),
        (
            "to-text", {"pass_at": "1,10", "num_samples": 5, "do_sample": True},
            "num_samples=5: pass@10 needs 10 programs",
        ),
        ("to-text", {"pass_at": "0"}, "pass_at=.*greater than or equal to 1; it is .* if nothing"),
    ],
)  # fmt: skip
def test_options_about_tests_that_do_not_fit(form, given, message):
    with pytest.raises(ConfigError, match=message):
        with_options(TextGeneration(form=form), given)


def test_rows_without_tests_are_refused_before_training():
    task = TextGeneration(form="to-text", pass_at=(1,))
    task.check_measurable([coded("a", None), coded("b", ["assert 1"])], "d")
    with pytest.raises(DataError, match="d: no row has tests, which task option pass_at needs"):
        task.check_measurable([coded("a", None), coded("b", [])], "d")


def learnt_positions(number, own):
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(own), n_positions=number, n_embd=16, n_layer=1, n_head=2, eos_token_id=None,
        bos_token_id=None,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def test_writing_ends_where_the_base_has_no_more_positions():
    own = bases.tokenizer(begins=True)
    model = learnt_positions(24, own)
    task = dataclasses.replace(PROMPTS, max_new_tokens=20)
    rows = [Encoded({"input_ids": [7] * length}, None, 0) for length in (3, 10, 23)]
    alone = [task.write(model, [row], own, device="cpu")[0] for row in rows]
    assert task.write(model, rows, own, device="cpu") == alone, "whatever is beside it"
    reasons = ["max_new_tokens", "positions", "positions"]
    assert [text.finish_reason for text in alone] == reasons
    for row, text, number in zip(rows, alone, (20, 14, 1), strict=True):
        ids = torch.tensor([row.features["input_ids"]])
        found = model.generate(ids, max_new_tokens=number, do_sample=False, pad_token_id=0)
        assert text.text == own.decode(found[0, ids.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("method", ["prompt[length=6]", "prefix[length=6,takes_positions=true]"])
def test_what_is_in_front_of_the_words_takes_positions_too(method):
    own = bases.tokenizer(begins=True)
    model = learnt_positions(24, own)
    inlay.attach(model).add("a", method)
    model.adapters.use("a")
    task = dataclasses.replace(PROMPTS, max_new_tokens=20)
    rows = [Encoded({"input_ids": [7] * length}, None, 0) for length in (3, 17)]
    texts = task.write(model, rows, own, device="cpu")
    for row, text, number in zip(rows, texts, (15, 1), strict=True):
        ids = torch.tensor([row.features["input_ids"]])
        found = model.generate(ids, max_new_tokens=number, do_sample=False, pad_token_id=0)
        assert text.text == own.decode(found[0, ids.shape[1] :], skip_special_tokens=True)
    full = [Encoded({"input_ids": [7] * 18}, None, 0)]
    with pytest.raises(DataError, match="18 tokens leaves no room .* has positions for 18, beside"):
        task.write(model, full, own, device="cpu")
    model.adapters.use(None)
    task.write(model, full, own, device="cpu")


def test_a_prompt_leaves_room_for_an_answer_within_the_length():
    own = bases.tokenizer(begins=True)
    long = [row("the quick brown fox " * 30)]
    task = dataclasses.replace(PROMPTS, max_new_tokens=10)
    for length, room in ((40, 30), (16, 8)):
        (found,) = task.encode_prompts(long, own, max_length=length)
        (whole,) = task.encode_prompts(long, own, max_length=10**6)
        assert found.features["input_ids"] == whole.features["input_ids"][-room:]
        assert unread(long, task, own, max_length=length) == [
            f"input: 1 text cut to {room} tokens, as in training"
        ]
