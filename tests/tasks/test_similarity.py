"""Similarity: cosines, what is learnt and asked, labels that are new, and what is refused."""

import dataclasses
import json
import math

import pytest
import torch

from inlay.data.rows import Dataset, Example
from inlay.errors import ConfigError, DataError
from inlay.evaluation.scoring import score_rows
from inlay.store.bases import load_base, resolve_base
from inlay.tasks import similarity
from inlay.tasks.base import Batch, Encoded
from inlay.tasks.classification import Prediction
from inlay.tasks.registry import task_from_settings
from inlay.tasks.similarity import CosineHead, Similarity, in_words
from tests import tiny

LABELS = ("card", "loan", "lost_passport")
TASK = Similarity(labels=LABELS, num_trained=2, factor=7.0)
TEXTS = ["my visa card expired", "interest of the mortgage and my debt please", "flight abroad"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Model and tokenizer."""
    return load_base(resolve_base(str(tiny.shared_base(tmp_path_factory.getbasetemp()))))


def examples(texts=TEXTS, labels=LABELS):
    return [
        Example(text, None, label, "f.csv", n)
        for n, (text, label) in enumerate(zip(texts, labels, strict=True))
    ]


def rows_of(targets):
    return [Encoded({"input_ids": [1]}, target) for target in targets]


def point(base, text):
    """Mean the last hidden states of one text alone, without padding, in float64."""
    model, tokenizer = base
    with torch.no_grad():
        hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state
    mean = hidden[0].double().mean(0)
    return mean / mean.square().sum().sqrt()


def cosines(base, texts, described):
    return torch.stack(
        [torch.stack([point(base, text) @ point(base, own) for own in described]) for text in texts]
    )


def test_head_gives_points_of_the_real_positions():
    head = CosineHead(factor=3.0)
    hidden = torch.tensor([[[3.0, 0.0], [3.0, 8.0], [9.0, 9.0]], [[-1.0, 0.0]] * 3])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert torch.allclose(head.points(hidden, mask), torch.tensor([[0.6, 0.8], [-1.0, 0.0]]))
    low = head.points(hidden.to(torch.bfloat16), mask)
    assert low.dtype == torch.float32


def test_head_gives_cosines_times_its_factor():
    head = CosineHead(factor=3.0)
    texts = torch.tensor([[0.6, 0.8], [-1.0, 0.0]])
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, -0.6]])
    expected = torch.tensor([[1.8, 2.4, 0.0], [-3.0, 0.0, -2.4]])
    assert torch.allclose(head(texts, labels), expected, atol=1e-6)
    assert [tuple(own.shape) for own in head.parameters()] == [()]


def test_the_factor_is_learnt_and_has_an_end():
    head = CosineHead(factor=5.0)
    texts, labels = torch.tensor([[0.6, 0.8]]), torch.tensor([[1.0, 0.0]])
    head(texts, labels).sum().backward()
    assert float(head.log_factor.grad) == pytest.approx(0.6 * 5.0), "of 0.6 exp(log factor)"
    with torch.no_grad():
        head.log_factor.fill_(math.log(1e4))
    assert head(texts, labels).item() == pytest.approx(60.0)


@pytest.mark.parametrize("descriptions", [(), ("a plastic card", "mortgage", "my papers")])
def test_scores_are_cosines_with_descriptions(base, descriptions):
    task = dataclasses.replace(TASK, descriptions=descriptions)
    model, tokenizer = base
    rows = task.encode(examples(), tokenizer, max_length=20)
    with torch.no_grad():
        scores = task.scores(model, task.build_head(32), task.collate(rows, tokenizer))
    described = list(descriptions) or ["card", "loan", "lost passport"]
    expected = 7.0 * cosines(base, TEXTS, described)
    assert torch.allclose(scores.double(), expected, atol=1e-4)
    assert expected.std() > 0.1


def test_rows_and_descriptions_are_padded_apart(base):
    rows = TASK.encode(examples(), base[1], max_length=6)
    assert [row.target for row in rows] == [0, 1, 2]
    assert [row.row for row in rows] == [0, 1, 2]
    batch = TASK.collate(rows[:1], base[1])
    assert tuple(batch.inputs["input_ids"].shape) == (1, 6)
    lengths = batch.shared["attention_mask"].sum(1).tolist()
    assert lengths == [3, 3, 4], "a name in words, with a sign before and behind"
    assert batch.targets.tolist() == [0]


def test_evaluation_asks_all_labels_at_once(base, monkeypatch):
    model, tokenizer = base
    monkeypatch.setattr(similarity, "_LABELS_AT_ONCE", 2)
    task, head = (
        TASK.with_labels(("a b c d", "card", "x y", "loan", "debt interest rate")),
        CosineHead(factor=4.0),
    )
    rows = task.encode(examples(), tokenizer, max_length=20)
    with torch.no_grad():
        expected = task.scores(model, head, task.collate(rows, tokenizer))
    calls = []
    handle = model.register_forward_pre_hook(
        lambda module, args, given: calls.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    found = torch.stack(score_rows(task, model, head, rows, tokenizer, batch_size=1))
    handle.remove()
    assert torch.allclose(found, expected, atol=1e-5)
    assert len(calls) == 6, "three parts of the labels, then three rows"
    assert [shape[0] for shape in calls] == [2, 2, 1, 1, 1, 1]
    assert expected.std() > 0.1


def test_a_task_for_evaluation_is_the_same_task(base):
    rows = TASK.encode(examples(), base[1], max_length=20)
    task = TASK.for_evaluation(base[0], TASK.build_head(32), rows, base[1])
    assert task == TASK
    assert task.settings() == TASK.settings()
    assert task.points.shape == (3, 32)
    assert task.with_labels(["new"]).points is None


def test_training_reaches_the_base_through_texts_and_descriptions(base):
    model, tokenizer = base
    head = TASK.build_head(32)
    rows = TASK.encode(examples()[:2], tokenizer, max_length=20)
    batch = TASK.collate(rows, tokenizer)
    words = model.embeddings.word_embeddings.weight
    loss = TASK.loss(TASK.scores(model, head, batch), batch, label_smoothing=0.0)
    (gradient,) = torch.autograd.grad(loss, words)
    own = tokenizer.convert_tokens_to_ids(["visa", "loan", "passport", "hotel"])
    moved = gradient[own].abs().sum(1)
    assert (moved[:2] > 1e-6).all(), "of a text and of a trained label"
    assert moved[2:].tolist() == [0, 0], "of a label that train does not have, and of no word"


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_loss_is_a_softmax_over_trained_labels(smoothing):
    scores = torch.tensor([[1.0, -0.5, 40.0], [0.25, 2.0, 50.0]])
    batch = Batch({}, torch.tensor([1, 0]))
    expected = 0.0
    for row, target in ((0, 1), (1, 0)):
        powers = [math.exp(value) for value in scores[row, :2].tolist()]
        shares = [math.log(power / sum(powers)) for power in powers]
        expected -= ((1 - smoothing) * shares[target] + smoothing * sum(shares) / 2) / 2
    assert float(TASK.loss(scores, batch, label_smoothing=smoothing)) == pytest.approx(expected)


def test_a_batch_without_targets_has_no_loss(base):
    rows = TASK.encode(examples(labels=("card", "?", "loan")), base[1], max_length=9)
    assert [row.target for row in rows] == [0, None, 1]
    with pytest.raises(ValueError, match="a batch without targets has no loss"):
        TASK.loss(torch.zeros(3, 3), TASK.collate(rows, base[1]), label_smoothing=0.0)


def test_another_head_is_refused(base):
    rows = TASK.encode(examples(), base[1], max_length=9)
    with pytest.raises(ValueError, match="similarity has a head of cosines"):
        TASK.scores(base[0], torch.nn.Identity(), TASK.collate(rows, base[1]))


def test_answers_name_new_labels_too():
    scores = [torch.tensor([0.0, 1.0, 3.0]), torch.tensor([2.0, -1.0, 0.5])]
    first, second = TASK.decode(scores, [], [])
    assert (first.answer, second.answer) == ("lost_passport", "card")
    total = 1 + math.e + math.e**3
    expected = {"card": 1 / total, "loan": math.e / total, "lost_passport": math.e**3 / total}
    assert first.probabilities == pytest.approx(expected)
    assert TASK.counts(examples()[2], first) == (1.0, 1.0)
    assert TASK.counts(examples()[1], first) == (0.0, 1.0)


def test_metrics_are_over_all_labels():
    scores = [torch.tensor([0.0, 1.0, 3.0]), torch.tensor([2.0, -1.0, 0.5])]
    found = TASK.metrics(scores, rows_of([2, 1]))
    losses = [
        math.log(1 + math.e + math.e**3) - 3,
        math.log(math.e**2 + math.exp(-1) + math.exp(0.5)) + 1,
    ]
    assert found == pytest.approx({"accuracy": 0.5, "loss": sum(losses) / 2})


def test_report_counts_ranks_and_new_labels():
    labels = tuple("abcdefghijkl")
    task = Similarity(labels=labels, num_trained=10)
    likely = dict(
        zip(
            labels,
            [0.3, 0.2, 0.1, 0.09, 0.08, 0.07, 0.06, 0.05, 0.02, 0.01, 0.015, 0.005],
            strict=True,
        )
    )
    rows = examples(texts="vwxyz", labels=("b", "e", "k", "l", "a"))
    predictions = [Prediction("a", likely)] * 3 + [Prediction("l", likely), Prediction("a", likely)]
    found = task.report(rows, predictions)
    # b is second, e fifth, k tenth, l twelfth, a first.
    assert found == pytest.approx(
        {"in_the_first_3": 2 / 5, "in_the_first_10": 4 / 5, "accuracy_on_new_labels": 0.5}
    )
    assert "accuracy_on_new_labels" not in task.report(rows[:2], predictions[:2])
    assert "accuracy_on_new_labels" not in task.with_labels(labels).report(rows, predictions)


def dataset(*labels_of_test):
    splits = {
        "train": examples(("x", "y"), ("loan", "card")),
        "validation": examples(("x",), ("card",)),
        "test": examples("z" * len(labels_of_test), labels_of_test),
    }
    return Dataset(
        name="d", splits=splits, labels=["card", "loan"], columns={}, files=[], rejected=[],
        notes=[], made_splits=False,
    )  # fmt: skip


def test_labels_of_train_come_first_and_new_ones_are_told():
    data = dataset("b2", "card", "a1", "b2")
    task = Similarity.for_dataset(data)
    assert (task.labels, task.num_trained) == (("card", "loan", "a1", "b2"), 2)
    assert data.notes == ["labels that are not in train, 2, are asked by their names: a1, b2."]
    many = dataset(*"abcdefg")
    assert Similarity.for_dataset(many).num_trained == 2
    assert many.notes[0].endswith("asked by their names: a, b, c, d, e ...")
    plain = dataset("loan")
    assert Similarity.for_dataset(plain).labels == ("card", "loan")
    assert plain.notes == []


def test_settings_are_plain_data_and_build_the_task_again():
    task = dataclasses.replace(TASK, descriptions=("one", "two", "three"))
    settings = json.loads(json.dumps(task.settings()))
    assert settings == {
        "task": "similarity", "labels": list(LABELS), "num_trained": 2,
        "descriptions": ["one", "two", "three"], "factor": 7.0,
    }  # fmt: skip
    assert task_from_settings(settings, "adapter.json") == task


def test_other_labels_can_be_asked():
    task = dataclasses.replace(TASK, descriptions=("one", "two", "three"))
    other = task.with_labels(["newLabel", "card"])
    assert other.labels == ("newLabel", "card")
    assert other.described() == ["new label", "card"], "the old descriptions were of other labels"
    assert (other.num_trained, other.factor) == (0, 7.0)
    assert task.with_labels(["n"], ["a new one"]).described() == ["a new one"]
    assert task.labels == LABELS


@pytest.mark.parametrize(
    ("labels", "descriptions", "message"),
    [
        ([], (), "^similarity needs at least one label.$"),
        (["a", "b"], ["one"], "^1 descriptions for 2 labels; give one for each.$"),
        (["a", "b", "a"], (), "^label 'a' is given twice; give each label once.$"),
        (["a", " "], (), "^a label has no name; leave it out, or give it one.$"),
        ("abc", (), "^labels and descriptions are lists of texts, not 'abc'.$"),
        (["a"], "b", "^labels and descriptions are lists of texts, not 'b'.$"),
    ],
)
def test_labels_that_cannot_be_asked(labels, descriptions, message):
    with pytest.raises(ConfigError, match=message):
        TASK.with_labels(labels, descriptions)


@pytest.mark.parametrize("factor", [0.0, -1.0, 101.0, math.nan])
def test_a_factor_out_of_range(factor):
    with pytest.raises(ConfigError, match="of similarity; give a number above 0, at most 100"):
        Similarity(labels=("a",), num_trained=1, factor=factor)


def test_rows_with_labels_that_are_not_asked():
    TASK.check_known(examples(), "f.csv")
    with pytest.raises(DataError, match=r"^label 'tax' occurs in f\.csv \(1 rows with unknown"):
        TASK.check_known(examples(labels=("card", "tax", "loan")), "f.csv")


def test_words_shared_with_the_descriptions_are_the_baseline():
    rows = examples(("my loans", "passports lost", "cards"))
    (name, found), *others = TASK.baselines([], rows).items()
    assert (name, others) == ("shared_words_tfidf", [])
    assert [answer.answer for answer in found] == ["loan", "lost_passport", "card"]


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("card_arrival", "card arrival"),
        ("PlayMusic", "play music"),
        ("wi-fi  Down", "wi fi down"),
        ("ATM", "atm"),
        ("__x__", "x"),
    ],
)
def test_names_in_words(label, words):
    assert in_words(label) == words
