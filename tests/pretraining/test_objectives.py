"""Batches of the three objectives against what their papers say."""

from collections import Counter
from itertools import pairwise

import pytest
import torch

from inlay.errors import BaseError, ConfigError
from inlay.pretraining.objectives import (
    IGNORED,
    OBJECTIVES,
    Causal,
    Denoising,
    Infilling,
    Masked,
    Vocabulary,
    num_noise,
    num_spans,
)
from inlay.pretraining.tokenizer import SPECIALS, train_tokenizer
from tests.pretraining.text import documents


def vocabulary(name, size=400):
    return Vocabulary(
        train_tokenizer(
            documents(60), kind="bpe", specials=SPECIALS[name], vocab_size=size, max_length=32
        )
    )


def generator(seed=3):
    return torch.Generator().manual_seed(seed)


def text_rows(known, *lengths):
    return [known.ordinary[torch.randint(len(known.ordinary), (length,))] for length in lengths]


def test_masking_asks_for_15_percent_and_hides_80_of_100_of_them():
    known = vocabulary("mlm")
    rows = text_rows(known, *[101] * 200)
    batch = Masked(known).batch(rows, generator())
    whole = torch.stack([torch.cat([torch.tensor([2]), row, torch.tensor([3])]) for row in rows])
    ids, labels = batch.inputs["input_ids"], batch.labels
    asked = labels != IGNORED
    assert (asked.sum(dim=1) == round(0.15 * 101)).all()
    assert (labels[asked] == whole[asked]).all()
    assert (ids[~asked] == whole[~asked]).all()
    masked = (ids[asked] == known.mask).float().mean()
    same = (ids[asked] == whole[asked]).float().mean()
    # 3000 draws: a standard deviation is 0.7 and 0.55 points.
    assert masked == pytest.approx(0.8, abs=0.03)
    assert same == pytest.approx(0.1 + 0.1 / len(known.ordinary), abs=0.025)
    other = ids[asked][(ids[asked] != known.mask) & (ids[asked] != whole[asked])]
    assert not known.is_special[other].any()
    assert len(other.unique()) > 100, "random tokens come from the whole vocabulary"
    places = asked.sum(dim=0)
    assert places[0] == places[-1] == 0, "special tokens are never asked for"
    assert places[1:-1].min() > 0


def test_masking_pads_rows_and_leaves_special_tokens_inside_alone():
    known = vocabulary("mlm")
    rows = text_rows(known, 20, 3)
    rows[0][7] = known.end
    batch = Masked(known).batch(rows, generator())
    assert batch.inputs["attention_mask"].sum(dim=1).tolist() == [22, 5]
    assert batch.inputs["input_ids"][1, 5:].eq(known.pad).all()
    assert (batch.labels != IGNORED).sum(dim=1).tolist() == [3, 1]
    drawn = [Masked(known).batch(rows, generator(seed)).labels[0, 8] for seed in range(50)]
    assert set(map(int, drawn)) == {IGNORED}


def test_every_token_of_a_causal_stream_is_asked_for_once():
    known = vocabulary("clm")
    objective = Causal(known)
    window = objective.window(9)
    assert (window.size, window.stride) == (10, 9)
    stream = text_rows(known, 28)[0]
    rows = [stream[start : start + 10] for start in (0, 9, 18)]
    batch = objective.batch([*rows, stream[:4]], generator())
    assert batch.inputs["input_ids"].shape == (4, 9)
    assert torch.equal(batch.labels[:3].flatten(), stream[1:])
    assert torch.equal(batch.inputs["input_ids"][:3].flatten(), stream[:-1])
    assert batch.labels[3].tolist() == [*stream[1:4].tolist(), *[IGNORED] * 6]
    assert batch.inputs["attention_mask"][3].tolist() == [1] * 4 + [0] * 5


@pytest.mark.parametrize("length", [2, 3, 7, 20, 64, 137])
def test_span_corruption_can_be_undone(length):
    known = vocabulary("denoise")
    objective = Denoising(known)
    row = text_rows(known, length)[0]
    given, asked = objective.corrupt(row, generator(length))
    assert (len(given), len(asked)) == objective.lengths(length)
    assert given[-1] == asked[-1] == known.end
    # Put back by hand: every sentinel of the input stands for what follows it in the answer.
    missing, sentinel = {}, None
    for token in asked[:-1].tolist():
        if token in known.sentinels:
            sentinel = token
            missing[sentinel] = []
        else:
            missing[sentinel].append(token)
    restored = [
        part for token in given[:-1].tolist() for part in missing.get(token, [token])
    ]  # fmt: skip
    assert restored == row.tolist()
    assert list(missing) == known.sentinels[: num_spans(length)]
    assert all(missing.values()), "no span is empty"
    assert sum(map(len, missing.values())) == num_noise(length)
    assert not any(
        first in missing and second in missing for first, second in pairwise(given.tolist())
    ), "text stands between spans"


def test_spans_have_the_lengths_of_the_paper():
    assert (num_noise(512), num_spans(512)) == (77, 26)  # 15 % of 512, of mean length 3
    known = vocabulary("denoise")
    row = text_rows(known, 14)[0]  # two tokens go missing, in one span
    firsts = Counter()
    for seed in range(600):
        given, _ = Denoising(known).corrupt(row, generator(seed))
        firsts[int((given == known.sentinels[0]).nonzero()[0, 0])] += 1
    assert set(firsts) == {12}, "a single span ends the row, as text comes first"
    row = text_rows(known, 27)[0]  # four tokens go missing; one span
    assert num_spans(27) == 1
    row = text_rows(known, 33)[0]  # five tokens go missing, in two spans
    sizes = Counter()
    for seed in range(800):
        _, asked = Denoising(known).corrupt(row, generator(seed))
        sizes[int((asked == known.sentinels[1]).nonzero()[0, 0]) - 1] += 1
    assert set(sizes) == {1, 2, 3, 4}
    assert all(150 < count < 250 for count in sizes.values()), "all cuts are equally likely"


def test_the_window_of_span_corruption_fills_the_length():
    objective = Denoising(vocabulary("denoise"))
    for max_length in (16, 33, 128, 512):
        size = objective.window(max_length).size
        assert objective.lengths(size)[0] <= max_length < objective.lengths(size + 1)[0]
    assert objective.window(512).size == 568  # as the T5 paper's own setting gives
    with pytest.raises(ConfigError, match=r"max_length=2500: the tokenizer has 100 sentinels and"):
        objective.window(2500)


@pytest.mark.parametrize("length", [2, 20, 137])
def test_infilling_asks_for_the_whole_text_of_what_span_corruption_shows(length):
    known = vocabulary("infill")
    row = text_rows(known, length)[0]
    given, asked = Infilling(known).corrupt(row, generator(length))
    assert torch.equal(given, Denoising(known).corrupt(row, generator(length))[0])
    assert asked.tolist() == [*row.tolist(), known.end]
    assert (len(given), len(asked)) == Infilling(known).lengths(length)
    assert Infilling(known).window(64).size == 63


@pytest.mark.parametrize("name", ["mlm", "clm", "denoise", "infill"])
def test_equal_generators_make_equal_batches(name):
    known = vocabulary(name)
    rows = text_rows(known, 60, 60, 11)
    first, again, other = (
        OBJECTIVES[name](known).batch(rows, generator(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first.labels, again.labels)
    assert torch.equal(first.inputs["input_ids"], again.inputs["input_ids"])
    same = [torch.equal(first.labels, other.labels)]
    same += [torch.equal(first.inputs["input_ids"], other.inputs["input_ids"])]
    assert same == {"clm": [True, True], "infill": [True, False]}.get(name, [False, False])


def test_a_vocabulary_that_lacks_a_token_is_refused():
    with pytest.raises(BaseError, match=r"objective mlm: the base's tokenizer has no mask token"):
        Masked(vocabulary("clm"))
    with pytest.raises(BaseError, match=r"objective denoise: the base's tokenizer has no sentin"):
        Denoising(vocabulary("mlm"))
    assert Causal(vocabulary("mlm")).around() == ([2], [3])
