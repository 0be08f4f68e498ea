"""Several tasks on one adapter: kinds, shares, heads, metrics, members, and a whole training."""

import math

import pytest
import torch

import inlay
from inlay.data.rows import Example
from inlay.errors import AdapterError, ConfigError
from inlay.store.bases import load_base, resolve_base
from inlay.tasks.choice import MultipleChoice
from inlay.tasks.classification import TextClassification
from inlay.tasks.joint import Joint
from tests import tiny
from tests.data.forms.files import write_jsonl

TOPICS = TextClassification(labels=("card", "loan"))
MEMBERS = [TOPICS.settings(), MultipleChoice().settings()]


def joint(**more):
    return Joint(names=("topics", "which"), members=MEMBERS, weights=(1.0, 0.5), **more)


TASK = joint()
ROWS = [
    Example("my card", None, "card", "f", 1, {"joint": 0}),
    Example("q", None, "b", "f", 2, {"joint": 1, "choices": ["a", "b"], "index": 1}),
    Example("my loan please", None, "loan", "f", 3, {"joint": 0}),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return load_base(resolve_base(str(tiny.shared_base(tmp_path_factory.getbasetemp()))))


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [("proportional", [900, 100]), ("round-robin", [500, 500]), ("temperature", [750, 250])],
)
def test_shares_of_an_epoch(sampling, expected):
    assert joint(sampling=sampling).rows_per_epoch([900, 100]) == expected
    cube = joint(sampling="temperature", temperature=3.0).rows_per_epoch([800, 100])
    assert cube == [600, 300]


def test_each_row_goes_to_its_task_and_head(base):
    model, tokenizer = base
    head = TASK.build_head(32).eval()
    encoded = TASK.encode(ROWS, tokenizer, max_length=20)
    assert [TASK.kind_of(row) for row in encoded] == [0, 1, 0]
    own = [row for row in encoded if TASK.kind_of(row) == 0]
    batch = TASK.collate(own, tokenizer)
    assert batch.kind == 0
    with torch.no_grad():
        scores = TASK.scores(model, head, batch)
        expected = TOPICS.scores(model, head[0], batch)
    assert torch.equal(scores, expected)
    choice = TASK.collate([encoded[1]], tokenizer)
    with torch.no_grad():
        scores = TASK.scores(model, head, choice)
    loss = TASK.loss(scores, choice, label_smoothing=0.0)
    alone = MultipleChoice().loss(scores, choice, label_smoothing=0.0)
    assert float(loss) == pytest.approx(0.5 * float(alone))


def test_metrics_answers_and_report_are_those_of_the_tasks(base):
    encoded = TASK.encode(ROWS, base[1], max_length=20)
    kept = [torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])]
    found = TASK.metrics(kept, encoded)
    assert (found["topics"], found["which"], found["mean"]) == (0.5, 1.0, 0.75)
    answers = TASK.decode(kept, encoded, ROWS)
    assert [own.answer for own in answers] == ["card", "b", "card"]
    report = TASK.full_report(ROWS, answers)
    assert report["mean_row_score"] == pytest.approx(2 / 3)
    assert report["tasks"]["topics"]["accuracy"] == 0.5
    assert (report["topics_accuracy"], report["which_accuracy"]) == (0.5, 1.0)
    calibrated = TASK.calibrated(kept, encoded)
    assert calibrated.tasks[0].temperature != 1.0
    assert calibrated.tasks[0].labels == TOPICS.labels


def test_the_baseline_is_the_best_of_each_task():
    train = [ROWS[0]] * 3 + [ROWS[2]]
    found = TASK.baselines(train, ROWS)["best_of_each_task"]
    assert len(found) == 3
    assert found[1].answer in ("a", "b")


def test_tasks_that_write_cannot_be_learnt_together():
    members = [TOPICS.settings(), {"task": "text-to-text"}]
    with pytest.raises(ConfigError, match="task 'text-to-text' needs its base with a language mo"):
        Joint(names=("a", "b"), members=members, weights=(1, 1))
    with pytest.raises(
        AdapterError, match=r"no task 'topic'; this adapter has topics, which\. Did"
    ):
        TASK.number_of("topic")


def test_from_a_file_to_the_answers_of_each_task(tmp_path, tmp_path_factory):
    tiny.write_csv(tmp_path / "topics.csv", tiny.rows(60))
    rows = [{"question": f"q{n}", "choices": ["a", "b"], "label": n % 2} for n in range(40)]
    write_jsonl(tmp_path / "which.jsonl", rows)
    path = tmp_path / "tasks.yaml"
    path.write_text(
        "sampling: round-robin\ntasks:\n  topics: {data: topics.csv}\n"
        "  which: {data: which.jsonl}\n"
    )
    run = inlay.train(
        path, task="joint", base=str(tiny.shared_base(tmp_path_factory.getbasetemp())), epochs=2,
        batch_size=8,
        out=str(tmp_path / "run"), precision="float32",
    )  # fmt: skip
    assert run.metrics["reload_check"]["identical"] == run.metrics["reload_check"]["rows"]
    assert math.isfinite(run.metrics["test"]["mean_row_score"])
    predictor = inlay.load_predictor(run.folder)
    (topic,) = predictor.member("topics").predict(["my card"])
    assert topic.label in tiny.TOPICS
    (which,) = predictor.member("which").predict([{"question": "q", "choices": ["a", "b", "c"]}])
    assert which.text in "abc"
    with pytest.raises(AdapterError, match="this adapter has several tasks: topics, which"):
        predictor.predict(["my card"])
    report = inlay.evaluate(run.folder, tmp_path / "topics.csv", member="topics")
    assert report["n"] == 60
