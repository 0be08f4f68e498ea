"""Which arguments have one entry for each row."""

from typing import NamedTuple

import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from inlay.errors import CompositionError
from inlay.sites.batch import batch_rows, cache_in, repeat_batch


class Pair(NamedTuple):
    one: torch.Tensor
    two: None


def repeated(rows=2, copies=3, *, grown=False, args=(), **kwargs):
    return repeat_batch(args, kwargs, rows=rows, copies=copies, grown=grown)


def test_every_form_of_an_argument():
    ids, one = torch.tensor([[1, 2], [3, 4]]), torch.ones(1, 4)
    mask = torch.rand(2, 1, 4, 4)
    planes = torch.arange(12).view(3, 2, 2)
    inner = BaseModelOutput(last_hidden_state=torch.rand(2, 3, 4))
    (first,), given = repeated(
        args=(ids,), masks={"full": mask}, position_ids=planes, several=[ids, "x"],
        pair=Pair(ids, None), encoder_outputs=inner, cache_position=torch.arange(2), flag=True,
        shared=one, number=torch.tensor(3.0), labels=torch.tensor([7, 8]), past_key_values=(ids,),
    )  # fmt: skip
    assert first.tolist() == [[1, 2], [3, 4]] * 3
    assert torch.equal(given["masks"]["full"], torch.cat([mask] * 3))
    assert torch.equal(given["position_ids"], torch.cat([planes] * 3, dim=1))
    assert torch.equal(given["several"][0], first)
    assert given["several"][1] == "x"
    assert torch.equal(given["pair"].one, first)
    assert isinstance(given["encoder_outputs"], BaseModelOutput)
    assert len(given["encoder_outputs"].last_hidden_state) == 6
    assert len(inner.last_hidden_state) == 2, "the caller's own is left alone"
    assert given["cache_position"].tolist() == [0, 1], "positions, though as many as rows"
    assert given["shared"] is one
    assert given["labels"].tolist() == [7, 8] * 3
    assert len(given["past_key_values"][0]) == 2


def test_a_tensor_of_another_size_is_refused():
    with pytest.raises(
        CompositionError, match="the 2 rows of the batch, but 'pixel_values' is 5 x 3"
    ):
        repeated(pixel_values=torch.ones(5, 3))
    with pytest.raises(CompositionError, match="'an argument' is 6 x 3"):
        repeated(args=(torch.ones(6, 3),))
    _, given = repeated(grown=True, input_ids=torch.ones(6, 3), mask=torch.ones(2, 3))
    assert [len(value) for value in given.values()] == [6, 6]


def test_the_rows_are_those_of_the_main_input():
    ids, ones = torch.ones(2, 5), torch.ones(1, 5)
    assert batch_rows("input_ids", (), {"position_ids": ones, "input_ids": ids}) == 2
    assert batch_rows("input_ids", (ids,), {"position_ids": ones}) == 2
    assert batch_rows("input_ids", (), {"inputs_embeds": torch.ones(3, 5, 2)}) == 3
    assert batch_rows("input_ids", (), {"cache_position": ones, "other": ids}) == 2
    assert batch_rows("input_ids", (None,), {"flag": True}) is None


def test_a_cache_by_any_name():
    assert cache_in({"cache_params": 3}) == 3
    assert cache_in({"past_key_values": None}) is None
