"""Question answering: windows, exact slices of the context, no answer, metrics, baselines."""

import json
import types

import pytest
import torch

import inlay
from inlay.data.rows import Dataset, Example
from inlay.errors import ConfigError, DataError
from inlay.evaluation.report import evaluate
from inlay.store.bases import load_base, resolve_base
from inlay.tasks.question_answering import QuestionAnswering
from inlay.tasks.registry import TASKS, task_from_settings
from inlay.training import finish as finish_module
from tests import tiny

TASK = QuestionAnswering(has_unanswerable=True, dropout=0.0)
LONG = " ".join(f"{word}-{number}," for number, word in enumerate(tiny.FILLERS * 2))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Model and tokenizer."""
    return load_base(resolve_base(str(tiny.shared_base(tmp_path_factory.getbasetemp()))))


def example(question, context, *answers, line=1):
    found = [[context.index(answer), answer] for answer in answers]
    return Example(question, context, answers[0] if answers else "", "f", line, {"answers": found})


def encode(rows, base, *, max_length=40, task=TASK):
    return task.encode(rows, base[1], max_length=max_length)


def random_scores(rows):
    return [torch.randn(row.length, 2) for row in rows]


def test_windows_hold_the_whole_question_and_together_the_whole_context(base):
    row = example("where is my card?", LONG)
    windows = encode([example("why", "it is"), row], base)[1:]
    assert len(windows) > 5
    question = base[1](row.text)["input_ids"][:-1]
    seen = set()
    for number, window in enumerate(windows):
        assert window.length <= 40
        assert window.row == 1
        assert window.features["input_ids"][: len(question)] == question
        spans = set(window.extra["offsets"])
        if number:
            assert len(spans & seen) == 10, "a quarter of a window is repeated"
        seen |= spans
    covered = {at for start, end in seen for at in range(start, end)}
    assert covered == {at for at, char in enumerate(LONG) if not char.isspace()}
    assert encode([], base) == []


@pytest.mark.parametrize("answer", ["my-0", "with-22", "where-43, when-44", LONG[-9:-1]])
def test_the_target_is_the_answer_in_every_window_that_has_it_whole(base, answer):
    windows = encode([example("what?", LONG, answer)], base)
    states = [window.extra["state"] for window in windows]
    assert "whole" in states
    assert "none" not in states
    for window in windows:
        start, end, first, stop = window.target
        assert (first, stop) == (window.extra["first"], window.length - 1)
        if window.extra["state"] != "whole":
            assert (start, end) == (0, 0)
            continue
        offsets = window.extra["offsets"]
        assert LONG[offsets[start - first][0] : offsets[end - first][1]] == answer


def test_an_answer_longer_than_the_overlap_may_lie_whole_in_no_window(base):
    rows = [example("what?", LONG, LONG[:200]), example("why?", "it is", "is")]
    windows = encode(rows, base)
    states = [window.extra["state"] for window in windows]
    assert set(states[:-1]) == {"cut", "outside"}
    assert states.count("cut") >= 2
    notes = TASK.reading_notes(windows, max_length=40)
    assert notes == [
        f"1 of 2 contexts longer than a window of 40 tokens: {len(windows) - 2} more windows, "
        "overlapping by 10",
        f"{states.count('cut')} windows cut through the answer: taken as having none",
        "1 answer whole in no window: the question still counts",
    ]
    kept = random_scores(windows)
    assert len(TASK.decode(kept, windows, rows)) == 2


def test_a_long_question_is_cut_to_half_a_window(base):
    question = "where is my card " * 9
    (window,) = encode([example(question, "it is found")], base)
    assert window.length <= 40
    assert window.extra["first"] == 22, "first token, 20 of the question, separator"
    assert TASK.reading_notes([window], max_length=40) == [
        "1 question cut to half of a window (20 tokens)"
    ]
    (whole,) = encode([example("why", "it is found")], base)
    assert TASK.reading_notes([whole], max_length=40) == []


def test_windows_that_are_too_short_are_refused(base):
    with pytest.raises(ConfigError, match=r"max_length=23 leaves no room .* at least 24 tokens"):
        encode([example("a", "b")], base, max_length=23)
    assert encode([example("where " * 30, LONG)], base, max_length=24)


def test_a_tokenizer_without_offsets_is_refused():
    slow = types.SimpleNamespace(is_fast=False)
    with pytest.raises(ConfigError, match="does not tell which characters .* fast tokenizer"):
        TASK.encode([example("a", "b")], slow, max_length=99)


def test_padding_and_its_side_do_not_change_scores(base):
    model, tokenizer = base
    head = TASK.build_head(32).eval()
    rows = encode([example("why", "it is", "is"), example("where is it?", LONG)], base)
    tokenizer.padding_side = "left"
    try:
        with torch.no_grad():
            batch = TASK.collate(rows, tokenizer)
            together = TASK.keep(TASK.scores(model, head, batch), batch, rows)
            for row, own in zip(rows, together, strict=True):
                alone = TASK.scores(model, head, TASK.collate([row], tokenizer))[0]
                assert own.shape == (row.length, 2)
                assert torch.allclose(own, alone, atol=1e-5)
    finally:
        tokenizer.padding_side = "right"
    assert batch.targets.shape == (len(rows), 4)
    with pytest.raises(ValueError, match="question answering has a head"):
        TASK.scores(model, None, batch)


def naive_best(kept, rows, longest):
    """Return every span of all windows with its log-odds, by characters."""
    found = {}
    for scores, row in zip(kept, rows, strict=True):
        offsets, first = row.extra["offsets"], row.extra["first"]
        null = float(scores[0, 0]) + float(scores[0, 1])
        for i in range(len(offsets)):
            for j in range(i, min(len(offsets), i + longest)):
                odds = float(scores[first + i, 0]) + float(scores[first + j, 1]) - null
                at = (offsets[i][0], offsets[j][1])
                found[at] = max(odds, found.get(at, odds))
    return sorted(found.items(), key=lambda item: -item[1])[:20]


def test_the_answer_is_the_best_span_of_all_windows(base):
    row = example("where?", LONG)
    windows = encode([row], base)
    task = QuestionAnswering(has_unanswerable=True, threshold=0.7, max_answer_tokens=5)
    kept = random_scores(windows)
    expected = naive_best(kept, windows, 5)
    (answer,) = task.decode(kept, windows, [row])
    (start, end), odds = expected[0]
    assert odds > 0.7
    assert (answer.span.start, answer.span.end) == (start, end)
    assert answer.answer == LONG[start:end]
    weights = torch.tensor([*(odds for _, odds in expected), 0.7], dtype=torch.float64).softmax(-1)
    assert [span.probability for span in answer.spans] == pytest.approx(weights[:-1].tolist())
    assert answer.no_answer == pytest.approx(float(weights[-1]))
    assert all(span.text == LONG[span.start : span.end] for span in answer.spans)


def test_windows_compare_by_odds_and_not_by_raw_scores(base):
    row = example("where?", LONG)
    windows = encode([row], base)
    kept = random_scores(windows)
    shifted = [own + 50 * number for number, own in enumerate(kept)]
    before, after = (TASK.decode(scores, windows, [row])[0] for scores in (kept, shifted))
    assert before.span[:3] == after.span[:3]
    assert before.no_answer == pytest.approx(after.no_answer, rel=1e-3)


def test_no_answer_below_the_threshold_but_only_if_the_task_knows_of_it(base):
    row = example("where?", "it is found")
    windows = encode([row], base)
    kept = [torch.zeros(windows[0].length, 2)]
    kept[0][windows[0].extra["first"] + 2] = 1.0  # "found": log-odds 2
    high, low = (QuestionAnswering(has_unanswerable=True, threshold=t) for t in (2.5, 1.5))
    always = QuestionAnswering(has_unanswerable=False, threshold=2.5)
    found = [task.decode(kept, windows, [row])[0] for task in (high, low, always)]
    assert [answer.answer for answer in found] == ["", "found", "found"]
    assert found[0].confidence == found[0].no_answer > found[0].spans[0].probability
    assert found[1].confidence > found[1].no_answer
    assert found[2].no_answer == 0
    assert sum(span.probability for span in found[2].spans) == pytest.approx(1)


def test_a_context_that_makes_no_token_has_no_answer(base):
    row = example("where?", "\u200b")
    windows = encode([row], base)
    assert windows[0].extra["offsets"] == []
    for task in (TASK, QuestionAnswering(has_unanswerable=False)):
        (answer,) = task.decode(random_scores(windows), windows, [row])
        assert (answer.answer, answer.confidence) == ("", 1.0)


def graded(base):
    """Questions whose best span is known, with scores that are partly right."""
    rows = [
        example("q", "it is found", "found"), example("q", "it was there", "was"),
        example("q", "my card is lost"), example("q", "help with my loan"),
    ]  # fmt: skip
    windows = encode(rows, base)
    kept = [torch.full((window.length, 2), -3.0) for window in windows]
    # Log-odds over no answer, and the word that has them.
    for own, window, word, odds in zip(
        kept, windows, (2, 1, 0, 0), (4.0, 1.0, 3.0, -2.0), strict=True
    ):
        own[0] = 0.0
        own[window.extra["first"] + word] = odds / 2
    return rows, windows, kept


def test_the_threshold_is_fitted_and_metrics_use_it(base):
    rows, windows, kept = graded(base)
    fitted = TASK.calibrated(kept, windows)
    answers = fitted.decode(kept, windows, rows)
    assert [answer.answer for answer in answers] == ["found", "was", "my", ""]
    assert -2 < fitted.threshold < 1
    found = TASK.metrics(kept, windows)
    assert found["f1"] == found["exact_match"] == 0.75
    counts = [fitted.counts(row, answer) for row, answer in zip(rows, answers, strict=True)]
    assert fitted.headline.value(counts) == found[TASK.better]
    batch = TASK.collate(windows, base[1])
    padded = torch.nn.utils.rnn.pad_sequence(kept, batch_first=True)
    loss = float(TASK.loss(padded, batch, label_smoothing=0.0))
    assert found["loss"] == pytest.approx(loss, rel=1e-5)


def test_nothing_is_fitted_where_there_is_nothing_to_tell_apart(base):
    rows, windows, kept = graded(base)
    del rows
    assert TASK.calibrated(kept[:2], windows[:2]) is TASK
    always = QuestionAnswering(has_unanswerable=False)
    assert always.calibrated(kept, windows) is always


def test_report_and_its_numbers(base):
    rows, windows, kept = graded(base)
    answers = QuestionAnswering(has_unanswerable=True, threshold=2.0).decode(kept, windows, rows)
    assert [answer.answer for answer in answers] == ["found", "", "my", ""]
    # No answer: said twice, right once, known twice: F1 0.5.
    assert TASK.report(rows, answers) == {
        "exact_match": 0.5, "answerable_f1": 0.5, "no_answer_f1": 0.5, "n_answerable": 2,
        "n_no_answer": 2,
    }  # fmt: skip
    assert TASK.report(rows[:2], answers[:2]) == {
        "exact_match": 0.5, "answerable_f1": 0.5, "n_answerable": 2, "n_no_answer": 0
    }  # fmt: skip


def test_part_of_an_answer_counts_in_part():
    row = example("Who?", "Ada Lovelace wrote it", "Ada Lovelace")
    part = example("Who?", "Ada Lovelace wrote it", "Ada Lovelace wrote")
    (said,) = TASK.baselines([], [part])["likeliest_sentence"]
    assert TASK.counts(row, said) == (pytest.approx(2 * 2 / (2 + 4)), 1.0)
    chinese = example("谁?", "北京是首都。", "北京")
    (said,) = TASK.baselines([], [chinese])["likeliest_sentence"]
    assert TASK.counts(chinese, said) == (pytest.approx(2 * 2 / (2 + 5)), 1.0)


def test_baselines(base):
    rows, _, _ = graded(base)
    found = TASK.baselines(rows, rows)
    assert [answer.answer for answer in found["no_answer"]] == [""] * 4
    assert found["likeliest_sentence"][2].answer == "my card is lost"
    assert list(TASK.baselines(rows[:2], rows[:2])) == ["likeliest_sentence"]


def dataset(train, other):
    return Dataset(
        name="d", splits={"train": train, "validation": other, "test": other}, labels=[],
        columns={}, files=[], rejected=[], notes=[], made_splits=False, form="spans",
    )  # fmt: skip


def test_the_task_knows_whether_train_has_unanswerable_questions():
    has, none = example("q", "it is", "is"), example("q", "it is")
    mixed = dataset([has, none], [has])
    assert QuestionAnswering.for_dataset(mixed).has_unanswerable
    assert mixed.notes == []
    full = dataset([has], [has, none])
    assert not QuestionAnswering.for_dataset(full).has_unanswerable
    assert full.notes == [
        "2 questions of validation and test have no answer, but none of train: an answer is "
        "always given, and counts as wrong for them."
    ]


def test_settings_build_the_task_again():
    task = QuestionAnswering(has_unanswerable=True, threshold=-1.25, max_answer_tokens=9)
    assert task_from_settings(json.loads(json.dumps(task.settings())), "f") == task
    assert TASKS["question-answering"] is QuestionAnswering


def write_rows(path, number, *, seed):
    lines = []
    for line, (text, topic) in enumerate(tiny.rows(number, seed=seed)):
        word = next(word for word in text.split() if word in tiny.TOPICS[topic])
        answers = {"text": [word], "answer_start": [text.index(word)]} if line % 3 else {"text": []}
        row = {"question": f"what {topic}", "context": text, "answers": answers}
        lines.append(json.dumps(row) + "\n")
    path.write_text("".join(lines))


def test_training_prediction_and_evaluation_on_a_folder_with_a_test_split_only(
    tmp_path, tmp_path_factory, monkeypatch
):
    monkeypatch.setattr(finish_module, "check_reload", lambda *given: {"rows": 0})
    base = str(tiny.shared_base(tmp_path_factory.getbasetemp()))
    for name, number in (("train", 300), ("validation", 40), ("test", 60)):
        (tmp_path / "data").mkdir(exist_ok=True)
        write_rows(tmp_path / "data" / f"{name}.jsonl", number, seed=number)
    settings = {**tiny.SETTINGS, "epochs": 6, "max_length": 40}
    run = inlay.train(tmp_path / "data", base=base, out=str(tmp_path / "run"), **settings)
    assert run.metrics["task"] == "question-answering"
    assert set(run.metrics["baselines"]) == {"no_answer", "likeliest_sentence"}
    assert run.metrics["test"]["n_answerable"] == 40
    known = max(scores["f1"] for scores in run.metrics["baselines"].values())
    assert run.metrics["test"]["f1"] > known + 0.1, "it learns"
    context = "please help with my card"
    (answer,) = run.predict([("what card", context)])
    assert answer.span is None or context[answer.span.start : answer.span.end] == answer.answer
    with pytest.raises(DataError, match="input 0: context is missing"):
        run.predict(["what card"])
    (tmp_path / "other").mkdir()
    write_rows(tmp_path / "other" / "test.jsonl", 12, seed=3)
    report = evaluate(tmp_path / "run", tmp_path / "other")
    assert (report["metric"], report["n"], report["n_no_answer"]) == ("f1", 12, 4)
    with pytest.raises(DataError, match="other has no train split"):
        inlay.train(tmp_path / "other", base=base)
    with pytest.raises(DataError, match="has no split 'validation'"):
        evaluate(tmp_path / "run", tmp_path / "other", split="validation")


def test_tokens_that_begin_with_a_space_and_windows_without_special_tokens():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["where", "Ġcard", "Ġloan", "Ġmy"]
    names = [*letters, *words]
    merges = [(word[:n], word[n]) for word in words for n in range(1, len(word))]
    names += sorted({a + b for a, b in merges} - set(names))
    own = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, merges))
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=own, pad_token="!")
    context = "I lost my card ünd my loan"
    row = example("where", context, "card")
    (window,) = TASK.encode([row], tokenizer, max_length=40)
    start, end, first, _ = window.target
    assert start == end
    assert window.extra["offsets"][start - first] == (9, 14), "the space belongs to the token"
    kept = [torch.zeros(window.length, 2)]
    kept[0][start] = 5.0
    assert TASK.decode(kept, [window], [row])[0].span[:3] == ("card", 10, 14)
