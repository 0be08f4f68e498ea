import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from inlay.metrics.ranks import auroc, mean_ranks


@pytest.mark.parametrize("seed", range(10))
def test_ranks_and_area_equal_those_of_scipy_and_scikit_learn(seed):
    generator = np.random.default_rng(seed)
    rows = int(generator.integers(2, 60))
    scores = generator.integers(0, 12, rows) / 4  # many are equal
    kinds = generator.random(rows) < 0.4
    kinds[:2] = True, False
    assert mean_ranks(scores) == pytest.approx(stats.rankdata(scores))
    expected = reference.roc_auc_score(kinds, scores)
    assert auroc(kinds.tolist(), scores.tolist()) == pytest.approx(expected, abs=1e-12)


def test_one_kind_of_row_has_no_area():
    assert auroc([True, True], [0.1, 0.9]) is None
    assert auroc([False], [0.5]) is None
    assert auroc([], []) is None


def test_rows_must_pair_up():
    with pytest.raises(ValueError, match="2 rows have 1 scores; give one for each"):
        auroc([True, False], [0.5])
