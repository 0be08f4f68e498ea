"""Joint learning: every member as it is alone, mixed in batches of one task each."""

import json

import pytest
import torch

from inlay.data.sources import read_dataset
from inlay.errors import AdapterError, ConfigError
from inlay.store.bases import load_base, resolve_base
from inlay.tasks.joint import Joint
from inlay.tasks.registry import task_for, task_from_settings
from inlay.training.batches import batch_order
from tests import tiny

FILE = """
sampling: round-robin
tasks:
  topics: {data: topics.csv, weight: 0.5}
  slots: {data: slots.jsonl, task: tagging, weight: 3}
  pick: {data: pick.jsonl, task: multiple-choice}
"""
TOPICS = {"task": "text-classification", "labels": ["a", "b"]}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Model and tokenizer."""
    model, tokenizer = load_base(
        resolve_base(str(tiny.shared_base(tmp_path_factory.getbasetemp())))
    )
    return model.eval(), tokenizer


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Three data sets of one file."""
    folder = tmp_path_factory.mktemp("joint")
    tiny.write_csv(folder / "topics.csv", tiny.rows(60))
    slots, picks = [], []
    for text, label in tiny.rows(45, seed=4):
        tags = ["B-x" if word in tiny.TOPICS[label] else "O" for word in text.split()]
        slots.append({"tokens": text.split(), "tags": tags})
    for number, (text, label) in enumerate(tiny.rows(37, seed=6)):
        topics = list(tiny.TOPICS)[: 2 + number % 2]
        index = topics.index(label) if label in topics else 0
        picks.append({"question": text, "choices": topics, "label": index})
    for name, rows in (("slots", slots), ("pick", picks)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    (folder / "all.yaml").write_text(FILE, encoding="utf-8")
    return read_dataset(str(folder / "all.yaml"), task="joint")


@pytest.fixture(scope="module")
def task(dataset):
    """The three tasks as one."""
    return Joint.for_dataset(dataset)


@pytest.fixture(scope="module")
def head(task):
    """Random heads."""
    torch.manual_seed(3)
    head = task.build_head(32).eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_()
    return head


@pytest.fixture(scope="module")
def mixed(dataset):
    """The test rows of all tasks, mixed."""
    rows = dataset.splits["test"]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1)).tolist()
    return [rows[place] for place in order]


def number(example):
    return example.parts["joint"]


@torch.no_grad()
def kept_of(task, base, head, rows, size=4):
    """Run rows in batches of one kind; gives what is kept, in the order of the rows."""
    model, tokenizer = base
    kept = [None] * len(rows)
    kinds = sorted({task.kind_of(row) for row in rows})
    for kind in kinds:
        places = [place for place, row in enumerate(rows) if task.kind_of(row) == kind]
        for start in range(0, len(places), size):
            chosen = places[start : start + size]
            own = [rows[place] for place in chosen]
            batch = task.collate(own, tokenizer)
            found = task.keep(task.scores(model, head, batch), batch, own)
            for place, tensor in zip(chosen, found, strict=True):
                kept[place] = tensor
    return kept


def alone(task, base, head, mixed):
    """Each member on its own rows only: rows, what is kept, and the examples."""
    for kind, member in enumerate(task.tasks):
        examples = [row for row in mixed if number(row) == kind]
        rows = member.encode(examples, base[1], max_length=24)
        yield member, rows, kept_of(member, base, head[kind], rows), examples


def test_members_are_what_each_data_set_alone_would_give(task, dataset):
    members = dataset.members.datasets.values()
    expected = [
        task_for(name, one)
        for name, one in zip((None, "tagging", "multiple-choice"), members, strict=True)
    ]
    assert task.names == ("topics", "slots", "pick")
    assert [one.settings() for one in task.tasks] == [one.settings() for one in expected]
    assert task.weights == (0.5, 3.0, 1.0)


def test_batches_hold_one_task_and_are_those_of_its_member(task, base, mixed):
    rows = task.encode(mixed, base[1], max_length=24)
    assert [row.row for row in rows] == list(range(len(mixed)))
    kinds = [task.kind_of(row) for row in rows]
    assert kinds == [number(example) for example in mixed]
    order = batch_order([row.length for row in rows], batch_size=4, seed=1, epoch=0, kinds=kinds)
    seen = set()
    for places in order:
        (kind,) = {kinds[place] for place in places}
        own = [rows[place] for place in places]
        batch, expected = task.collate(own, base[1]), task.tasks[kind].collate(own, base[1])
        assert batch.kind == kind
        assert batch.inputs.keys() == expected.inputs.keys()
        assert all(torch.equal(batch.inputs[key], expected.inputs[key]) for key in batch.inputs)
        assert torch.equal(batch.targets, expected.targets)
        seen.add(kind)
    assert seen == {0, 1, 2}


def test_answers_and_metrics_are_those_of_each_member_alone(task, base, head, mixed):
    rows = task.encode(mixed, base[1], max_length=24)
    kept = kept_of(task, base, head, rows)
    answers = task.decode(kept, rows, mixed)
    scores = task.metrics(kept, rows)
    better, losses = [], []
    for kind, (member, own_rows, own_kept, own) in enumerate(alone(task, base, head, mixed)):
        expected = member.decode(own_kept, own_rows, own)
        found = [answer for answer, row in zip(answers, mixed, strict=True) if number(row) == kind]
        assert [one.answer for one in found] == [one.answer for one in expected]
        confidences = [one.confidence for one in expected]
        assert [one.confidence for one in found] == pytest.approx(confidences, abs=1e-5)
        single = member.metrics(own_kept, own_rows)
        assert scores[task.names[kind]] == pytest.approx(single[member.better], abs=1e-5)
        better.append(single[member.better])
        losses.append(single["loss"])
    assert scores["mean"] == pytest.approx(sum(better) / 3, abs=1e-5)
    assert scores["loss"] == pytest.approx(sum(losses) / 3, abs=1e-5)
    assert len(set(losses)) == 3  # unlike values, so that none can stand for another


def test_loss_is_the_members_times_its_weight(task, base, head, mixed):
    for kind, weight in enumerate((0.5, 3.0, 1.0)):
        own = [row for row in mixed if number(row) == kind][:3]
        rows = task.encode(own, base[1], max_length=24)
        batch = task.collate(rows, base[1])
        scores = task.scores(base[0], head, batch)
        member = task.tasks[kind]
        expected = member.loss(scores, batch, label_smoothing=0.1) * weight
        torch.testing.assert_close(task.loss(scores, batch, label_smoothing=0.1), expected)
        assert torch.equal(scores, member.scores(base[0], head[kind], batch))


def test_report_has_each_members_own_and_rows_are_counted_by_their_task(task, base, head, mixed):
    rows = task.encode(mixed, base[1], max_length=24)
    answers = task.decode(kept_of(task, base, head, rows), rows, mixed)
    report = task.report(mixed, answers)
    for kind, (name, member) in enumerate(zip(task.names, task.tasks, strict=True)):
        pairs = [p for p in zip(mixed, answers, strict=True) if number(p[0]) == kind]
        own = member.full_report(*map(list, zip(*pairs, strict=True)))
        assert report["tasks"][name] == own
        assert report[f"{name}_{own['metric']}"] == own[own["metric"]]
        for example, answer in pairs:
            value = member.headline.row_value(member.counts(example, answer))
            assert task.counts(example, answer) == (value, 1.0)


def test_baseline_is_the_best_of_each_member(task, dataset, mixed):
    found = task.baselines(dataset.splits["train"], mixed)
    assert list(found) == ["best_of_each_task"]
    for kind, member in enumerate(task.tasks):
        own = [row for row in mixed if number(row) == kind]
        train = [row for row in dataset.splits["train"] if number(row) == kind]
        answers = [
            one
            for one, row in zip(found["best_of_each_task"], mixed, strict=True)
            if number(row) == kind
        ]

        def value(given, member=member, own=own):
            counts = [member.counts(row, one) for row, one in zip(own, given, strict=True)]
            return member.headline.value(counts)

        assert value(answers) == max(map(value, member.baselines(train, own).values()))


@pytest.mark.parametrize(
    ("sampling", "temperature", "expected"),
    [
        ("proportional", 2.0, [100, 400]),
        ("temperature", 1.0, [100, 400]),
        ("temperature", 2.0, [167, 333]),  # 10 : 20 of 500
        ("round-robin", 2.0, [250, 250]),
    ],
)
def test_shares_of_an_epoch_by_hand(sampling, temperature, expected):
    task = Joint(
        names=("a", "b"), members=(TOPICS, TOPICS), weights=(1, 1), sampling=sampling,
        temperature=temperature,
    )  # fmt: skip
    assert task.rows_per_epoch([100, 400]) == expected


def test_settings_build_the_same_task_after_json(task):
    again = task_from_settings(json.loads(json.dumps(task.settings())), "file")
    assert again.settings() == task.settings()
    assert again.rows_per_epoch([3, 9]) == [6, 6]


def test_calibration_is_each_members_own(task, base, head, mixed):
    rows = task.encode(mixed, base[1], max_length=24)
    found = task.calibrated(kept_of(task, base, head, rows), rows)
    assert (found.names, found.weights, found.sampling) == (task.names, task.weights, task.sampling)
    for one, (member, own_rows, kept, _) in zip(
        found.tasks, alone(task, base, head, mixed), strict=True
    ):
        expected = member.calibrated(kept, own_rows).settings()
        assert one.settings().keys() == expected.keys()
        for key, value in expected.items():
            is_number = isinstance(value, float)
            assert one.settings()[key] == (pytest.approx(value, 1e-3) if is_number else value)


def test_notes_say_which_task_they_are_of(task, base, mixed):
    short = task.encode(mixed, base[1], max_length=6)
    notes = task.reading_notes(short, max_length=6)
    assert any(note.startswith("topics: ") and "as long as 6 tokens" in note for note in notes)
    long = task.encode(mixed, base[1], max_length=64)
    assert not any(note.startswith("topics:") for note in task.reading_notes(long, max_length=64))


def test_a_task_has_a_number_and_an_unknown_one_is_refused(task):
    assert [task.number_of(name) for name in task.names] == [0, 1, 2]
    with pytest.raises(AdapterError, match="no task 'slot'; .*topics, slots, pick.*'slots'"):
        task.number_of("slot")


def test_a_task_without_a_head_of_its_own_is_refused():
    with pytest.raises(ConfigError, match="'text-generation' needs its base with a language"):
        Joint(names=("a", "b"), members=(TOPICS, {"task": "text-generation"}), weights=(1, 1))


def test_data_of_one_task_are_refused(dataset):
    with pytest.raises(ConfigError, match="does not name several tasks"):
        Joint.for_dataset(dataset.members.datasets["topics"])


def test_one_head_for_all_is_refused(task, base, head, mixed):
    rows = task.encode(mixed, base[1], max_length=24)[:1]
    batch = task.collate(rows, base[1])
    with pytest.raises(ValueError, match="have a head each"):
        task.scores(base[0], head[0], batch)
    with pytest.raises(ValueError, match="have a head each"):
        task.for_evaluation(base[0], None, rows, base[1])
