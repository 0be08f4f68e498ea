"""Gated keys and values in front, against attention computed query by query."""

import pytest
import torch

from inlay.errors import SiteError
from inlay.sites.front_keys import FrontKeys, FrontPass, Joined, Moved

BATCH, HEADS, N, M, D, E = 2, 3, 4, 5, 6, 7


def drawn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def attend(query, key, value, scaling):
    """Return `(batch, n, heads, e)`."""
    weights = (query @ key.transpose(-1, -2) * scaling).softmax(-1)
    return (weights @ value).transpose(1, 2)


def by_hand(query, key, value, fronts):
    result = torch.zeros(BATCH, N, HEADS, E, dtype=torch.float64)
    for row in range(BATCH):
        for n in range(N):
            for head in range(HEADS):
                keys, values = [key[row, head]], [value[row, head]]
                for front in fronts:
                    gates = front.gates
                    gate = torch.ones(1)
                    if gates is not None:
                        gate = gates[row, min(n, gates.shape[1] - 1)]
                    part = slice(head * D, (head + 1) * D)
                    keys.append(front.keys[:, part] * gate[0])
                    values.append(front.values[:, head * E : (head + 1) * E] * gate[-1])
                scores = torch.cat(keys) @ query[row, head, n] / D**0.5
                result[row, n, head] = scores.softmax(0) @ torch.cat(values)
    return result


GATES = {
    "none": lambda: None,
    "row": lambda: drawn(BATCH, 1, 1),
    "query": lambda: drawn(BATCH, N, 1),
    "row, each": lambda: drawn(BATCH, 1, 2),
    "query, each": lambda: drawn(BATCH, N, 2),
}


@pytest.mark.parametrize(
    "kinds", [(), ("none",), ("row",), ("query",), ("query", "none", "row, each", "query, each")]
)
def test_scores_and_values_are_those_of_gated_keys(kinds):
    torch.manual_seed(2)
    query, key, value = (
        drawn(BATCH, HEADS, N, D),
        drawn(BATCH, HEADS, M, D),
        drawn(BATCH, HEADS, M, E),
    )
    fronts = [
        FrontKeys(drawn(2 + i, HEADS * D), drawn(2 + i, HEADS * E), GATES[kind]())
        for i, kind in enumerate(kinds)
    ]
    joined = Joined(query, key, value, fronts, "0.attention")
    settings = joined.scaled({"dropout": 0.0}, attend)
    scaling = settings.get("scaling", D**-0.5)
    found = joined.gated(attend(joined.query, joined.keys, joined.values, scaling))
    torch.testing.assert_close(found, by_hand(query, key, value, fronts))


def test_each_row_has_its_own():
    torch.manual_seed(2)
    query, key, value = (
        drawn(BATCH, HEADS, N, D),
        drawn(BATCH, HEADS, M, D),
        drawn(BATCH, HEADS, M, E),
    )
    front = FrontKeys(drawn(BATCH, 3, HEADS * D), drawn(BATCH, 3, HEADS * E))
    joined = Joined(query, key, value, [front], "0.attention")
    found = joined.gated(attend(joined.query, joined.keys, joined.values, D**-0.5))
    for row in range(BATCH):
        own = FrontKeys(front.keys[row], front.values[row])
        expected = by_hand(query, key, value, [own])[row]
        torch.testing.assert_close(found[row], expected)


def test_what_a_row_sees_of_several():
    seen = torch.tensor([[True, False], [True, True]])
    plain, hidden = (
        FrontKeys(drawn(3, 6), drawn(3, 6)),
        FrontKeys(drawn(2, 2, 6), drawn(2, 2, 6), seen=seen),
    )
    moved = (Moved(length=5),)
    one = FrontPass(fronts=(plain, hidden), moved=moved, share=1.0)
    assert one.length == 5
    assert one.seen(2, torch.device("cpu")).tolist() == [[True] * 4 + [False], [True] * 5]
    all_seen = FrontPass(fronts=(plain,), moved=moved, share=1.0)
    assert all_seen.seen(2, torch.device("cpu")) is None


def test_a_scale_that_is_given_stays():
    query, key = drawn(BATCH, HEADS, N, D), drawn(BATCH, HEADS, M, D)
    front = FrontKeys(drawn(2, HEADS * D), drawn(2, HEADS * D), drawn(BATCH, N, 1))
    joined = Joined(query, key, key, [front], "0.attention")
    assert joined.scaled({"scaling": 1.0}, attend) == {"scaling": 1.0}
    assert joined.scaled({}, attend) == {"scaling": D**-0.5}
    with pytest.raises(SiteError, match="takes no scale, so that a gate for each query cannot"):
        joined.scaled({}, lambda query, key, value: None)
    plain = Joined(query, key, key, [], "0.attention")
    assert plain.scaled({}, lambda query, key, value: None) == {}


def test_what_does_not_fit_is_refused():
    query, key = drawn(BATCH, HEADS, N, D), drawn(BATCH, HEADS, M, D)
    front = FrontKeys(drawn(2, HEADS * D), drawn(2, HEADS * D), drawn(BATCH, N + 1, 1))
    with pytest.raises(SiteError, match="is given 5 positions and has 4 queries"):
        Joined(query, key, key, [front], "0.attention")
    with pytest.raises(SiteError, match="have 17 channels, but the attention has 3 heads of 6"):
        Joined(query, key, key, [FrontKeys(drawn(2, 17), drawn(2, 18))], "0.attention")
