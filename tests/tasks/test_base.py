"""What every task's rows, batches and answers can do."""

import torch

from inlay.tasks.base import Batch, Encoded


def test_length_counts_tokens():
    assert Encoded({"input_ids": [2, 9, 8, 3], "token_type_ids": [0, 0, 1, 1]}, 1).length == 4


def test_a_batch_moves_as_a_whole():
    batch = Batch(
        {"input_ids": torch.ones(2, 3), "mask": torch.ones(2, 3)},
        torch.ones(2),
        {"input_ids": torch.ones(4, 2)},
    )
    moved = batch.to("meta")
    assert {value.device.type for value in moved.inputs.values()} == {"meta"}
    assert {key: value.device.type for key, value in moved.shared.items()} == {"input_ids": "meta"}
    assert moved.targets.device.type == "meta"
    assert batch.inputs["mask"].device.type == "cpu"
    assert Batch(batch.inputs, None).to("meta").targets is None
