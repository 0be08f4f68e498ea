import io
import re
import sys

import pytest

from inlay.cli import progress
from inlay.cli.progress import (
    Pace,
    TerminalReporter,
    plan_text,
    pretrain_plan_text,
    reporting,
)
from inlay.training.reporter import Evaluation, Plan, PretrainPlan


class FakeTime:
    """A clock that only moves when told."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    fake = FakeTime()
    monkeypatch.setattr(progress, "time", fake)
    return fake


def plan(**changes):
    values = {
        "run": "runs/reviews", "task": "text-classification", "base": "tiny (on disk)",
        "method": "bottleneck", "where": "at ffn, layers upper (3 sites)",
        "num_adapter_parameters": 400_000, "num_head_parameters": 2_000,
        "num_base_parameters": 22_000_000, "rows": {"train": 4009, "validation": 500, "test": 500},
        "num_labels": 3, "num_steps": 630, "seconds": 110.0, "settings": "adamw, batch 32",
        "notes": ["7 rows are long"],
    }  # fmt: skip
    return Plan(**(values | changes))


def evaluation(step, *, is_best):
    metrics = {"accuracy": 0.76, "macro_f1": 0.709, "loss": 0.611}
    return Evaluation(epoch=1, step=step, train_loss=0.842, metrics=metrics, is_best=is_best)


def test_memory_and_what_was_chosen_for_speed(capsys):
    told = plan(peak_bytes=812_000_000, free_bytes=21_300_000_000, speed={"trunk": "bfloat16"})
    assert "\nmemory about 812 MB at most, 21 GB are free\n" in plan_text(told)
    assert "\nmemory about 812 MB at most\n" in plan_text(plan(peak_bytes=812_000_000))
    for explains in (False, True):
        TerminalReporter(has_bar=False, explains_speed=explains).on_plan(told)
        assert ("speed\n  trunk  bfloat16" in capsys.readouterr().err) is explains


def test_plan():
    assert plan_text(plan()).split("\n") == [
        "plan   text-classification, 3 labels, 4 009 train, 500 validation, 500 test rows",
        "base   tiny (on disk)",
        "method bottleneck at ffn, layers upper (3 sites)",
        "       402k of 22.4M weights train (1.8 %): 400k in the adapter, 2k in the head",
        "       adamw, batch 32",
        "time   about 1 min 50 s for up to 630 steps",
        "folder runs/reviews",
        "note   7 rows are long",
    ]


@pytest.mark.parametrize("num_base", [0, 22_000_000])
def test_weights_of_the_base_that_are_trained_are_counted_once(num_base):
    whole = plan(
        num_adapter_parameters=22_000_000, num_head_parameters=2_000, num_base_parameters=num_base,
        method="full", where="",
    )  # fmt: skip
    assert "22M of 22M weights train (100.0 %)" in plan_text(whole)
    assert "method full\n" in plan_text(whole)


def test_a_row_for_each_evaluation_with_a_star_at_the_best(capsys):
    reporter = TerminalReporter(has_bar=False)
    reporter.on_evaluation(evaluation(126, is_best=True))
    reporter.on_evaluation(evaluation(252, is_best=False))
    captured = capsys.readouterr()
    assert captured.out == ""
    blank, header, first, second = captured.err.rstrip("\n").split("\n")
    assert header.split() == ["epoch", "step", "train", "loss", "val", "loss", "accuracy",
                              "macro-F1", "left"]  # fmt: skip
    assert re.split(r" +", first.strip()) == [
        "1", "126", "0.842", "0.611", "76.0", "70.9", "★", "?",
    ]  # fmt: skip
    assert "★" not in second
    assert blank == ""


def test_away_from_a_terminal_a_line_comes_every_ten_seconds(clock, capsys):
    reporter = TerminalReporter(has_bar=False)
    for step in range(1, 41):
        clock.now += 1.0
        reporter.on_step(step, 100, 0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "step 11 of 100 (11 %)   loss 0.500   1:29 left",
        "step 21 of 100 (21 %)   loss 0.500   1:19 left",
        "step 31 of 100 (31 %)   loss 0.500   1:09 left",
    ]


def test_a_training_that_goes_on_counts_only_its_own_steps(clock):
    pace = Pace()
    assert pace.left() == "?"
    pace.record(500, 1000)
    assert pace.left() == "?"
    clock.now += 10
    pace.record(510, 1000)
    assert pace.left() == "8:10"


def test_a_second_training_is_told_as_if_it_was_the_first(clock, capsys):
    reporter = TerminalReporter(has_bar=False)
    for num_steps in (3, 100):
        reporter.on_plan(plan())
        for step in range(1, 4):
            clock.now += 6.0
            reporter.on_step(step, num_steps, 0.5)
        reporter.on_evaluation(evaluation(3, is_best=True))
    told = capsys.readouterr().err
    assert told.count("train loss") == 2
    assert "step 3 of 3 (100 %)   loss 0.500   0:00 left" in told
    assert "step 3 of 100 (3 %)   loss 0.500   9:42 left" in told


def test_on_a_terminal_there_is_a_bar_and_it_goes_away(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(screen, "isatty", lambda: True)
    with reporting() as reporter:
        reporter.on_step(1, 3, 0.9)
        reporter.on_step(2, 3, 0.8)
        reporter.on_evaluation(evaluation(2, is_best=True))
        reporter.on_note("stopping: no gain for 3 evaluations")
        assert reporter._bar is not None
    assert reporter._bar is None
    shown = screen.getvalue()
    assert "step 2 of 3" in shown
    assert "loss 0.800" in shown
    assert "note   stopping: no gain for 3 evaluations" in shown


def test_long_notes_are_wrapped(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    TerminalReporter(has_bar=False).on_note("word " * 40)
    lines = capsys.readouterr().err.splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[0].startswith("note   word")
    assert lines[1].startswith("       word")


def test_the_end_takes_the_bar_away(capsys):
    reporter = TerminalReporter(has_bar=False)
    reporter.on_plan(plan())
    reporter.on_end({})
    assert "runs/reviews" in capsys.readouterr().err


def pretraining(**changes):
    given = {
        "folder": "bases/mine", "objective": "mlm", "model": "tiny, from nothing",
        "num_parameters": 1_355_136, "vocab_size": 4096,
        "tokens": {"train": 301_344, "held_out": 18_558}, "num_steps": 1300,
        "settings": "batch 16", "notes": ["one note"],
    }  # fmt: skip
    return PretrainPlan(**{**given, **changes})


def test_the_plan_of_a_pretraining(capsys):
    lines = [
        "plan   mlm: 301 344 train, 18 558 held out tokens, of 4 096 different",
        "model  tiny, from nothing, 1.36M weights, all trained",
        "       1 300 steps, batch 16",
        "folder bases/mine",
        "note   one note",
    ]
    assert pretrain_plan_text(pretraining()).split("\n") == lines
    TerminalReporter(has_bar=False).on_plan(pretraining())
    assert capsys.readouterr().err.splitlines() == lines


def test_a_correlation_is_shown_as_in_the_report(capsys):
    TerminalReporter(has_bar=False).on_evaluation(
        Evaluation(
            epoch=1, step=10, train_loss=1.2, is_best=False,
            metrics={"loss": 1.152, "pearson": -0.0491, "spearman": 0.71},
        )
    )  # fmt: skip
    row = capsys.readouterr().err.splitlines()[-1].split()
    assert row == ["1", "10", "1.200", "1.152", "-0.049", "0.710", "?"]


def test_perplexity_is_no_share(capsys):
    reporter = TerminalReporter(has_bar=False)
    reporter.on_evaluation(
        Evaluation(
            epoch=0.5, step=10, train_loss=4.2, metrics={"loss": 4.553, "perplexity": 94.93},
            is_best=False,
        )
    )  # fmt: skip
    row = capsys.readouterr().err.splitlines()[-1].split()
    assert row == ["0.5", "10", "4.200", "4.553", "94.9", "?"]


def test_of_perplexity_and_its_inverse_one_is_shown(capsys):
    metrics = {"token_probability": 0.0105, "perplexity": 94.93, "loss": 4.553}
    TerminalReporter(has_bar=False).on_evaluation(
        Evaluation(epoch=1, step=10, train_loss=4.2, metrics=metrics, is_best=False)
    )
    _, header, row = capsys.readouterr().err.splitlines()
    assert header.split()[-3:] == ["loss", "perplexity", "left"]
    assert row.split() == ["1", "10", "4.200", "4.553", "94.9", "?"]


def test_the_mean_of_several_tasks_is_no_baseline(capsys):
    TerminalReporter(has_bar=False).on_evaluation(
        Evaluation(
            epoch=1, step=8, train_loss=2.2, metrics={"mean": 0.218, "loss": 2.1}, is_best=False
        )
    )
    assert capsys.readouterr().err.splitlines()[1].split()[-2:] == ["mean", "left"]
