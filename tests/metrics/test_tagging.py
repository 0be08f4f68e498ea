"""Spans and entity scores against seqeval and by hand."""

import numpy as np
import pytest
from seqeval.metrics import (
    accuracy_score,
    f1_score,
    precision_score,
    recall_score,
)
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES

from inlay.errors import ConfigError, DataError
from inlay.metrics.tagging import (
    detect_scheme,
    entity_scores,
    read_spans,
    repair,
    spell,
    type_scores,
)

LETTERS = {"iob2": "BI", "bioes": "BIES", "bilou": "BILU"}
REFERENCES = {"iob2": IOB2, "iob1": IOB1, "bioes": IOBES, "bilou": BILOU}
TYPES = ["PER", "LOC", "WORK-OF-ART"]


def wild(seed: int, scheme: str, rows: int = 30) -> list[list[str]]:
    """Draw tags without any regard to what may follow what."""
    generator = np.random.default_rng(seed)
    tags = ["O"] + [f"{letter}-{kind}" for letter in LETTERS[scheme] for kind in TYPES[:2]]
    return [generator.choice(tags, generator.integers(1, 12)).tolist() for _ in range(rows)]


def spans_of(seed: int, rows: int = 40) -> list[tuple[list[tuple[str, int, int]], int]]:
    """Draw rows of spans that often touch."""
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(rows):
        at, spans = 0, []
        for _ in range(generator.integers(0, 5)):
            start = at + int(generator.integers(0, 2))
            at = start + int(generator.integers(1, 4))
            spans.append((str(generator.choice(TYPES)), start, at))
        drawn.append((spans, at + int(generator.integers(0, 3))))
    return drawn


def mixed(seed: int, scheme: str) -> tuple[list[list[str]], list[list[str]]]:
    """Known tags that are well written, and predictions that share some of them."""
    generator = np.random.default_rng(1000 + seed)
    known = [spell(spans, length, scheme) for spans, length in spans_of(seed)]
    letters = LETTERS[scheme]
    others = ["O"] + [f"{letter}-{kind}" for letter in letters for kind in TYPES]
    predicted = [
        [str(generator.choice(others)) if generator.random() < 0.2 else tag for tag in tags]
        for tags in known
    ]
    return known, predicted


def assert_as_seqeval(known, predicted, scheme):
    options = {"mode": "strict", "scheme": REFERENCES[scheme], "zero_division": 0}
    ours = entity_scores(known, predicted, scheme)
    assert ours == pytest.approx(
        {
            "precision": precision_score(known, predicted, **options),
            "recall": recall_score(known, predicted, **options),
            "f1": f1_score(known, predicted, **options),
            "macro_f1": f1_score(known, predicted, average="macro", **options),
            "token_accuracy": accuracy_score(known, predicted),
        },
        abs=1e-12,
    )
    types = type_scores(known, predicted, scheme)
    expected = precision_recall_fscore_support(
        known, predicted, average=None, scheme=REFERENCES[scheme], zero_division=0
    )
    for index, name in enumerate(sorted(types)):
        score = types[name]
        found = (score.precision, score.recall, score.f1, score.support)
        assert found == pytest.approx(tuple(column[index] for column in expected), abs=1e-12)
    return ours["f1"]


@pytest.mark.parametrize("scheme", LETTERS)
@pytest.mark.parametrize("seed", range(12))
def test_scores_equal_those_of_seqeval_in_strict_mode(scheme, seed):
    assert 0.2 < assert_as_seqeval(*mixed(seed, scheme), scheme) < 1
    assert_as_seqeval(wild(seed, scheme), wild_like(seed, scheme), scheme)


def wild_like(seed: int, scheme: str) -> list[list[str]]:
    generator = np.random.default_rng(seed)
    tags = ["O"] + [f"{letter}-{kind}" for letter in LETTERS[scheme] for kind in TYPES]
    return [
        [str(generator.choice(tags)) if generator.random() < 0.4 else tag for tag in row]
        for row in wild(seed, scheme)
    ]


@pytest.mark.parametrize("seed", range(8))
def test_scores_of_iob1_equal_those_of_seqeval(seed):
    rows = spans_of(seed)
    generator = np.random.default_rng(seed)
    kept = [([span for span in spans if generator.random() < 0.7], n) for spans, n in rows]
    known = [spell(spans, length, "iob1") for spans, length in rows]
    predicted = [spell(spans, length, "iob1") for spans, length in kept]
    assert 0.5 < assert_as_seqeval(known, predicted, "iob1") < 1


@pytest.mark.parametrize("scheme", ["iob2", "bioes"])
@pytest.mark.parametrize("seed", range(10))
def test_spans_of_ill_written_tags_are_those_of_conlleval(scheme, seed):
    for tags in wild(seed, scheme):
        expected = [(kind, start, end + 1) for kind, start, end in get_entities(tags)]
        spans, repaired = read_spans(tags, scheme)
        assert spans == expected
        fixed, count = repair(tags, scheme)
        assert count == repaired
        assert read_spans(fixed, "iob2") == (expected, 0)


@pytest.mark.parametrize("scheme", REFERENCES)
@pytest.mark.parametrize("seed", range(5))
def test_what_is_spelled_is_read_and_told(scheme, seed):
    rows = spans_of(seed)
    corpus = [spell(spans, length, scheme) for spans, length in rows]
    for (spans, _), tags in zip(rows, corpus, strict=True):
        assert read_spans(tags, scheme) == (spans, 0)
    assert detect_scheme(corpus) == scheme


def test_each_scheme_by_hand():
    spans = [("PER", 0, 2), ("PER", 2, 3), ("LOC", 4, 5)]
    written = {
        "iob2": "B-PER I-PER B-PER O B-LOC",
        "iob1": "I-PER I-PER B-PER O I-LOC",
        "bioes": "B-PER E-PER S-PER O S-LOC",
        "bilou": "B-PER L-PER U-PER O U-LOC",
    }
    for scheme, line in written.items():
        assert spell(spans, 5, scheme) == line.split()
        assert read_spans(line.split()) == (spans, 0)
        assert repair(line.split(), scheme) == (written["iob2"].split(), 0)


@pytest.mark.parametrize(
    ("scheme", "line", "fixed", "count"),
    [
        ("iob2", "O I-PER I-PER O I-LOC", "O B-PER I-PER O B-LOC", 2),
        ("iob2", "B-PER I-LOC I-LOC", "B-PER B-LOC I-LOC", 1),
        ("iob1", "B-PER I-PER O B-LOC", "B-PER I-PER O B-LOC", 2),
        ("bioes", "B-PER O E-LOC I-LOC", "B-PER O B-LOC B-LOC", 3),
        ("bilou", "B-PER I-PER O L-PER U-PER", "B-PER I-PER O B-PER B-PER", 2),
        ("plain", "NOUN B-X O", "NOUN B-X O", 0),
    ],
)
def test_repairs_by_hand(scheme, line, fixed, count):
    assert repair(line.split(), scheme) == (fixed.split(), count)


def test_plain_tags_are_spans_of_one_token():
    tags = ["DET", "NOUN", "NOUN", "O", "-LRB-"]
    assert detect_scheme([tags]) == "plain"
    expected = [("DET", 0, 1), ("NOUN", 1, 2), ("NOUN", 2, 3), ("-LRB-", 4, 5)]
    assert read_spans(tags) == (expected, 0)
    scores = entity_scores([tags], [["DET", "VERB", "NOUN", "O", "-LRB-"]])
    assert scores["f1"] == pytest.approx(3 / 4)
    assert scores["token_accuracy"] == pytest.approx(4 / 5)


def test_schemes_that_are_hard_to_tell():
    assert detect_scheme([]) == detect_scheme([["O", "O"], []]) == "iob2"
    assert detect_scheme([["I-PER", "O", "I-LOC", "I-LOC"]]) == "iob1"
    # One slip in a corpus of iob2 does not make it iob1.
    assert detect_scheme([["O", "I-PER"], ["O", "B-LOC", "I-LOC"]]) == "iob2"
    assert detect_scheme([["B", "I", "O"]]) == "iob2"
    assert detect_scheme([["U-PER", "S-PER"]]) == "plain"


def test_letters_without_a_type():
    assert read_spans(["B", "I", "O", "B"]) == ([("", 0, 2), ("", 3, 4)], 0)
    assert repair(["I", "I", "O"], "iob2") == (["B", "I", "O"], 1)


def test_nothing_to_count_gives_zeros():
    names = ["precision", "recall", "f1", "macro_f1", "token_accuracy"]
    assert entity_scores([], []) == dict.fromkeys(names, 0.0)
    assert type_scores([["O"]], [["O"]]) == {}
    outside = entity_scores([["O", "O"], []], [["O", "O"], []])
    assert outside == {**dict.fromkeys(names, 0.0), "token_accuracy": 1.0}
    assert read_spans([]) == ([], 0)
    perfect = entity_scores([["B-PER", "I-PER"]], [["B-PER", "I-PER"]])
    assert perfect == dict.fromkeys(names, 1.0)


def test_mistakes_are_named():
    with pytest.raises(DataError, match="'E-PER' at token 1 is no tag of the scheme 'iob2'"):
        read_spans(["O", "E-PER"], "iob2")
    with pytest.raises(DataError, match=r"has O and B-, I-, L-, U- with a type"):
        repair(["NOUN"], "bilou")
    with pytest.raises(ConfigError, match=r"no tagging scheme 'bio'.*Schemes: iob2, iob1"):
        read_spans(["O"], "bio")
    with pytest.raises(ValueError, match="2 known tags but 1 predicted"):
        entity_scores([["O", "O"]], [["O"]])
    with pytest.raises(ValueError, match="longer than argument 1|shorter than argument 1"):
        entity_scores([["O"]], [])
