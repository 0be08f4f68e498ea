"""How many tokens are read: as asked, within what the base takes, and what is cut is told."""

import pytest

from inlay.errors import ConfigError


def test_length_is_what_was_asked_within_what_the_base_takes(ready):
    assert ready().max_length == 64
    assert ready(max_length=6).max_length == 6
    assert not any("max_length" in note for note in ready().notes)
    long = ready(max_length=900)
    assert long.max_length == 64
    assert "max_length 900: the base takes no more than 64 tokens" in long.notes


@pytest.mark.parametrize("method", ["prompt[length=9]", "prefix[length=9,takes_positions=true]"])
def test_what_stands_in_front_of_the_words_leaves_fewer_positions(ready, method):
    found = ready(method=method, max_length=60, layers="all")
    assert found.max_length == 55
    note = "max_length 60: the base takes no more than 55 tokens behind 9 positions of the adapter"
    assert note in found.notes
    assert ready(method=method, max_length=40, layers="all").max_length == 40
    with pytest.raises(ConfigError, match="takes 61 positions in front .* base has 64 in all; at "):
        ready(method=method.replace("9", "61"), layers="all")


def test_cut_texts_are_counted(ready):
    short, full = ready(max_length=8), ready()
    lengths = [row.length for rows in full.encoded.values() for row in rows]
    cut = [length - 8 for length in lengths if length > 8]
    share, lost = len(cut) / len(lengths), sum(cut) / sum(lengths)
    expected = (
        f"{share:.1%} of rows exceed max_length 8 (longest {max(lengths)} tokens): truncated, "
        f"{lost:.1%} of all tokens lost"
    )
    assert short.notes == [expected]
    assert full.notes == []
