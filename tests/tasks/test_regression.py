"""Numbers for texts: units of train's deviation, metrics against scipy, baselines."""

import numpy as np
import pytest
import torch
from scipy import stats

from inlay.data.rows import Dataset, Example
from inlay.tasks.base import Batch, Encoded
from inlay.tasks.regression import Number, Regression


def row(score, text="t", pair=None):
    return Example(text, pair, f"{score:g}", "f", 1, {"score": score})


def dataset(scores):
    return Dataset(
        name="d", splits={"train": [row(score) for score in scores]}, labels=[], columns={},
        files=[], rejected=[], notes=[], made_splits=False, form="scored",
    )  # fmt: skip


SCORES = [1.5, 2.0, 4.5, 3.0, 0.25]
TASK = Regression.for_dataset(dataset(SCORES))


def test_mean_and_deviation_are_those_of_train():
    assert (TASK.mean, TASK.deviation) == (
        pytest.approx(np.mean(SCORES)), pytest.approx(np.std(SCORES))
    )  # fmt: skip
    assert Regression.for_dataset(dataset([2.0, 2.0])).deviation == 1.0
    assert TASK.target(row(4.5)) == pytest.approx((4.5 - np.mean(SCORES)) / np.std(SCORES))
    assert TASK.target(Example("t", None, "", "f", 1)) is None


def test_the_loss_is_the_squared_error_in_these_units():
    scores = torch.tensor([[0.5], [-1.0]])
    loss = TASK.loss(scores, Batch({}, torch.tensor([0.0, 1.0])), label_smoothing=0.0)
    assert float(loss) == pytest.approx((0.25 + 4) / 2)


def test_answers_are_in_the_units_of_the_data():
    (found,) = TASK.decode([torch.tensor([1.0])], [], [])
    assert found.value == pytest.approx(TASK.mean + TASK.deviation)
    assert found.record(1) == {"score": pytest.approx(found.value, abs=1e-6)}
    assert Number(2.34567).line(3) == "2.346"


def test_metrics_and_report_against_scipy():
    generator = np.random.default_rng(2)
    known = generator.normal(2, 1.5, 50)
    given = known + generator.normal(0, 1, 50)
    rows, answers = [row(float(k)) for k in known], [Number(float(g)) for g in given]
    found = TASK.full_report(rows, answers)
    assert found["pearson"] == pytest.approx(stats.pearsonr(known, given).statistic)
    assert found["spearman"] == pytest.approx(stats.spearmanr(known, given).statistic)
    assert found["mse"] == pytest.approx(np.mean((known - given) ** 2))
    expected = 1 - np.mean((known - given) ** 2) / TASK.deviation**2
    assert found["r_squared"] == pytest.approx(expected)
    encoded = [Encoded({"input_ids": [1]}, float(k)) for k in known]
    kept = [torch.tensor([g]) for g in given]
    assert TASK.metrics(kept, encoded)["pearson"] == pytest.approx(found["pearson"], abs=1e-6)


def test_baselines():
    train = [row(float(n % 2), f"{'good' if n % 2 else 'bad'} {n}") for n in range(30)]
    test = [row(1.0, "good thing"), row(0.0, "bad thing")]
    found = TASK.baselines(train, test)
    assert [answer.value for answer in found["mean"]] == [TASK.mean] * 2
    good, bad = (answer.value for answer in found["tfidf_ridge"])
    assert good > 0.7 > 0.3 > bad
