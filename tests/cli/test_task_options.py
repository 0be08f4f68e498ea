"""Options of the task on the command line: kept with the run, and changed afterwards."""

import json

import pytest

from tests.cli.program import TRAIN


def test_evaluate_with_another_option(call, run):
    plain = json.loads(call("evaluate", run, "--json")[1])
    given = ("--task-option", "out-of-scope=travel")
    code, out, _ = call("evaluate", run, "--json", *given)
    report = json.loads(out)
    assert code == 0
    own = {key: value for key, value in report.items() if "scope" in key}
    assert set(own) == {
        "out_of_scope_recall", "out_of_scope_precision", "out_of_scope_auroc",
        "in_scope_accuracy", "n_out_of_scope",
    }  # fmt: skip
    assert {key: value for key, value in report.items() if key not in own} == plain
    screen = call("evaluate", run, *given)[1]
    assert f"in-scope accuracy {100 * own['in_scope_accuracy']:.1f}" in screen


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_an_option_that_is_not_there(call, run, command):
    text = ["a card"] if command == "predict" else []
    code, out, err = call(command, run, *text, "--task-option", "beams=4")
    assert (code, out) == (2, "")
    assert "task 'text-classification' has no option 'beams'; it has out_of_scope=none" in err
    code, _, err = call(command, run, *text, "--task-option", "dropout=0.4")
    assert code == 2
    assert "option 'dropout' of task 'text-classification' was fixed by training" in err


def test_options_of_a_training_are_kept_and_used(call, base, topics, tmp_path):
    folder = tmp_path / "run"
    given = ["--task-option", "out_of_scope=loan", "--task-option", "dropout=0.25"]
    few = [*TRAIN, topics, "--base", base, "--out", folder, *given, "--epochs", "1"]
    code, out, err = call(*few)
    assert code == 0, err
    assert "in-scope accuracy" in out
    config = (folder / "config.yaml").read_text()
    assert "task_options: {dropout: '0.25', out_of_scope: loan}  # flag" in config
    task = json.loads((folder / "adapter" / "adapter.json").read_text())["card"]["task"]
    assert (task["dropout"], task["out_of_scope"]) == (0.25, "loan")
    report = json.loads(call("evaluate", folder, "--json")[1])
    test = json.loads((folder / "metrics.json").read_text())["test"]
    assert report["out_of_scope_recall"] == test["out_of_scope_recall"]


def test_a_label_that_is_not_there(call, base, topics):
    given = ["--base", base, "--task-option", "out_of_scope=oos"]
    code, _, err = call(*TRAIN, topics, *given)
    assert code == 2
    assert "task option out_of_scope='oos' is none of the labels: card, loan, travel." in err


def test_predict_refuses_what_only_reports_read(call, run):
    code, out, err = call("predict", run, "a card", "--task-option", "out_of_scope=travel")
    assert (code, out) == (2, "")
    assert err == (
        "inlay: task option 'out_of_scope' changes what is reported and no answer; give it to "
        "`inlay evaluate`, or leave it out.\n"
    )
