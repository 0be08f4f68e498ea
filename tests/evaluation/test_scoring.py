"""Scores of rows, in their own order, without changing the model."""

import pytest
import torch

from inlay.data.rows import Example
from inlay.evaluation import scoring
from inlay.evaluation.predictor import load_predictor
from inlay.evaluation.scoring import score_rows
from tests import tiny

ROWS = [Example(text, None, label, "f", 1) for text, label in tiny.rows(23, seed=6)]


@pytest.fixture
def predictor(finished):
    return load_predictor(finished.folder)


def score(predictor, rows, **options):
    return score_rows(
        predictor.task, predictor.model, predictor.head, predictor.encode(rows),
        predictor.tokenizer, **options,
    )  # fmt: skip


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_scores_are_in_the_order_of_the_rows(predictor, batch_size):
    found = score(predictor, ROWS, batch_size=batch_size)
    found, alone = torch.stack(found), torch.cat([score(predictor, [row])[0][None] for row in ROWS])
    assert found.shape == (23, 3)
    assert found.dtype == torch.float32
    assert torch.allclose(found, alone, atol=1e-5)
    assert len({tuple(row) for row in alone.round(decimals=4).tolist()}) > 15


def test_the_longest_rows_come_first(predictor):
    widths = []
    inner = predictor.task

    class Watched:
        def for_evaluation(self, *given):
            return self

        def __getattr__(self, name):
            return getattr(inner, name)

        def collate(self, rows, tokenizer):
            widths.append(max(row.length for row in rows))
            return inner.collate(rows, tokenizer)

    predictor.task = Watched()
    score(predictor, ROWS, batch_size=5)
    assert len(widths) == 5
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > widths[-1]


def watched(predictor, monkeypatch):
    """Return a list of the lengths of the rows of each batch from here on."""
    batches = []
    inner = type(predictor.task).collate

    def collate(task, rows, tokenizer):
        batches.append([row.length for row in rows])
        return inner(task, rows, tokenizer)

    monkeypatch.setattr(type(predictor.task), "collate", collate)
    return batches


def test_rows_of_a_batch_are_of_like_length(predictor, monkeypatch):
    batches = watched(predictor, monkeypatch)
    expected = score(predictor, ROWS)
    assert len(batches) == 1, "so few positions are one batch"
    monkeypatch.setattr(scoring, "ENOUGH", 1)
    batches.clear()
    found = score(predictor, ROWS)
    assert len(batches) > 1
    assert all(min(own) >= 0.75 * max(own) for own in batches)
    assert torch.allclose(torch.stack(found), torch.stack(expected), atol=1e-5)


def test_a_batch_has_no_more_positions_than_asked_for(predictor, monkeypatch):
    batches = watched(predictor, monkeypatch)
    expected = torch.stack(score(predictor, ROWS))
    batches.clear()
    longest = max(row.length for row in predictor.encode(ROWS))
    found = torch.stack(score(predictor, ROWS, positions=2 * longest))
    assert all(len(own) * max(own) <= 2 * longest for own in batches)
    assert len(batches[0]) == 2
    assert torch.allclose(found, expected, atol=1e-5)
    batches.clear()
    assert torch.allclose(torch.stack(score(predictor, ROWS, positions=1)), expected, atol=1e-5)
    assert [len(own) for own in batches] == [1] * len(ROWS)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("full"), RuntimeError("not enough memory: you tried")]
)
def test_a_batch_that_memory_does_not_suffice_for_is_halved(predictor, monkeypatch, error):
    expected = torch.stack(score(predictor, ROWS))
    batches = watched(predictor, monkeypatch)
    inner = type(predictor.task).scores

    def scores(task, model, head, batch):
        if len(batch.inputs["input_ids"]) > room:
            raise error
        return inner(task, model, head, batch)

    monkeypatch.setattr(type(predictor.task), "scores", scores)
    room = 2
    assert torch.allclose(torch.stack(score(predictor, ROWS)), expected, atol=1e-5)
    assert len(batches[0]) == len(ROWS)
    assert sum(len(own) for own in batches if len(own) <= room) == len(ROWS)
    room = 0
    with pytest.raises(type(error), match="full|not enough memory"):
        score(predictor, ROWS)


@pytest.mark.parametrize("fails", [False, True])
def test_training_modes_come_back_and_no_gradient_is_kept(predictor, fails, monkeypatch):
    model, head = predictor.model, predictor.head
    model.train()
    head.train()
    model.encoder.layer[1].eval()
    before = {name: module.training for name, module in model.named_modules()}
    if fails:
        monkeypatch.setattr(type(head), "forward", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError, match="division by zero"):
            score(predictor, ROWS)
    else:
        first, second = (torch.stack(score(predictor, ROWS)) for _ in range(2))
        assert not first.requires_grad
        assert torch.equal(first, second), "no dropout"
    assert {name: module.training for name, module in model.named_modules()} == before
    assert head.training
    assert len(set(before.values())) == 2


def test_autocast_computes_in_bfloat16(predictor):
    plain = torch.stack(score(predictor, ROWS))
    low = torch.stack(score(predictor, ROWS, autocast=True))
    assert low.dtype == torch.float32
    assert not torch.equal(plain, low)
    assert torch.allclose(plain, low, atol=0.3)
