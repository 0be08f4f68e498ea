"""Which blocks a comparator trains."""

import pytest

from inlay.errors import ConfigError
from inlay.methods.comparators import Full, Head, Top


def test_the_first_block_that_is_trained():
    assert Full().first_block(6) is None
    assert Head().first_block(6) == 6
    assert [Top(blocks=n).first_block(6) for n in (1, 2, 6, 9)] == [5, 4, 0, 0]


def test_wrong_values():
    with pytest.raises(ConfigError, match=r"Top\(blocks=0\): blocks must be at least 1"):
        Top(blocks=0)
