"""Text classification: pooling, rows and pairs, answers, metrics and honest probabilities."""

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from torch.nn import functional as F

from inlay.data.rows import Example
from inlay.errors import ConfigError
from inlay.store.bases import load_base, resolve_base
from inlay.tasks.base import Encoded
from inlay.tasks.classification import Prediction, TextClassification, fit_temperature
from inlay.tasks.options import with_options
from inlay.tasks.pooled import PooledHead
from tests import tiny

TASK = TextClassification(labels=("card", "loan", "travel"))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Model and tokenizer."""
    return load_base(resolve_base(str(tiny.shared_base(tmp_path_factory.getbasetemp()))))


def example(text, pair=None, label="loan"):
    return Example(text, pair, label, "f.csv", 2)


def rows_of(targets):
    return [Encoded({"input_ids": [1]}, target) for target in targets.tolist()]


def test_the_best_labels_are_shown_in_lines_records_and_columns():
    answer = Prediction("b", {"a": 0.25, "b": 0.7, "c": 0.05})
    assert (answer.answer, answer.confidence) == ("b", 0.7)
    assert answer.line(2) == "b 0.70   a 0.25"
    assert answer.record(1) == {"label": "b", "probabilities": {"b": 0.7}}
    assert answer.columns(2) == {
        "predicted_label": "b", "probability": 0.7,
        "predicted_label_2": "a", "probability_2": 0.25,
    }  # fmt: skip


def test_head_averages_the_real_positions():
    head = PooledHead(width=5, num_outputs=3, dropout=0.0).eval()
    hidden = torch.randn(2, 4, 5)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    expected = torch.stack([hidden[0].mean(0), hidden[1, :2].mean(0)])
    expected = expected @ head.out.weight.T + head.out.bias
    assert torch.allclose(head(hidden, mask), expected, atol=1e-6)
    changed = hidden.clone()
    changed[1, 2:] = 1e6
    assert torch.equal(head(changed, mask), head(hidden, mask))


def test_head_is_float32_on_a_base_in_bfloat16():
    head = PooledHead(width=5, num_outputs=3, dropout=0.0).eval()
    hidden = torch.randn(2, 4, 5).to(torch.bfloat16)
    scores = head(hidden, torch.ones(2, 4, dtype=torch.long))
    assert scores.dtype == torch.float32
    assert torch.allclose(scores, head(hidden.float(), torch.ones(2, 4)), atol=1e-6)


def test_head_drops_out_in_training_only():
    head = TextClassification(labels=("a", "b"), dropout=0.5).build_head(16)
    hidden, mask = torch.randn(3, 4, 16), torch.ones(3, 4)
    assert not torch.equal(head(hidden, mask), head(hidden, mask))
    head.eval()
    assert torch.equal(head(hidden, mask), head(hidden, mask))
    assert head.out.out_features == 2


def test_encode_cuts_long_texts_and_finds_targets(base):
    rows = [example("my card"), example("where is my loan please", label="travel")]
    found = TASK.encode(rows, base[1], max_length=5)
    assert [row.length for row in found] == [4, 5]
    assert [row.target for row in found] == [1, 2]
    assert found[1].features["input_ids"][-1] == base[1].sep_token_id
    assert TASK.encode([], base[1], max_length=5) == []


def test_a_label_that_is_not_known_has_no_target(base):
    rows = TASK.encode([example("my card", label="?"), example("my loan")], base[1], max_length=9)
    assert [row.target for row in rows] == [None, 1]
    batch = TASK.collate(rows, base[1])
    assert batch.targets is None
    with pytest.raises(ValueError, match="a batch without targets has no loss"):
        TASK.loss(torch.zeros(2, 3), batch, label_smoothing=0.0)


def test_a_pair_is_told_from_one_text(base):
    (pair,) = TASK.encode([example("my card", "my loan")], base[1], max_length=20)
    (text,) = TASK.encode([example("my card my loan")], base[1], max_length=20)
    assert pair.length == text.length + 1
    assert set(pair.features["token_type_ids"]) == {0, 1}
    (swapped,) = TASK.encode([example("my loan", "my card")], base[1], max_length=20)
    assert swapped.features["input_ids"] != pair.features["input_ids"]


def test_padding_does_not_change_scores(base):
    model, tokenizer = base
    head = TASK.build_head(32).eval()
    rows = [example("my card"), example("please help with my mortgage today and always")]
    encoded = TASK.encode(rows, tokenizer, max_length=20)
    with torch.no_grad():
        together = TASK.scores(model, head, TASK.collate(encoded, tokenizer))
        alone = [TASK.scores(model, head, TASK.collate([row], tokenizer)) for row in encoded]
    assert together.shape == (2, 3)
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_loss_is_the_mean_cross_entropy(base, smoothing):
    rows = TASK.encode([example("a"), example("b", label="card")], base[1], max_length=9)
    scores = torch.randn(2, 3)
    logs = scores.log_softmax(-1)
    expected = 0.0
    for row, target in enumerate([1, 0]):
        wanted = torch.full((3,), smoothing / 3)
        wanted[target] += 1 - smoothing
        expected -= float((wanted * logs[row]).sum()) / 2
    loss = TASK.loss(scores, TASK.collate(rows, base[1]), label_smoothing=smoothing)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_decode_gives_probabilities_of_the_tempered_scores():
    scores = torch.randn(20, 3) * 3
    task = TextClassification(labels=TASK.labels, temperature=2.5)
    expected = (scores.double() / 2.5).softmax(-1)
    for answer, row in zip(task.decode(scores, [], []), expected, strict=True):
        assert list(answer.probabilities) == list(TASK.labels)
        assert list(answer.probabilities.values()) == pytest.approx(row.tolist())
        assert answer.label == TASK.labels[int(row.argmax())]
        assert answer.confidence == pytest.approx(float(row.max()))
    assert TASK.decode([], [], []) == []


def test_metrics_equal_those_of_scikit_learn():
    scores, targets = torch.randn(90, 3), torch.randint(0, 3, (90,))
    found = TASK.metrics(list(scores), rows_of(targets))
    chosen = scores.argmax(-1)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(targets, chosen))
    assert found["macro_f1"] == pytest.approx(reference.f1_score(targets, chosen, average="macro"))
    assert found["loss"] == pytest.approx(
        reference.log_loss(targets, scores.double().softmax(-1).numpy())
    )
    assert TASK.better in found


def test_temperature_is_the_best_of_a_fine_grid():
    generator = np.random.default_rng(3)
    targets = torch.from_numpy(generator.integers(0, 3, 400))
    scores = torch.randn(400, 3) * 4
    scores[torch.arange(400), targets] += 3
    found = fit_temperature(scores, targets)
    losses = {
        step: float(F.cross_entropy(scores.double() / step, targets))
        for step in np.exp(np.linspace(np.log(0.05), np.log(20), 2000))
    }
    assert found == pytest.approx(min(losses, key=losses.get), rel=0.01)
    assert found > 1.2, "these scores are far too sure"


@pytest.mark.parametrize(("sign", "limit"), [(1, 0.05), (-1, 20.0)])
def test_temperature_stays_within_its_bounds(sign, limit):
    targets = torch.tensor([0, 1, 2, 1])
    scores = sign * F.one_hot(targets, 3).float()
    assert fit_temperature(scores, targets) == pytest.approx(limit, rel=1e-3)


def test_calibration_changes_confidence_and_no_answer():
    targets = torch.randint(0, 3, (300,))
    scores = torch.randn(300, 3) * 5
    kept = list(scores)
    calibrated = TASK.calibrated(kept, rows_of(targets))
    before, after = TASK.decode(kept, [], []), calibrated.decode(kept, [], [])
    assert [answer.label for answer in before] == [answer.label for answer in after]
    assert sum(a.confidence for a in after) < 0.8 * sum(b.confidence for b in before)
    assert (calibrated.labels, calibrated.dropout) == (TASK.labels, TASK.dropout)


def test_a_label_for_no_other_is_reported_apart():
    known = ["card", "travel", "travel", "loan", "card"]
    given = ["card", "travel", "loan", "travel", "loan"]
    # Of the two rows that are out of scope one is rated above all others, one above two of three.
    shares = [0.3, 0.9, 0.35, 0.5, 0.1]
    answers = [
        Prediction(label, {"travel": share, label: max(share, 0.6)})
        for label, share in zip(given, shares, strict=True)
    ]
    rows = [example("x", label=label) for label in known]
    plain = TASK.report(rows, answers)
    report = with_options(TASK, {"out_of_scope": "travel"}).report(rows, answers)
    assert report == plain | {
        "out_of_scope_recall": 0.5, "out_of_scope_precision": 0.5,
        "out_of_scope_auroc": pytest.approx(5 / 6), "in_scope_accuracy": pytest.approx(1 / 3),
        "n_out_of_scope": 2,
    }  # fmt: skip
    message = r"out_of_scope='travels' is none of the labels: .*Did you mean 'travel'\?"
    with pytest.raises(ConfigError, match=message):
        with_options(TASK, {"out_of_scope": "travels"})
