"""Tags for words: places of words, windows, valid answers, metrics and honest refusals."""

import pytest
import torch
from torch.nn import functional as F

from inlay.data.rows import Dataset, Example
from inlay.errors import ConfigError, DataError
from inlay.store.bases import load_base, resolve_base
from inlay.tasks.tagging import Tagging, Tags, TokenHead
from tests import tiny

LABELS = ("O", "B-city", "I-city", "B-day", "I-day")
TASK = Tagging(labels=LABELS, scheme="iob2")
PLAIN = Tagging(labels=("NOUN", "VERB", "DET"), scheme="plain")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return load_base(resolve_base(str(tiny.shared_base(tmp_path_factory.getbasetemp()))))


def row(tokens, tags=None):
    parts = {"tokens": list(tokens)} | ({} if tags is None else {"tags": list(tags)})
    return Example(" ".join(tokens), None, " ".join(tags or ()), "f", 1, parts)


def dataset(*rows):
    return Dataset(
        name="d", splits={"train": list(rows), "validation": [], "test": []}, labels=[],
        columns={}, files=[], rejected=[], notes=[], made_splits=False, form="tagged",
    )  # fmt: skip


def encode(base, rows, max_length=64, task=TASK):
    return task.encode(rows, base[1], max_length=max_length)


@pytest.mark.parametrize(
    ("tags", "labels", "scheme"),
    [
        (["B-city", "I-city", "O"], ("O", "B-city", "I-city"), "iob2"),
        (["B-city", "L-city", "U-day"], ("O", "B-city", "I-city", "B-day", "I-day"), "bilou"),
        (["NOUN", "VERB", "NOUN"], ("NOUN", "VERB"), "plain"),
    ],
)
def test_labels_and_scheme_come_from_train(tags, labels, scheme):
    task = Tagging.for_dataset(dataset(row("abc", tags)))
    assert (task.labels, task.scheme) == (labels, scheme)
    assert task.headline.name == ("accuracy" if scheme == "plain" else "entity_f1")


def test_repaired_tags_are_counted_in_a_note():
    data = dataset(row("abc", ["O", "I-city", "O"]), row("abc", ["B-city", "I-city", "O"]))
    task = Tagging.for_dataset(data)
    assert data.notes == ["1 tags repaired: iob2 writes them in another way."]
    assert task.tags_of(data.splits["train"][0]) == ["O", "B-city", "O"]


def test_only_the_first_token_of_a_word_is_learnt(base):
    tokens = ["where", "unbelievableness", "my", "mortgage"]
    (found,) = encode(base, [row(tokens, ["O", "B-city", "I-city", "B-day"])])
    ids = base[1](tokens, is_split_into_words=True).word_ids()
    expected = [-100] * len(ids)
    for word, label in enumerate([0, 1, 2, 3]):
        expected[ids.index(word)] = label
    assert found.target == expected
    assert len(ids) > 6, "one of the words has several tokens"


def test_a_long_text_is_read_in_windows_that_lose_no_word(base):
    tokens = [f"card{n}" for n in range(30)]
    tags = ["B-city" if n % 3 else "O" for n in range(30)]
    found = encode(base, [row(tokens, tags), row(["my", "card"], ["O", "O"])], max_length=20)
    own = [window for window in found if window.row == 0]
    assert len(own) > 3
    assert {word for window in own for word in window.extra["places"]} == set(range(30))
    assert max(window.length for window in found) <= 20
    for window in own:
        for word, position in window.extra["places"].items():
            assert window.target[position] == LABELS.index(tags[word])


def test_padding_does_not_change_scores_and_the_loss_is_by_hand(base):
    rows = [row(["my", "card"], ["O", "B-day"]), row(["a", "loan", "for", "you"], ["O"] * 4)]
    encoded = encode(base, rows)
    head = TASK.build_head(32).eval()
    with torch.no_grad():
        batch = TASK.collate(encoded, base[1])
        together = TASK.scores(base[0], head, batch)
        kept = TASK.keep(together, batch, encoded)
        for number, one in enumerate(encoded):
            own = TASK.collate([one], base[1])
            alone = TASK.scores(base[0], head, own)
            assert torch.allclose(TASK.keep(alone, own, [one])[0], kept[number], atol=1e-5)
    known = [[0, 3], [0, 0, 0, 0]]
    logs = torch.cat(kept)
    expected = F.nll_loss(logs, torch.tensor([*known[0], *known[1]]))
    assert float(TASK.loss(together, batch, label_smoothing=0.0)) == pytest.approx(
        float(expected), rel=1e-5
    )
    assert TASK.metrics(kept, encoded)["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_head_is_float32_on_bfloat16():
    head = TokenHead(width=5, num_outputs=3, dropout=0.0)
    assert head(torch.randn(2, 4, 5).bfloat16()).dtype == torch.float32
    assert head(torch.randn(2, 4, 5)).shape == (2, 4, 3)


def logs_of(*tags, sure=3.0):
    """Scores that are for the given tags."""
    scores = torch.zeros(len(tags), len(LABELS))
    for step, tag in enumerate(tags):
        scores[step, LABELS.index(tag)] = sure
    return scores.log_softmax(-1)


def answer(base, logs, tokens):
    encoded = encode(base, [row(tokens)])
    (found,) = TASK.decode([logs], encoded, [row(tokens)])
    return found


def test_answers_are_valid_sequences(base):
    tokens = ["my", "card", "is", "lost"]
    found = answer(base, logs_of("O", "I-city", "I-city", "O"), tokens)
    assert found.tags in (("O", "B-city", "I-city", "O"),)
    assert found.spans == (("city", 1, 3),)
    assert found.record(1)["entities"] == [
        {"type": "city", "text": "card is", "start": 1, "end": 3}
    ]
    assert found.line(1) == "card is (city)"
    assert found.confidence == pytest.approx(
        float(logs_of("O", "I-city", "I-city", "O")[1, 1].exp())
    )


def test_the_screen_says_when_nothing_is_found(base):
    assert answer(base, logs_of("O", "O"), ["my", "card"]).line(1) == "(nothing found)"
    plain = Tags(("a", "b"), ("DET", "NOUN"), (), 0.9)
    assert plain.line(1) == "a/DET b/NOUN"
    assert plain.columns(1)["predicted_tags"] == ["DET", "NOUN"]


def test_a_word_without_tokens_is_answered_from_its_neighbours(base):
    tokens = ["my", "\u200b", "card"]
    encoded = encode(base, [row(tokens)])
    assert list(encoded[0].extra["places"]) in ([0, 2], [0, 1, 2])
    number = len(encoded[0].extra["places"])
    (found,) = TASK.decode([logs_of(*["O"] * number)], encoded, [row(tokens)])
    assert len(found.tags) == 3


def test_counts_are_strict():
    known = row("abcd", ["B-city", "I-city", "O", "B-day"])
    given = Tags(tuple("abcd"), ("B-city", "O", "O", "B-day"), (), 1.0)
    assert TASK.counts(known, given) == (1.0, 2.0, 2.0)
    plain = Tags(tuple("ab"), ("NOUN", "DET"), (), 1.0)
    assert PLAIN.counts(row("ab", ["NOUN", "VERB"]), plain) == (1.0, 2.0)


def test_report_names_the_weakest_type():
    known = [row("abc", ["B-city", "O", "B-day"])] * 2
    given = [Tags(tuple("abc"), ("B-city", "O", "O"), (), 1.0)] * 2
    found = TASK.report(known, given)
    assert (found["precision"], found["recall"]) == (1.0, 0.5)
    assert (found["weakest_label"], found["weakest_f1"]) == ("day", 0.0)
    assert found["types"]["city"]["f1"] == 1.0
    assert found["token_accuracy"] == pytest.approx(2 / 3)
    assert PLAIN.report([row("ab", ["NOUN", "VERB"])], [Tags(("a", "b"), ("NOUN", "VERB"), (), 1)])


def test_the_baseline_is_each_words_commonest_tag():
    train = [row(["Rome", "x"], ["B-city", "O"]), row(["rome", "y"], ["B-city", "O"])]
    found = TASK.baselines(train, [row(["ROME", "new"], ["O", "O"])])
    assert found["each_words_commonest_tag"][0].tags == ("B-city", "O")
    assert set(PLAIN.baselines([row("a", ["VERB"])], [row("b", ["VERB"])])) == {
        "each_words_commonest_tag", "commonest_tag"
    }  # fmt: skip


def test_a_tokenizer_that_knows_no_words_is_refused(base):
    class Slow:
        is_fast = False

    with pytest.raises(ConfigError, match="Slow does not tell which word a token belongs to"):
        TASK.encode([row(["a"])], Slow(), max_length=9)


def test_tags_that_are_not_known_are_refused():
    with pytest.raises(DataError, match=r"label 'B-person' occurs in x\.jsonl"):
        TASK.check_known([row("a", ["B-person"])], "x.jsonl")


def test_it_learns_and_answers_raw_text(tmp_path, base):
    import inlay
    from tests.data.forms.files import write_jsonl

    words = ["card", "loan", "travel", "please", "my"]
    rows = [
        {
            "tokens": [words[n % 5], f"in{n}", words[(n * 3) % 5]],
            "tags": ["B-city" if words[n % 5] == "card" else "O", "O",
                     "B-day" if words[(n * 3) % 5] == "loan" else "O"],
        }
        for n in range(150)
    ]  # fmt: skip
    run = inlay.train(
        write_jsonl(tmp_path / "t.jsonl", rows),
        base=base[0].config._name_or_path, epochs=20, out=str(tmp_path / "run"),
        learning_rate=2e-2, precision="float32", patience=20,
    )  # fmt: skip
    assert run.metrics["test"]["metric"] == "entity_f1"
    assert run.metrics["test"]["entity_f1"] > 0.5
    (found,) = run.predict(["card in7 loan"])
    assert found.tokens == ("card", "in7", "loan")
    assert run.metrics["reload_check"]["identical"] == run.metrics["reload_check"]["rows"]
