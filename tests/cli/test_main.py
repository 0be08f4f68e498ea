import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import inlay
from inlay.cli import main as program
from inlay.errors import ConfigError, DataError, ResourceError, TrainingError
from inlay.training.interrupt import Interrupted
from tests.cli.program import PROGRAM

COMMANDS = ("inspect", "train", "resume", "predict", "evaluate", "errors", "compare", "list")
COMMANDS += ("show", "sites", "doctor", "pretrain")
HEAVY = {"torch", "transformers", "numpy", "sklearn", "pandas", "accelerate"}


def modules_after(arguments, folder):
    """Run a command in a process of its own and return what it imported."""
    script = (
        "import sys\nfrom inlay.cli.main import main\n"
        f"code = main({arguments})\n"
        "sys.stderr.write(' '.join({name.partition('.')[0] for name in sys.modules}))\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=folder
    )
    return set(done.stderr.split())


@pytest.fixture
def failing(monkeypatch, call):
    """Make `inlay doctor` fail in some way."""

    def fail_with(error):
        def fail(given):
            raise error

        monkeypatch.setattr(program, "_run", fail)
        return call("doctor")

    return fail_with


def test_version(call):
    assert call("--version") == (0, f"inlay {inlay.__version__}\n", "")


def test_help_is_shown_when_nothing_is_asked(call):
    code, out, err = call()
    assert (code, err) == (0, "")
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", out, re.MULTILINE), command
    assert max(map(len, out.splitlines())) <= 80


def test_every_command_has_help_that_says_what_it_is_for(call):
    for command in COMMANDS:
        code, out, _ = call(command, "--help")
        assert code == 0
        assert out.startswith("Usage: inlay "), command


def test_an_unknown_command_suggests_the_nearest(call):
    code, out, err = call("trian", "x.csv")
    assert (code, out) == (2, "")
    assert err == "inlay: no command 'trian'. Did you mean train? See `inlay --help`.\n"


def test_an_unknown_option_suggests_the_nearest(call):
    code, out, err = call("train", "x.csv", "--lerning-rate", "1e-3")
    assert (code, out) == (2, "")
    assert err == (
        "inlay: no option --lerning-rate. Did you mean --learning-rate? See `inlay train --help`.\n"
    )


def test_settings_of_train_that_are_no_options_are_suggested_too(call):
    assert "Did you mean --weight-decay?" in call("train", "x.csv", "--wight-decay", "1")[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "x.csv", "--epochs", "many"], "'--epochs'"),
        (["train", "x.csv", "--epochs"], "'--epochs' requires an argument"),
        (["predict"], "missing argument 'RUN'"),
        (["show", "a", "b"], "unexpected extra argument"),
    ],
)
def test_a_mistake_in_usage_is_one_line_and_no_help_dump(call, arguments, said):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.startswith("inlay: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("a: b."), 2),
        (DataError("a: b."), 3),
        (ResourceError("a: b."), 5),
        (TrainingError("a: b."), 1),
    ],
)
def test_an_error_of_the_library_is_its_message_and_its_code(failing, error, code):
    assert failing(error) == (code, "", "inlay: a: b.\n")


def test_an_interruption_tells_how_to_go_on(failing):
    error = Interrupted("saved at step 252; continue with: inlay resume runs/x", signal.SIGTERM)
    assert failing(error) == (143, "", "saved at step 252; continue with: inlay resume runs/x\n")
    assert failing(KeyboardInterrupt()) == (130, "", "interrupted\n")


def test_a_fault_of_ours_leaves_its_traceback_in_a_file(failing):
    code, out, err = failing(ZeroDivisionError("division by zero"))
    assert (code, out) == (1, "")
    assert "Traceback" not in err
    assert "ZeroDivisionError: division by zero" in err
    path = Path(re.search(r"The details are in (\S+);", err)[1])
    assert "Traceback (most recent call last)" in path.read_text()
    path.unlink()


def test_what_the_machine_lacks_is_no_fault_of_ours(failing):
    assert failing(OSError(errno.ENOSPC, "No space left", "runs/x"))[0] == 5
    assert failing(MemoryError())[0] == 5
    code, _, err = failing(PermissionError(errno.EACCES, "Permission denied", "/x"))
    assert (code, err) == (2, "inlay: /x: Permission denied; choose another place.\n")


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["list"], ["--version"]])
def test_start_up_imports_nothing_heavy(arguments, tmp_path):
    assert not modules_after(arguments, tmp_path) & HEAVY


def test_help_imports_only_the_parser(tmp_path):
    assert not modules_after(["--help"], tmp_path) & {"pydantic", "yaml", "rich", "click"}


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    command = f"{sys.executable} -c '{PROGRAM}' train --help | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def nobody():
    """The end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize(("arguments", "code"), [(["list"], 0), (["show", "nothing"], 2)])
@pytest.mark.parametrize("streams", [["stderr"], ["stdout", "stderr"]])
def test_messages_that_nobody_reads_change_no_exit_code(nobody, tmp_path, arguments, code, streams):
    command = [sys.executable, "-c", PROGRAM, *arguments]
    given = dict.fromkeys(streams, nobody)
    assert subprocess.run(command, cwd=tmp_path, check=False, **given).returncode == code


def test_answers_that_nobody_reads_change_no_exit_code(nobody, tmp_path):
    script = (
        "import sys\nfrom inlay.cli import console, main\n"
        "main._run = lambda given: console.put('answers') or 4\nsys.exit(main.main([]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=False, stdout=nobody,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (4, b"")


@pytest.mark.parametrize(("closed", "code"), [("2>&-", 2), (">&-", 2), (">&- 2>&-", 2)])
def test_streams_that_are_closed_from_the_start(tmp_path, closed, code):
    command = f"{sys.executable} -c '{PROGRAM}' show nothing {closed}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (code, b"")
