"""Hidden tokens: which are hidden, windows, filling in, and bases without a head."""

import pytest
import torch

import inlay
from inlay.data.rows import Example
from inlay.errors import BaseError, ConfigError, DataError
from inlay.store.bases import load_base, resolve_base
from inlay.tasks.masked_language_modelling import MaskedLanguageModelling
from inlay.tasks.writing import IGNORED
from tests import tiny
from tests.tasks import bases

TASK = MaskedLanguageModelling()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return bases.write(tmp_path_factory.mktemp("bert"), "masked")


@pytest.fixture(scope="module")
def base(folder):
    return load_base(resolve_base(str(folder)), needs="masked")


def row(text):
    return Example(text, None, "", "f", 1)


LONG = row("the quick brown fox jumps over the lazy dog " * 12)


def test_windows_hold_all_tokens_and_signs_are_not_learnt(base):
    found = TASK.encode([LONG, row("a card")], base[1], max_length=20)
    tokens = [t for one in found if one.row == 0 for t in one.target if t != IGNORED]
    assert tokens == base[1](LONG.text, add_special_tokens=False)["input_ids"]
    for one in found:
        assert one.length <= 20
        assert (one.target[0], one.target[-1]) == (IGNORED, IGNORED)
    assert TASK.reading_notes(found, max_length=20) == [
        f"2 passages read in {len(found)} windows of 20 tokens"
    ]


def test_evaluation_hides_the_same_always_and_training_anew(base):
    rows = TASK.encode([LONG], base[1], max_length=64)
    with torch.inference_mode():
        one, other = (TASK.collate(rows, base[1]) for _ in range(2))
    assert torch.equal(one.inputs["input_ids"], other.inputs["input_ids"])
    assert torch.equal(one.targets, other.targets)
    first, second = (TASK.collate(rows, base[1]).targets for _ in range(2))
    assert not torch.equal(first, second)


def test_shares_of_what_is_hidden(base):
    rows = TASK.encode([LONG] * 30, base[1], max_length=64)
    torch.manual_seed(1)
    batch = TASK.collate(rows, base[1])
    original = torch.zeros_like(batch.targets)
    for number, one in enumerate(rows):
        original[number, : one.length] = torch.tensor(one.features["input_ids"])
    chosen = batch.targets != IGNORED
    total = sum(token != IGNORED for one in rows for token in one.target)
    assert int(chosen.sum()) / total == pytest.approx(0.15, abs=0.02)
    assert torch.equal(batch.targets[chosen], original[chosen])
    hidden = batch.inputs["input_ids"][chosen]
    assert float((hidden == 3).double().mean()) == pytest.approx(0.8, abs=0.05)
    kept = float((hidden == original[chosen]).double().mean())
    assert kept == pytest.approx(0.1, abs=0.04)
    assert torch.equal(batch.inputs["input_ids"][~chosen], original[~chosen])


def test_a_short_text_hides_one_token_at_least(base):
    rows = TASK.encode([row("a")], base[1], max_length=64)
    for _ in range(20):
        assert int((TASK.collate(rows, base[1]).targets != IGNORED).sum()) >= 1


def test_masks_in_a_text_are_filled(base):
    encoded = TASK.encode_prompts([row("the <mask> dog")], base[1], max_length=20)
    (filled,) = TASK.write(base[0], encoded, base[1], device="cpu")
    text = filled.text
    assert filled.record(1) == {"predicted_text": text}, "nothing ends where nothing goes on"
    assert text.startswith("the") and text.endswith("dog")
    assert "<mask>" not in text
    with pytest.raises(DataError, match="' is a text without <mask> and has nothing to fill in"):
        TASK.encode_prompts([row("the dog")], base[1], max_length=20)
    with pytest.raises(DataError, match="^f line 1: '狗{40} …' is a text without <mask>"):
        TASK.encode_prompts([row("狗" * 41)], base[1], max_length=20)


def test_a_mask_beyond_what_is_read_is_refused(base):
    late = row("the dog " * 20 + "<mask>")
    with pytest.raises(
        DataError, match="has its <mask> after the first 12 tokens, which are all th"
    ):
        TASK.encode_prompts([row("a <mask>"), late], base[1], max_length=12)
    both = row("<mask> dog " * 20)
    (found,) = TASK.encode_prompts([both], base[1], max_length=12)
    assert found.length == 12


def test_bad_settings_and_tokenizers():
    with pytest.raises(ConfigError, match=r"share=1\.0: a fraction in \(0, 1\) is needed"):
        MaskedLanguageModelling(share=1.0)

    class Other:
        mask_token_id = None

    with pytest.raises(ConfigError, match="Other has no mask token to hide tokens with"):
        TASK.encode([row("a")], Other(), max_length=9)


def test_a_base_without_the_head_is_refused(tmp_path_factory):
    other = resolve_base(str(tiny.shared_base(tmp_path_factory.getbasetemp())))
    with pytest.raises(BaseError, match="has no pretrained language model head .*inlay pretrain"):
        load_base(other, needs="masked")


def test_from_a_text_to_a_measured_adapter(folder, tmp_path):
    for split, number in (("train", 60), ("validation", 9), ("test", 9)):
        lines = [f"{text} {n}\n" for n in range(number) for text in bases.TEXT]
        (tmp_path / f"{split}.txt").write_text("".join(lines))
    run = inlay.train(
        tmp_path, base=str(folder), epochs=2, learning_rate=1e-2, layers="all",
        out=str(tmp_path / "run"),
    )  # fmt: skip
    assert run.metrics["task"] == "masked-language-modelling"
    assert run.metrics["test"]["perplexity"] > 1
    assert "unigram" in run.metrics["baselines"]
    (answer,) = run.predict(["the <mask> fox"])
    assert answer.text.startswith("the")
    again = inlay.evaluate(run.folder)
    assert again["perplexity"] == pytest.approx(run.metrics["test"]["perplexity"], rel=1e-4)
