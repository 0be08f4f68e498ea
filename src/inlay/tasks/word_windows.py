"""Words as tokens: where each word begins, in windows that overlap where a text is long."""

from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from inlay.data.forms.tagged import joined_places
from inlay.errors import ConfigError
from inlay.tasks.base import Encoded

_OVERLAP = 0.25
"""Share of a window that the next one repeats."""

_NO_FEATURES = ("attention_mask", "offset_mapping", "overflow_to_sample_mapping")


@final
class Window(NamedTuple):
    """A part of a text that the base reads at once.

    Args:
        row: Number of the text.
        features: What the tokenizer gives, a number for each token.
        places: Word -> position of its first token, for the words that begin here.
    """

    row: int
    features: dict[str, list[int]]
    places: dict[int, int]


def read_windows(
    texts: Sequence[Sequence[str]], tokenizer: Any, *, max_length: int
) -> list[Window]:
    """Turn lists of words into token ids, each text in at least one window.

    The words are joined with spaces and found again by the characters that tokens stand for: a
    tokenizer that writes the space before a word into its token would not do so if it were given
    the words one by one, and the base never saw words without.

    Args:
        texts: The words of each text.
        tokenizer: A fast one.
        max_length: Tokens of a window.

    Raises:
        ConfigError: If the tokenizer does not tell which characters a token stands for.
    """
    if not texts:
        return []
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(
            f"{type(tokenizer).__name__} does not tell which word a token belongs to, and tagging "
            "needs that. Name a --base with a fast tokenizer (one that has a tokenizer.json)."
        )
    found = tokenizer(
        [" ".join(words) for words in texts], truncation=True, max_length=max_length,
        stride=int((max_length - tokenizer.num_special_tokens_to_add()) * _OVERLAP),
        return_overflowing_tokens=True, return_offsets_mapping=True,
    )  # fmt: skip
    windows: list[Window] = []
    seen: set[int] = set()
    # In the order of the text, also where a tokenizer cuts on the left and gives its end first.
    order = sorted(
        zip(found["overflow_to_sample_mapping"], found["offset_mapping"], count()),
        key=lambda window: (window[0], max((end for _, end in window[1]), default=0)),
    )
    for row, offsets, number in order:
        if not windows or windows[-1].row != row:
            seen = set()
        places = _places(offsets, texts[row])
        first = next(iter(places), None)
        if first in seen:  # the window may begin within this word; the one before has it whole
            del places[first]
        seen.update(places)
        features = {key: found[key][number] for key in found if key not in _NO_FEATURES}
        if not features["input_ids"]:  # no token at all, and the base needs one
            features = {key: [0] for key in features}
        windows.append(Window(row, features, places))
    return windows


def _places(offsets: Sequence[tuple[int, int]], words: Sequence[str]) -> dict[int, int]:
    """Return word -> the position of the first token that has a character of it."""
    spans = joined_places(words)
    places: dict[int, int] = {}
    word = 0
    for position, (start, end) in enumerate(offsets):
        while word < len(spans) and spans[word][1] <= start:
            word += 1
        here = word
        while here < len(spans) and spans[here][0] < end:
            places.setdefault(here, position)
            here += 1
    return places


def join_windows(
    kept: Sequence[Tensor], rows: Sequence[Encoded], absent: Tensor
) -> dict[int, Tensor]:
    """Return for each text one vector a word, from the window that has most around the word.

    Args:
        kept: For each row a vector for each of its `extra["places"]`, in their order.
        rows: Encoded windows; `extra["num_words"]` are the words of the whole text.
        absent: The vector of a word that no token stands for.
    """
    joined: dict[int, Tensor] = {}
    margins: dict[int, Tensor] = {}
    for own, row in zip(kept, rows, strict=True):
        size = row.extra["num_words"]
        if row.row not in joined:
            joined[row.row] = absent.expand(size, -1).clone()
            margins[row.row] = torch.full((size,), -1)
        words = torch.tensor(list(row.extra["places"]), dtype=torch.long)
        positions = torch.tensor(list(row.extra["places"].values()), dtype=torch.long)
        margin = torch.minimum(positions, row.length - 1 - positions)
        better = margin > margins[row.row][words]
        joined[row.row][words[better]] = own[better]
        margins[row.row][words[better]] = margin[better]
    return joined
