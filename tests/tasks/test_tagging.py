"""Tagging: refusals, valid sequences, scores against plain counting, and a training."""

import itertools
import json
import math
import random
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import inlay
from inlay.data.given import given_examples
from inlay.data.rows import Dataset, Example
from inlay.errors import DataError
from inlay.evaluation.predictor import load_predictor
from inlay.evaluation.scoring import score_rows
from inlay.store.bases import load_base, resolve_base
from inlay.tasks.base import Encoded
from inlay.tasks.registry import task_from_settings
from inlay.tasks.tagging import Tagging, TokenHead
from tests import tiny

LABELS = ("O", "B-card", "I-card", "B-loan", "I-loan")
TASK = Tagging(labels=LABELS, scheme="iob2")
PLAIN = Tagging(labels=("NOUN", "VERB", "DET"), scheme="plain")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Model and tokenizer."""
    return load_base(resolve_base(str(tiny.shared_base(tmp_path_factory.getbasetemp()))))


def example(tokens, tags=None, line=2):
    parts = {"tokens": tokens.split()} | ({} if tags is None else {"tags": tags.split()})
    return Example(tokens, None, tags or "", "f.jsonl", line, parts)


def dataset(train, test=()):
    splits = {"train": list(train), "validation": [], "test": list(test)}
    return Dataset(
        name="d", splits=splits, labels=[], columns={}, files=[], rejected=[], notes=[],
        made_splits=False, form="tagged",
    )  # fmt: skip


def windows(*logs, tags=None):
    """Return a row for each text, whose words are its tokens, with given log-probabilities."""
    rows = [
        Encoded(
            {"input_ids": [1] * len(own)}, None, number,
            {
                "places": {word: word for word in range(len(own))}, "num_words": len(own),
                "tags": tags[number].split() if tags else None,
            },
        )
        for number, own in enumerate(logs)
    ]  # fmt: skip
    return list(logs), rows


def test_data_without_anything_to_learn_are_refused():
    with pytest.raises(DataError, match="every tag in train of 'd' is 'O': nothing to learn"):
        Tagging.for_dataset(dataset([example("a b", "O O")]))
    with pytest.raises(DataError, match="every tag in train of 'd' is 'NOUN'"):
        Tagging.for_dataset(dataset([example("a b", "NOUN NOUN")]))


def test_a_row_in_another_scheme_is_refused_by_name():
    with pytest.raises(DataError, match=r"f\.jsonl line 2: tag 'E-card' of token 1"):
        TASK.encode([example("a b", "B-card E-card")], None, max_length=8)


def test_a_type_that_was_not_learnt_is_refused_by_name():
    rows = [example("a", "B-card"), example("a b", "B-song I-song", line=9)]
    with pytest.raises(DataError, match=r"'B-song' occurs in t\.jsonl \(1 rows, first f\.jsonl l"):
        TASK.check_known(rows, "t.jsonl")
    TASK.check_known(rows[:1], "t.jsonl")
    with pytest.raises(DataError, match="'X'"):
        PLAIN.check_known([example("a b", "NOUN X")], "t.jsonl")


def test_labels_are_all_iob2_tags_of_the_types_of_train():
    made = Tagging.for_dataset(dataset([example("a b c", "U-y B-x L-x")]))
    assert made.labels == ("O", "B-x", "I-x", "B-y", "I-y")
    assert (made.scheme, made.headline.name, made.better) == ("bilou", "entity_f1", "entity_f1")
    assert made.tags_of(example("a b c", "U-y B-x L-x")) == ["B-y", "B-x", "I-x"]
    bare = Tagging.for_dataset(dataset([example("a b", "B O")]))
    assert bare.labels == ("O", "B", "I")


def test_plain_tags_come_commonest_first():
    made = Tagging.for_dataset(dataset([example("a b c", "DET NOUN NOUN")]))
    assert made.labels == ("NOUN", "DET")
    assert (made.headline.name, made.better) == ("accuracy", "accuracy")


def test_repairs_are_noted_once():
    data = dataset([example("a b", "O I-x"), example("a b", "B-x I-x")], [example("a", "I-x")])
    Tagging.for_dataset(data)
    Tagging.for_dataset(data)
    assert len(data.notes) == 1
    assert data.notes[0].startswith("2 tags of 5 repaired to valid IOB2")


def test_settings_build_the_task_again():
    settings = json.loads(json.dumps(TASK.settings()))
    assert task_from_settings(settings, "adapter.json") == TASK


def test_a_fresh_head_begins_at_the_shares_of_train():
    made = Tagging.for_dataset(dataset([example("a b c", "O B-x L-x"), example("a b", "O O")]))
    assert made.labels == ("O", "B-x", "I-x")
    assert made.shares == tuple(round(n / 6.5, 6) for n in (3.5, 1.5, 1.5))
    head = made.build_head(5).eval()
    given = head.out.bias.detach().softmax(0)
    torch.testing.assert_close(given, torch.tensor(made.shares), atol=1e-6, rtol=0)
    assert TASK.shares == () != made.shares
    assert TASK.build_head(5).out.bias.detach().abs().max() < 0.5


def test_head_is_one_linear_map_in_float32():
    head = TokenHead(width=5, num_outputs=3, dropout=0.4).eval()
    hidden = torch.randn(2, 4, 5).bfloat16()
    expected = hidden.float() @ head.out.weight.T + head.out.bias
    assert torch.allclose(head(hidden), expected, atol=1e-6)
    assert not torch.equal(head.train()(hidden), expected)


def test_targets_stand_at_the_first_token_of_each_word(base):
    rows = [example("my cardzx loan", "O B-card B-loan"), example("card", "B-card")]
    found = TASK.encode(rows, base[1], max_length=16)
    assert base[1].convert_ids_to_tokens(found[0].features["input_ids"]) == [
        "[CLS]", "my", "card", "##z", "##x", "loan", "[SEP]"
    ]  # fmt: skip
    assert found[0].target == [-100, 0, 1, -100, -100, 3, -100]
    batch = TASK.collate(found, base[1])
    assert batch.targets[1].tolist() == [-100, 1, -100, -100, -100, -100, -100]
    assert batch.inputs["attention_mask"][1].tolist() == [1, 1, 1, 0, 0, 0, 0]
    assert batch.inputs["input_ids"][1, 3:].tolist() == [base[1].pad_token_id] * 4
    assert TASK.encode([example("card")], base[1], max_length=16)[0].target is None


def test_windows_are_mentioned(base):
    rows = TASK.encode([example("card " * 30), example("card")], base[1], max_length=12)
    assert TASK.reading_notes(rows, max_length=12) == [
        "longer than max_length 12: 1 of 2 texts, read in windows that overlap, nothing is cut"
    ]
    assert TASK.reading_notes(rows[-1:], max_length=12) == []


def test_loss_is_the_mean_over_words(base):
    rows = [example("my cardzx loan", "O B-card B-loan"), example("card", "B-card")]
    batch = TASK.collate(TASK.encode(rows, base[1], max_length=16), base[1])
    scores = torch.randn(*batch.targets.shape, 5)
    logs = scores.double().log_softmax(-1)
    words = [(0, 1, 0), (0, 2, 1), (0, 5, 3), (1, 1, 1)]
    expected = -sum(float(logs[word]) for word in words) / 4
    assert float(TASK.loss(scores, batch, label_smoothing=0.0)) == pytest.approx(expected, rel=1e-5)
    smooth = -sum(0.8 * float(logs[w]) + 0.2 * float(logs[w[:2]].mean()) for w in words) / 4
    assert float(TASK.loss(scores, batch, label_smoothing=0.2)) == pytest.approx(smooth, rel=1e-5)


def test_a_batch_without_any_word_has_loss_zero_and_no_nan(base):
    batch = TASK.collate(TASK.encode([example("\u200b", "B-card")], base[1], max_length=8), base[1])
    scores = torch.randn(*batch.targets.shape, 5, requires_grad=True)
    loss = TASK.loss(scores, batch, label_smoothing=0.1)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(scores.grad, torch.zeros_like(scores))


def is_valid(tags):
    before = ["O", *tags]
    return all(
        not tag.startswith("I-") or (last != "O" and last[2:] == tag[2:])
        for last, tag in itertools.pairwise(before)
    )


@pytest.mark.parametrize("seed", range(6))
def test_answers_are_the_most_probable_valid_tags(seed):
    generator = torch.Generator().manual_seed(seed)
    logs = (3 * torch.randn(4, 5, generator=generator)).log_softmax(-1)
    best = max(
        (path for path in itertools.product(range(5), repeat=4)
         if is_valid([LABELS[number] for number in path])),
        key=lambda path: sum(float(logs[at, number]) for at, number in enumerate(path)),
    )  # fmt: skip
    (answer,) = TASK.decode(*windows(logs), [example("a b c d")])
    assert answer.tags == tuple(LABELS[number] for number in best)
    likely = [math.exp(float(logs[at, number])) for at, number in enumerate(best)]
    assert answer.confidence == pytest.approx(min(likely), rel=1e-5)


def test_entities_without_a_type_are_valid_too():
    task = Tagging(labels=("O", "B", "I"), scheme="iob2")
    logs = torch.tensor([[-1.0, -2, -0.1], [-3, -4, -0.01], [0, -5, -6]])
    (answer,) = task.decode(*windows(logs), [example("a b c")])
    assert answer.tags == ("B", "I", "O")
    assert answer.spans == (("", 0, 2),)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [("O", "O", "O"), ("B-card", "I-card", "I-card"), ("B-card", "O", "O")],
)
def test_a_word_without_a_token_gets_what_fits_its_neighbours(before, after, expected):
    sure = torch.full((2, 5), -9.0)
    sure[0, LABELS.index(before)] = sure[1, LABELS.index(after)] = -0.001
    features = {"input_ids": [1, 1]}
    row = Encoded(features, None, 0, {"places": {0: 0, 2: 1}, "num_words": 3, "tags": None})
    (answer,) = TASK.decode([sure], [row], [example("a \u200b c")])
    assert answer.tags == (before, expected, after)
    assert answer.confidence == pytest.approx(1 / 5, abs=1e-3)


def test_texts_without_any_token_are_answered(base):
    rows = given_examples([["\u200b", "\u200b"], "my card, please"], "tagged")
    head = TASK.build_head(32)
    encoded = TASK.encode(rows, base[1], max_length=16)
    kept = score_rows(TASK, base[0], head, encoded, base[1])
    answers = TASK.decode(kept, encoded, rows)
    assert answers[0].tags == ("O", "O")
    assert answers[1].tokens == ("my", "card", ",", "please")
    assert all(
        answers[1].text[found["start"] : found["end"]] == found["text"]
        for found in answers[1].entities()
    )


def test_padding_changes_no_answer(base):
    rows = [example("my card"), example("where is the loan of my lender please zxzx")]
    head = TASK.build_head(32).eval()
    encoded = TASK.encode(rows, base[1], max_length=16)
    both = score_rows(TASK, base[0], head, encoded, base[1], batch_size=2)
    each = score_rows(TASK, base[0], head, encoded, base[1], batch_size=1)
    assert [own.shape for own in both] == [(2, 5), (9, 5)]
    for own, other in zip(both, each, strict=True):
        assert torch.allclose(own, other, atol=1e-5)


def test_metrics_are_those_of_plain_counting():
    known = ["B-card I-card O B-loan", "O B-card"]
    logs = [torch.full((4, 5), -9.0), torch.full((2, 5), -9.0)]
    given = [["B-card", "I-card", "O", "B-card"], ["B-loan", "B-card"]]
    for own, tags in zip(logs, given, strict=True):
        for at, tag in enumerate(tags):
            own[at, LABELS.index(tag)] = -0.5
    found = TASK.metrics(*windows(*logs, tags=known))
    # Right: card 0-2 and card 1-2. Answered: four. Known: three.
    assert found["entity_f1"] == pytest.approx(2 * 2 / (4 + 3))
    assert found["token_accuracy"] == pytest.approx(4 / 6)
    assert found["loss"] == pytest.approx((4 * 0.5 + 2 * 9) / 6)


def answer_of(task, row, tags):
    return task.baselines([example(row.text, tags)], [row])["commonest_tag_of_each_word"][0]


def test_report_has_every_type_and_the_weakest():
    rows = [example("a b c", "B-card I-card B-loan"), example("d e", "I-loan O")]
    answers = [
        answer_of(TASK, rows[0], "B-card I-card O"), answer_of(TASK, rows[1], "B-loan B-card")
    ]  # fmt: skip
    counts = [TASK.counts(row, answer) for row, answer in zip(rows, answers, strict=True)]
    assert counts == [(1, 1, 2), (1, 2, 1)]
    report = TASK.report(rows, answers)
    assert report["types"]["loan"] == {
        "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2
    }  # fmt: skip
    assert report["types"]["card"] == {
        "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1
    }  # fmt: skip
    assert report["weakest_label"] == "card"
    assert report["token_accuracy"] == pytest.approx(3 / 5)
    assert "f1" not in report


def test_plain_report_counts_tags():
    rows = [example("a b c", "DET NOUN VERB"), example("a b", "DET NOUN")]
    answers = [
        answer_of(PLAIN, rows[0], "DET NOUN NOUN"), answer_of(PLAIN, rows[1], "DET NOUN")
    ]  # fmt: skip
    assert [PLAIN.counts(r, a) for r, a in zip(rows, answers, strict=True)] == [(2, 3), (2, 2)]
    report = PLAIN.report(rows, answers)
    assert report["whole_texts_right"] == 0.5
    assert report["types"]["NOUN"]["precision"] == pytest.approx(2 / 3)
    assert (report["weakest_label"], report["weakest_f1"]) == ("VERB", 0.0)


def test_baselines_give_valid_entities_and_the_commonest_tag_to_new_words():
    train = [example("credit card x", "B-card I-card O"), example("Card loan", "I-card B-loan")]
    found = TASK.baselines(train, [example("new CARD loan")])
    assert list(found) == ["commonest_tag_of_each_word"]
    assert found["commonest_tag_of_each_word"][0].tags == ("O", "B-card", "B-loan")
    plain = PLAIN.baselines([example("the dog", "DET NOUN")], [example("the cat")])
    assert plain["commonest_tag_of_each_word"][0].tags == ("DET", "NOUN")
    assert plain["commonest_tag_of_all"][0].tags == ("NOUN", "NOUN")
    assert plain["commonest_tag_of_all"][0].spans is None, "parts of speech mark no entities"


def test_scores_run_the_head_on_every_position(base):
    encoded = TASK.encode([example("my card", "O B-card")], base[1], max_length=8)
    batch = TASK.collate(encoded, base[1])
    head = TASK.build_head(32).eval()
    scores = TASK.scores(base[0], head, batch)
    hidden = base[0](**batch.inputs).last_hidden_state
    assert torch.allclose(scores, F.linear(hidden, head.out.weight, head.out.bias), atol=1e-6)
    with pytest.raises(ValueError, match="tagging has a head"):
        TASK.scores(base[0], None, batch)


def sentences(number, seed):
    """Make texts in which two words of a topic are an entity of it, tagged as IOB1."""
    generator = random.Random(seed)
    for _ in range(number):
        kind = generator.choice(sorted(tiny.TOPICS))
        words = generator.sample(tiny.FILLERS, generator.randint(2, 8))
        at = generator.randint(0, len(words))
        topic = tiny.TOPICS[kind]
        tokens = [
            *words[:at],
            generator.choice(topic[:4]),
            generator.choice(topic[4:]),
            *words[at:],
        ]
        tags = ["O"] * at + [f"I-{kind}"] * 2 + ["O"] * (len(words) - at)
        yield tokens, tags


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on column files, some of whose texts are longer than a window."""
    folder = tmp_path_factory.mktemp("tagging")
    data = folder / "data"
    data.mkdir()
    for split, number in (("train", 240), ("validation", 40), ("test", 40)):
        blocks = (
            "".join(f"{token}\t{tag}\n" for token, tag in zip(tokens, tags, strict=True))
            for tokens, tags in sentences(number, len(split))
        )
        (data / f"{split}.conll").write_text("\n".join(blocks))
    listener = tiny.Listener()
    settings = tiny.SETTINGS | {"epochs": 5, "max_length": 10}
    made = inlay.train(
        data, base=str(tiny.shared_base(tmp_path_factory.getbasetemp())), reporter=listener,
        out=str(folder / "run"), **settings,
    )  # fmt: skip
    return SimpleNamespace(folder=folder / "run", data=data, listener=listener, run=made)


def test_a_training_learns_and_says_how_texts_were_read(run):
    (plan,) = run.listener.plans
    assert any(note.startswith("tags are IOB1") for note in plan.notes)
    assert any("read in windows that overlap" in note for note in plan.notes)
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert metrics["headline"] == {"name": "entity_f1", "form": "f1"}
    assert metrics["test"]["entity_f1"] > 0.7
    assert set(metrics["test"]["types"]) == set(tiny.TOPICS)
    assert metrics["reload_check"]["identical"] == metrics["reload_check"]["rows"] == 40


def test_a_saved_adapter_answers_raw_texts_and_tokens(run):
    predictor = load_predictor(run.folder)
    text = "please help,  my mortgage lender was again"
    raw, split = predictor.predict([text, ["my", "mortgage", "lender"]])
    assert raw.text == text
    assert split.tokens == ("my", "mortgage", "lender")
    loans = [found for found in raw.entities() if found["type"] == "loan"]
    assert any(text[found["start"] : found["end"]] == found["text"] for found in loans)
    with pytest.raises(DataError, match="input 1: text is empty"):
        predictor.predict(["x", " "])


def test_words_of_long_texts_are_answered_from_the_middle_of_windows(run, monkeypatch):
    predictor = load_predictor(run.folder)
    tokens, _ = next(sentences(1, 3))
    words = [*tokens, *tiny.FILLERS[:12], *tokens]
    (answer,) = predictor.predict([words])
    assert len(answer.tags) == len(words)
    seen = []
    real = nn.Module.__call__

    def spy(module, *given, **named):
        if module is predictor.model:
            seen.append(named["input_ids"].shape)
        return real(module, *given, **named)

    monkeypatch.setattr(nn.Module, "__call__", spy)
    predictor.predict([words])
    assert all(shape[1] <= 10 for shape in seen)
    assert sum(shape[0] for shape in seen) > 2
