"""Any number of labels: sigmoids, the tuned threshold, answers, metrics, baselines."""

import pytest
import torch
from sklearn import metrics as reference

from inlay.data.rows import Dataset, Example
from inlay.errors import DataError
from inlay.tasks.base import Batch, Encoded
from inlay.tasks.multilabel import LabelSet, MultiLabel

TASK = MultiLabel(labels=("a", "b", "c"))


def row(*labels, text="t"):
    return Example(text, None, ", ".join(labels), "f", 1, {"labels": list(labels)})


def draw(seed, number=60):
    generator = torch.Generator().manual_seed(seed)
    known = (torch.rand(number, 3, generator=generator) > 0.6).float()
    scores = torch.randn(number, 3, generator=generator) * 2 + 2 * known - 2
    rows = [Encoded({"input_ids": [1]}, target) for target in known.tolist()]
    return scores, known, rows


def test_labels_come_from_the_data_and_targets_are_a_vector():
    data = Dataset(
        name="d", splits={"train": [row("x"), row("x", "y"), row()]}, labels=["x", "y"],
        columns={}, files=[], rejected=[], notes=[],
        made_splits=False, form="multi-labelled",
    )  # fmt: skip
    task = MultiLabel.for_dataset(data)
    assert task.labels == ("x", "y")
    assert task.shares == (2.5 / 4, 1.5 / 4)
    assert TASK.target(row("c", "a")) == [1.0, 0.0, 1.0]
    assert TASK.target(Example("t", None, "", "f", 1)) is None


def test_a_fresh_head_begins_at_the_shares_of_train():
    head = MultiLabel(labels=("a", "b"), shares=(0.2, 0.01)).build_head(5).eval()
    zero = head(torch.zeros(1, 3, 5), torch.ones(1, 3)).sigmoid()
    assert zero.detach()[0].tolist() == pytest.approx([0.2, 0.01], rel=1e-5)
    plain = TASK.build_head(5)
    assert plain.out.bias.detach().abs().max() < 0.5


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_is_the_mean_binary_cross_entropy(smoothing):
    scores, known, _ = draw(1)
    wanted = known * (1 - smoothing) + smoothing / 2
    logs = torch.nn.functional.logsigmoid
    expected = -(wanted * logs(scores) + (1 - wanted) * logs(-scores)).mean()
    loss = TASK.loss(scores, Batch({}, known), label_smoothing=smoothing)
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_tuned_threshold_is_the_best_of_a_fine_grid(seed):
    scores, known, rows = draw(seed)
    tuned = TASK.calibrated(list(scores), rows)
    likely = scores.double().sigmoid()

    def f1(threshold):
        chosen, right = likely >= threshold, known > 0
        return 2 * int((chosen & right).sum()) / int(chosen.sum() + right.sum())

    expected = reference.f1_score(known, likely >= 0.3, average="micro")
    assert f1(0.3) == pytest.approx(expected, abs=1e-12)
    grid = max(f1(step / 2000) for step in range(1, 2000))
    assert f1(tuned.threshold) == pytest.approx(grid, abs=1e-9)
    assert TASK.metrics(list(scores), rows)["micro_f1"] == pytest.approx(grid, abs=1e-9)


def test_answers_hold_the_labels_above_the_threshold():
    task = MultiLabel(labels=("a", "b", "c"), threshold=0.3)
    (found,) = task.decode([torch.tensor([2.0, -0.5, -3.0])], [], [])
    assert found.labels == ("a", "b")
    assert found.answer == "a, b"
    assert found.record(1)["probabilities"] == {"a": pytest.approx(0.880797)}
    assert found.columns(1) == {"predicted_labels": "a|b"}
    assert LabelSet((), {"a": 0.1}).line(1) == "(no label)"
    assert LabelSet((), {"a": 0.1}).confidence == 0.9


def test_counts_and_report_agree_with_scikit_learn():
    scores, known, _ = draw(4)
    answers = TASK.decode(list(scores), [], [])
    rows = [row(*(n for n, has in zip("abc", own, strict=True) if has)) for own in known.tolist()]
    chosen = [[name in answer.labels for name in "abc"] for answer in answers]
    counts = [TASK.counts(r, a) for r, a in zip(rows, answers, strict=True)]
    micro = reference.f1_score(known, chosen, average="micro")
    assert TASK.headline.value(counts) == pytest.approx(micro)
    found = TASK.full_report(rows, answers)
    assert found["macro_f1"] == pytest.approx(reference.f1_score(known, chosen, average="macro"))
    assert found["subset_accuracy"] == pytest.approx(reference.accuracy_score(known, chosen))
    assert found["hamming_loss"] == pytest.approx(reference.hamming_loss(known, chosen))


def test_baselines_and_unknown_labels():
    train = [row("a", text="alpha"), row("a", "b", text="alpha beta")] * 6 + [row("a", text="x")]
    found = TASK.baselines(train, [row("a", "b", text="beta alpha"), row("a", text="alpha")])
    assert [answer.labels for answer in found["commonest_set"]] == [("a",), ("a",)]
    assert [answer.labels for answer in found["tfidf_logreg"]] == [("a", "b"), ("a",)]
    with pytest.raises(DataError, match="label 'z' occurs in new.csv"):
        TASK.check_known([row("z")], "new.csv")
