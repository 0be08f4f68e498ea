"""One of several answers, with different numbers of them in one batch."""

import pytest
import torch

from inlay.data.rows import Example
from inlay.store.bases import load_base, resolve_base
from inlay.tasks.choice import Choice, MultipleChoice
from tests import tiny

TASK = MultipleChoice()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return load_base(resolve_base(str(tiny.shared_base(tmp_path_factory.getbasetemp()))))


def row(text, choices, index=None):
    parts = {"choices": list(choices)} | ({} if index is None else {"index": index})
    return Example(text, None, "" if index is None else choices[index], "f", 1, parts)


ROWS = [
    row("what is lost", ["my card", "my loan", "nothing at all of it"], 0),
    row("where", ["here", "there"], 1),
]


def scored(base, rows, head):
    encoded = TASK.encode(rows, base[1], max_length=30)
    batch = TASK.collate(encoded, base[1])
    with torch.no_grad():
        scores = TASK.scores(base[0], head, batch)
    return encoded, batch, scores


def test_each_choice_is_read_with_its_question(base):
    encoded, batch, scores = scored(base, ROWS, TASK.build_head(32).eval())
    assert len(batch.inputs["input_ids"]) == 5
    expected = base[1]("what is lost", "my loan")["input_ids"]
    assert encoded[0].extra["choices"][1]["input_ids"] == expected
    assert scores.shape == (2, 3)
    assert scores[1, 2] == float("-inf")


def test_a_context_is_read_first_and_the_question_with_each_choice(base):
    asked = ROWS[0]._replace(pair="a card was here")
    (encoded,) = TASK.encode([asked], base[1], max_length=60)
    expected = base[1]("a card was here", "what is lost my loan")["input_ids"]
    assert encoded.extra["choices"][1]["input_ids"] == expected
    known = row("which", ["it is light", "it is dark"], 1)._replace(pair="The night is dark")
    assert TASK.baselines([], [known])["shared_words"][0].index == 1


def test_a_batch_scores_as_each_row_alone(base):
    head = TASK.build_head(32).eval()
    encoded, batch, scores = scored(base, ROWS, head)
    kept = TASK.keep(scores, batch, encoded)
    assert [len(own) for own in kept] == [3, 2]
    for number, one in enumerate(ROWS):
        _, _, alone = scored(base, [one], head)
        assert torch.allclose(alone[0], kept[number], atol=1e-5)


def test_loss_and_metrics_are_by_hand(base):
    encoded, batch, scores = scored(base, ROWS, TASK.build_head(32).eval())
    first, second = scores[0].log_softmax(-1)[0], scores[1, :2].log_softmax(-1)[1]
    expected = -float(first + second) / 2
    assert float(TASK.loss(scores, batch, label_smoothing=0.1)) == pytest.approx(expected)
    found = TASK.metrics(TASK.keep(scores, batch, encoded), encoded)
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    right = (int(scores[0].argmax()) == 0) + (int(scores[1, :2].argmax()) == 1)
    assert found["accuracy"] == right / 2


def test_answers_and_counts():
    kept = [torch.tensor([0.0, 2.0, 1.0]), torch.tensor([3.0, 0.0])]
    first, second = TASK.decode(kept, [], ROWS)
    assert (first.text, first.index) == ("my loan", 1)
    assert first.confidence == pytest.approx(float(kept[0].softmax(-1)[1]))
    assert TASK.counts(ROWS[0], first) == (0.0, 1.0)
    assert TASK.counts(ROWS[1], Choice("there", 1, (0.1, 0.9))) == (1.0, 1.0)
    assert second.record(1)["choice"] == "here"
    assert second.columns(1)["predicted_choice"] == 0


def test_baselines():
    rows = [row("the red ball", ["a green car", "the ball is red"], 1)]
    found = TASK.baselines([], rows)
    assert [answer.index for answer in found["first_choice"]] == [0]
    assert [answer.index for answer in found["shared_words"]] == [1]
