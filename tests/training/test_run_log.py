"""What a run's log says, also after a process was killed."""

import json

import pytest

from inlay.training.reporter import Evaluation
from inlay.training.run_folder import RunFolder
from inlay.training.run_log import RunLog, rewind_log
from tests import tiny


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def events(folder):
    lines = (folder.path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def evaluation(step):
    return Evaluation(epoch=1, step=step, train_loss=0.5, metrics={"accuracy": 0.5}, is_best=True)


def told(folder):
    """Log what a training of 25 steps says that is evaluated after 12 and 25."""
    listener = tiny.Listener()
    log = RunLog(listener, folder)
    log.on_note("begins")
    for step in range(1, 26):
        log.on_step(step, 25, 1 / 3)
        if step in (12, 25):
            log.on_evaluation(evaluation(step))
    return listener


def test_everything_is_passed_on_and_the_log_is_sparse(folder):
    listener = told(folder)
    assert listener.notes == ["begins"]
    assert listener.steps == list(range(1, 26))
    assert listener.evaluations == [evaluation(12), evaluation(25)]
    said = [(event["event"], event.get("step")) for event in events(folder)]
    assert said == [
        ("note", None), ("step", 10), ("evaluation", 12), ("step", 20), ("step", 25),
        ("evaluation", 25),
    ]  # fmt: skip
    assert events(folder)[1]["loss"] == 0.33333
    assert events(folder)[2]["metrics"] == {"accuracy": 0.5}


@pytest.mark.parametrize(
    ("step", "num_evaluations", "kept"),
    [
        (0, 0, [None]),
        (12, 0, [None, 10]),  # killed between an epoch's last step and its evaluation
        (12, 1, [None, 10, 12]),
        (25, 1, [None, 10, 12, 20, 25]),
        (25, 2, [None, 10, 12, 20, 25, 25]),
    ],
)
def test_what_will_be_done_again_is_not_said_twice(folder, step, num_evaluations, kept):
    told(folder)
    rewind_log(folder, step=step, num_evaluations=num_evaluations)
    assert [event.get("step") for event in events(folder)] == kept


@pytest.mark.parametrize("torn", ['{"time": "2026-01', '{"event": "step", "step": 3, "te\u2028'])
def test_a_line_that_was_cut_off_goes(folder, torn):
    told(folder)
    path = folder.path / "log.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + torn.encode()[:-1])
    rewind_log(folder, step=25, num_evaluations=2)
    assert path.read_bytes() == whole


def test_no_log_yet(folder):
    rewind_log(folder, step=0, num_evaluations=0)
    assert not folder.path.exists()
