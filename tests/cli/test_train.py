import json
import re

import pytest

from inlay.cli.train import with_settings
from inlay.errors import ConfigError
from tests import tiny
from tests.cli.program import TRAIN


def test_results_go_to_stdout_and_all_else_to_stderr(call, base, topics, tmp_path):
    folder = tmp_path / "run"
    code, out, err = call(*TRAIN, topics, "--base", base, "--out", folder, "--lr", "5e-2")
    assert code == 0
    assert out.startswith("test   accuracy ")
    assert re.search(r"points (above|below) words \+ regression", out)
    assert "12 of 12 predictions identical" in out
    assert out.rstrip().endswith(f"inlay errors {folder}")
    assert err.startswith("note: --lr is called --learning-rate here\nplan   text-classification")
    assert "test   accuracy" not in err
    assert max(map(len, err.splitlines())) <= 120


def test_json_is_the_metrics_and_nothing_else(call, base, topics, tmp_path):
    folder = tmp_path / "run"
    code, out, err = call(
        *TRAIN, topics, "--base", base, "--out", folder, "--method", "head", "--json",
        "--explain-speed", "--trunk-dropout",
    )  # fmt: skip
    metrics = json.loads(out)
    assert code == 0
    assert re.search(r"^  dropout +on in the trunk, as asked$", err, re.MULTILINE)
    assert re.search(r"^  replay +no, the trunk's dropout is on", err, re.MULTILINE)
    assert metrics == json.loads((folder / "metrics.json").read_text())
    assert metrics["method"] == "head"
    assert {"accuracy", "macro_f1", "n", "accuracy_ci"} <= set(metrics["test"])


def test_a_finished_run_is_not_overwritten_unless_forced(call, base, topics, run):
    code, out, err = call(*TRAIN, topics, "--base", base, "--out", run)
    assert (code, out) == (2, "")
    assert err.endswith(
        f"inlay: {run} holds a finished run; choose another --out, or use --force to replace it.\n"
    )


def test_a_typo_in_a_file_of_settings_has_its_place(call, topics, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.yaml").write_text("# settings\nepochs: 3\nlerning_rate: 1e-5\n")
    code, out, err = call("train", topics, "--config", "train.yaml")
    assert (code, out) == (2, "")
    assert err == (
        'inlay: train.yaml:3:1 unknown key "lerning_rate". Did you mean "learning_rate"?\n'
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--epochs", "0"], 2, "inlay: epochs=0: input should be greater than or equal to 1."),
        (["--set", "epohcs=3"], 2, 'unknown key "epohcs". Did you mean "epochs"?'),
        (["--set", "epochs"], 2, "--set 'epochs': write KEY=VALUE"),
        (["--set", "optimizer=adamx"], 2, "optimizer='adamx': input should be 'adamw', 'adam',"),
        (["--method", "lorra"], 2, "lora"),
        (["--text-column", "texd"], 3, 'topics.csv has no column "texd". It has: text, label.'),
        (["--map-label", "visa"], 2, "write OLD=NEW"),
        (["--max-rejected", "lots"], 3, '"lots" is not a fraction; write 5% or 0.05.'),
        (["--base", "no-such-base"], 2, "'no-such-base' is not on this machine"),
    ],
)
def test_settings_that_cannot_be_used(
    call, topics, tmp_path, monkeypatch, arguments, code, message
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    found, out, err = call("train", topics, *arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_no_data(call):
    assert call("train")[::2] == (
        2, "inlay: no data: give a file, a folder or a name: `inlay train reviews.csv`.\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([("fine day", "ok"), ("good day", "ok"), ("nice", "ok")] * 9, 'only one class ("ok")'),
        ([("fine", "ok"), ("bad", "no"), ("nice", "ok")], "rows"),
        ([("fine", "ok"), ("", "no"), ("bad", "no")] * 20, "allow more with --max-rejected"),
    ],
)
def test_data_that_cannot_be_used(call, tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    content = [(f"{text} {n}" if text else "", label) for n, (text, label) in enumerate(content)]
    tiny.write_csv(tmp_path / "reviews.csv", content)
    code, out, err = call("train", "reviews.csv")
    assert (code, out) == (3, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_column_that_is_missing(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = [("fine", 5, "today")] * 30
    tiny.write_csv(tmp_path / "reviews.csv", content, ("review", "stars", "date"))
    code, _, err = call("train", "reviews.csv", "--text-column", "text")
    assert (code, err) == (
        3,
        (
            'inlay: reviews.csv has no column "text". It has: review, stars, date. '
            "Did you mean --text-column review?\n"
        ),
    )


def test_a_label_that_is_in_test_only(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "split"
    folder.mkdir()
    tiny.write_csv(folder / "train.csv", tiny.rows(60))
    unseen = [(f"money back {n}", "refund") for n in range(4)]
    tiny.write_csv(folder / "test.csv", [*tiny.rows(9, seed=3), *unseen])
    code, _, err = call("train", folder)
    assert code == 3
    assert (
        'label "refund" occurs in test (4 rows) but not in train. Add rows or --drop-unseen-labels'
        in err
    )


def test_one_setting_given_twice():
    with pytest.raises(ConfigError, match="epochs is given twice"):
        with_settings({"epochs": 3}, ["epochs=4"])


def test_settings_keep_what_stands_behind_the_first_equals_sign():
    given = with_settings({"epochs": None, "seed": 0}, ["base = a=b", "weight-decay=0.1"])
    assert given == {"seed": 0, "base": "a=b", "weight_decay": "0.1"}
