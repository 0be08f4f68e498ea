"""What is noted of a call of the whole model."""

import copy
import pickle

import pytest
import torch
from torch import nn

from inlay.errors import CompositionError
from inlay.sites.calls import CallHook, EndHook, PassState


class Noting:
    def __init__(self, copies=0):
        self.number, self.noted = copies, None

    def copies(self):
        return self.number

    def note_start(self, rows):
        self.noted = rows

    def note_end(self):
        return self.noted if self.number > 1 else None

    def note_cut(self, is_cut):
        assert not is_cut


class Cache:
    def __init__(self, length):
        self.length = length

    def get_seq_length(self):
        return self.length


def test_rows_are_counted():
    actor = Noting()
    hook = CallHook(actor, PassState())
    ids, mask = torch.ones(2, 3), torch.ones(2, 3)
    assert hook(nn.Identity(), (ids, mask), {}) is None
    assert actor.noted == 2
    hook(nn.Identity(), (), {"input_ids": torch.ones(3, 1), "past_key_values": Cache(4)})
    assert actor.noted == 3


def test_repeated_rows_go_on_with_their_cache():
    actor, state = Noting(copies=3), PassState()
    hook, end = CallHook(actor, state), EndHook(actor, state)
    cache = Cache(0)
    args, _ = hook(nn.Identity(), (torch.ones(2, 3),), {"past_key_values": cache})
    assert len(args[0]) == 6
    assert actor.noted == 6
    end(nn.Identity(), args, {"past_key_values": cache})
    cache.length = 3
    for rows in (2, 6):
        args, _ = hook(nn.Identity(), (torch.ones(rows, 1),), {"past_key_values": cache})
        assert len(args[0]) == 6
    with pytest.raises(CompositionError, match="give 6 rows it was filled with"):
        hook(nn.Identity(), (torch.ones(3, 1),), {"past_key_values": cache})
    with pytest.raises(CompositionError, match="was not filled under this Parallel"):
        hook(nn.Identity(), (torch.ones(2, 1),), {"past_key_values": Cache(3)})
    with pytest.raises(CompositionError, match="is about rows, but the model was given no tensor"):
        hook(nn.Identity(), (), {})


def test_rows_without_copies_are_only_checked():
    actor = Noting(copies=1)
    hook = CallHook(actor, PassState())
    ids = torch.ones(2, 3)
    args, kwargs = hook(nn.Identity(), (ids,), {"past_key_values": Cache(4)})
    assert args[0] is ids
    assert isinstance(kwargs["past_key_values"], Cache)
    with pytest.raises(CompositionError, match="the 2 rows of the batch, but 'pixels' is 4 x 3"):
        hook(nn.Identity(), (ids,), {"pixels": torch.ones(4, 3)})


def test_a_copy_starts_empty():
    state = PassState()
    state.streams["x"] = torch.ones(1)
    assert copy.deepcopy(state).streams == pickle.loads(pickle.dumps(state)).streams == {}
