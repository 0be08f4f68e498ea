"""What is asked for is checked before anything is computed."""

import math

import pytest
import torch

from inlay.adapters.recipe import WAYS, Recipe, weighted_parts
from inlay.errors import ConfigError
from inlay.ops.blending import ties

TWO = {"a": 0.6, "b": 0.4}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"way": "tie"}, r"no such way; there are linear, .*Did you mean 'ties'"),
        ({"parts": {"a": math.nan}}, "the weight of 'a' is nan"),
        ({"parts": {"a": 0.0}}, "every weight is 0"),
        ({"rank": 0}, "rank must be at least 1"),
        ({"way": "svd"}, "needs rank="),
        ({"way": "cat", "rank": 3}, "its rank is the sum of the ranks"),
        ({"way": "ties"}, "needs density="),
        ({"way": "dare"}, "needs density="),
        ({"density": 0.5}, "density is for ties and dare"),
        ({"way": "dare", "density": 0.0}, r"a share in \(0, 1\]"),
        ({"way": "ties", "density": 1.1}, r"a share in \(0, 1\]"),
        ({"scaling": 2.0}, "scaling is for task-arithmetic, ties, dare"),
        ({"way": "task-arithmetic", "scaling": 0.0}, "give a number that is not 0"),
    ],
)
def test_what_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Recipe(**{"way": "linear", "parts": TWO, **settings})


def test_weights():
    assert weighted_parts("a", "linear") == {"a": 1.0}
    assert weighted_parts(["a", "b"], "ties") == {"a": 0.5, "b": 0.5}
    assert weighted_parts(["a", "b"], "task-arithmetic") == {"a": 1.0, "b": 1.0}
    assert weighted_parts({"a": 2, "b": -1}, "linear") == {"a": 2.0, "b": -1.0}
    with pytest.raises(ConfigError, match="'a' is named twice"):
        weighted_parts(["a", "b", "a"], "linear")
    with pytest.raises(ConfigError, match="no adapter to blend"):
        weighted_parts([], "linear")


def identity(parts, **settings):
    return Recipe(parts=parts, **{"way": "linear", **settings}).identity


def test_when_nothing_changes():
    assert identity({"a": 1.0}) == "a"
    assert identity({"a": 0.0, "b": 1.0}, way="cat") == "b"
    assert identity({"a": 0.5}, way="task-arithmetic", scaling=2.0) == "a"
    assert identity({"a": 0.3}, way="ties", density=1.0) == "a", "weights of ties are relative"
    assert identity({"a": -0.3}, way="ties", density=1.0) is None
    assert identity({"a": 1.0}, way="ties", density=0.9) is None
    assert identity({"a": 1.0}, way="dare", density=0.9) is None
    assert identity({"a": 0.9}) is None
    assert identity({"a": 0.5, "b": 0.5}) is None


def test_mixing():
    a, b = torch.tensor([[1.0, -2.0], [3.0, 0.5], [-1.0, 1.0]]).double().T.reshape(2, 3)
    torch.testing.assert_close(
        Recipe(way="svd", parts=TWO, rank=1).mix([a, b], ""), 0.6 * a + 0.4 * b
    )
    scaled = Recipe(way="ties", parts=TWO, density=0.6, scaling=3.0)
    torch.testing.assert_close(scaled.mix([a, b], ""), 3 * ties([a, b], (0.6, 0.4), 0.6))


def test_dare_depends_on_seed_and_place_only():
    tensors = [torch.ones(40).double(), torch.ones(40).double()]

    def dare(key="q", seed=0, parts=TWO):
        return Recipe(way="dare", parts=parts, density=0.5, seed=seed).mix(tensors, key)

    assert torch.equal(dare(), dare())
    assert torch.equal(dare(), dare(parts={"x": 0.6, "y": 0.4}))
    assert not torch.equal(dare(), dare(seed=1))
    assert not torch.equal(dare(), dare(key="k"))
    assert set(dare(parts={"a": 1.0, "b": 0.125}).tolist()) > {0.0, 2.25}, "each drawn by itself"


@pytest.mark.parametrize("way", WAYS)
def test_the_record_says_all_that_counts(way):
    density = 0.5 if way in ("ties", "dare") else None
    rank = 3 if way == "svd" else None
    record = Recipe(way=way, parts=TWO, density=density, rank=rank, seed=4).settings()
    assert (record["method"], record["weights"]) == (way, TWO)
    assert record.get("density") == density
    assert record.get("rank") == rank
    assert record.get("seed") == (4 if way == "dare" else None)
    assert ("scaling" in record) == (way in ("task-arithmetic", "ties", "dare"))
