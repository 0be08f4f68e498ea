"""Ranks against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import label_ranking_average_precision_score, top_k_accuracy_score

from inlay.errors import DataError
from inlay.metrics.retrieval import gold_ranks, mean_reciprocal_rank, retrieval_at


@pytest.mark.parametrize("seed", range(20))
def test_metrics_equal_those_of_scikit_learn(seed):
    generator = np.random.default_rng(seed)
    queries, candidates = int(generator.integers(1, 40)), int(generator.integers(3, 12))
    gold = generator.integers(0, candidates, queries)
    scores = generator.normal(size=(queries, candidates))
    scores[np.arange(queries), gold] += 0.8
    for k in (1, 2, candidates):
        # With every candidate among the first, scikit-learn warns that this says nothing.
        expected = 1.0
        if k < candidates:
            expected = top_k_accuracy_score(gold, scores, k=k, labels=np.arange(candidates))
        assert retrieval_at(scores, gold.tolist(), k) == pytest.approx(expected)
    if seed % 2:
        scores = scores.round()  # ties, which scikit-learn ranks here as we do
    expected = label_ranking_average_precision_score(np.eye(candidates)[gold], scores)
    assert mean_reciprocal_rank(scores, gold.tolist()) == pytest.approx(expected)


def test_ties_count_against_the_right_one():
    scores = [[0.5, 0.5, 0.5], [0.1, 0.9, 0.9], [3.0, 2.0, float("-inf")]]
    assert gold_ranks(scores, [0, 1, 1]).tolist() == [3, 2, 2]
    assert retrieval_at(scores, [0, 1, 1]) == 0
    assert retrieval_at(scores, [0, 1, 1], 2) == pytest.approx(2 / 3)
    assert mean_reciprocal_rank(scores, [0, 1, 1]) == pytest.approx((1 / 3 + 1 / 2 + 1 / 2) / 3)


def test_edges():
    assert retrieval_at([], []) == mean_reciprocal_rank([], []) == 0
    assert retrieval_at([[0.2]], [0]) == mean_reciprocal_rank([[0.2]], [0]) == 1


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"shape \(1, 2\) and right candidates \(2,\)"):
        retrieval_at([[1.0, 2.0]], [0, 1])
    with pytest.raises(DataError, match="candidate of query 1 is 2, but there are 2"):
        mean_reciprocal_rank([[1.0, 2.0], [1.0, 2.0]], [0, 2])
    with pytest.raises(DataError, match="query 0 is -1"):
        gold_ranks([[1.0, 2.0]], [-1])
    with pytest.raises(DataError, match="1 of 2 scores are not a number"):
        gold_ranks([[float("nan"), 2.0]], [0])
