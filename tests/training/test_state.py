"""What a training says of itself: its steps, and how much evaluation may take at once."""

import pytest

from inlay.evaluation.scoring import ENOUGH, POSITIONS


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"epochs": 2}, 12),
        ({"epochs": 1, "batch_size": 8}, 12),
        ({"epochs": 3, "batch_size": 8, "gradient_accumulation": 2}, 18),
    ],
    ids=str,
)
def test_steps_of_a_whole_training(ready, settings, steps):
    assert ready(**settings).training.num_steps == steps


def test_evaluation_takes_no_more_at_once_than_a_step(ready):
    training = ready().training
    longest = max(row.length for row in training.train)
    training.micro_batch = 1
    assert training.scored_at_once == ENOUGH
    training.micro_batch = ENOUGH // longest + 1
    assert training.scored_at_once == training.micro_batch * longest < POSITIONS
    training.micro_batch = POSITIONS
    assert training.scored_at_once == POSITIONS
