"""Reports against scikit-learn, and measuring a saved adapter on other rows."""

import numpy as np
import pytest
from sklearn import metrics as reference

import inlay
from inlay.data.rows import Example
from inlay.errors import DataError
from inlay.evaluation.report import evaluate, report_on_baselines
from inlay.tasks.classification import Prediction, TextClassification
from tests import tiny

LABELS = ["a", "b", "c", "d"]
TASK = TextClassification(labels=tuple(LABELS))


def draw(seed, number=150):
    """Make rows and answers with probabilities."""
    generator = np.random.default_rng(seed)
    known = generator.choice(LABELS, number, p=[0.4, 0.3, 0.2, 0.1])
    scores = generator.normal(size=(number, 4))
    scores[np.arange(number), [LABELS.index(label) for label in known]] += 1.0
    chances = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    rows = [Example(f"t{n}", None, str(label), "f", n) for n, label in enumerate(known)]
    answers = [
        Prediction(LABELS[int(row.argmax())], dict(zip(LABELS, row.tolist(), strict=True)))
        for row in chances
    ]
    return rows, answers, chances


@pytest.mark.parametrize("seed", range(4))
def test_numbers_equal_those_of_scikit_learn(seed):
    rows, answers, chances = draw(seed)
    known = [row.label for row in rows]
    chosen = [answer.label for answer in answers]
    found = TASK.full_report(rows, answers)
    correct = [k == c for k, c in zip(known, chosen, strict=True)]
    f1 = reference.f1_score(known, chosen, average=None, labels=LABELS)
    expected = {
        "accuracy": reference.accuracy_score(known, chosen),
        "macro_f1": f1.mean(),
        "matthews": reference.matthews_corrcoef(known, chosen),
        "log_loss": reference.log_loss(known, chances, labels=LABELS),
        "weakest_f1": f1.min(),
        "n": 150,
        "metric": "accuracy",
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name
    assert found["weakest_label"] == LABELS[int(f1.argmin())]
    assert tuple(found["accuracy_ci"]) == TASK.headline.interval([(float(c), 1) for c in correct])
    matrix = reference.confusion_matrix(known, chosen, labels=LABELS)
    row = matrix[int(f1.argmin())].copy()
    row[int(f1.argmin())] = 0
    assert row[LABELS.index(found["weakest_taken_for"])] == row.max() > 0
    assert 0 < found["calibration_error"] < 0.5


def test_a_report_without_mistakes_and_without_rows():
    rows = [Example("t", None, label, "f", 1) for label in "ab"]
    answers = [Prediction(label, {"a": label == "a", "b": label == "b"}) for label in "ab"]
    perfect = TASK.full_report(rows, answers)
    assert (perfect["accuracy"], perfect["macro_f1"], perfect["log_loss"]) == (1.0, 1.0, 0.0)
    assert (perfect["weakest_label"], perfect["weakest_taken_for"]) == ("a", None)
    nothing = TASK.full_report([], [])
    assert (nothing["n"], nothing["weakest_label"], nothing["accuracy"]) == (0, None, 0.0)


def test_baselines_tell_gain_and_noise():
    train = [Example(text, None, label, "f", 1) for text, label in tiny.rows(90, seed=1)]
    test = [Example(text, None, label, "f", 1) for text, label in tiny.rows(60, seed=2)]
    right = [Prediction(row.label, {row.label: 1.0}) for row in test]
    found = report_on_baselines(TASK, TASK.baselines(train, test), test, right)
    majority, words = found["majority"], found["tfidf_logreg"]
    assert majority["accuracy"] == pytest.approx(20 / 60)
    assert majority["gain"] == pytest.approx(40 / 60)
    assert majority["beyond_noise"]
    low, high = majority["gain_ci"]
    assert 0.4 < low < 40 / 60 < high < 0.9
    assert majority["p_value"] == pytest.approx(2 / 2**40)
    assert words["accuracy"] > 0.85
    assert words["gain"] == pytest.approx(1 - words["accuracy"])


def assert_same_numbers(found, expected):
    for key, value in expected.items():
        is_number = isinstance(value, float | list)
        assert found[key] == (pytest.approx(value, abs=1e-6) if is_number else value), key


def test_the_test_split_again_gives_the_numbers_of_the_run(finished, root):
    found = evaluate(finished.folder)
    assert_same_numbers(found, finished.metrics["test"])
    assert found["data"] == str(tiny.shared_data(root))
    assert inlay.evaluate(finished.folder / "adapter")["accuracy"] == found["accuracy"]


def test_another_split_of_the_same_data(finished):
    found = evaluate(finished.folder, split="validation")
    assert_same_numbers(found, finished.metrics["validation"])
    assert evaluate(finished.folder, split="train")["n"] == 240


def test_rows_are_encoded_once(finished, monkeypatch):
    """Notes on what is cut look again at the rows that fill the length, and at no others."""
    seen, encode = [], TextClassification.encode

    def counting(self, examples, tokenizer, *, max_length):
        seen.append((len(examples), max_length))
        return encode(self, examples, tokenizer, max_length=max_length)

    monkeypatch.setattr(TextClassification, "encode", counting)
    found = evaluate(finished.folder, split="train")
    assert [number for number, length in seen if length == 64] == [found["n"]]


@pytest.mark.parametrize("given", ["own", "same"])
def test_a_split_that_is_not_there(finished, tmp_path, given):
    data = None
    if given == "own":
        data = tmp_path / "folder"
        data.mkdir()
        tiny.write_csv(data / "train.csv", tiny.rows(12))
        tiny.write_csv(data / "test.csv", tiny.rows(12))
    with pytest.raises(DataError, match="has no split 'holdout'; it has train, "):
        evaluate(finished.folder, data, split="holdout")


def test_a_file_of_ones_own_is_read_whole(finished, tmp_path):
    content = tiny.rows(45, seed=8)
    path = tiny.write_csv(tmp_path / "mine.csv", content, ("body", "kind"))
    found = evaluate(finished.folder, path, text_column="body", label_column="kind")
    answers = finished.predict([text for text, _ in content])
    right = sum(a.label == label for a, (_, label) in zip(answers, content, strict=True))
    assert (found["n"], found["data"], found["run"]) == (45, str(path), str(finished.folder))
    assert found["accuracy"] == pytest.approx(right / 45)


def test_labels_that_the_adapter_does_not_know(finished, tmp_path):
    content = [*tiny.rows(9, seed=8), ("my refund please", "refund"), ("a refund", "refund")]
    path = tiny.write_csv(tmp_path / "mine.csv", content)
    message = (
        rf"^label 'refund' occurs in {path} \(2 rows with unknown labels\) but the adapter knows "
        r"only 3 others\. Rename it with --label-map"
    )
    with pytest.raises(DataError, match=message) as caught:
        evaluate(finished.folder, path)
    assert caught.value.exit_code == 3
    assert evaluate(finished.folder, path, label_map={"refund": "card"})["n"] == 11
