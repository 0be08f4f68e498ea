"""Programs against their tests: right ones pass, and nothing gets around its limits."""

import gzip
import json
import os
import sys
import time
from pathlib import Path

import pytest

from inlay.tasks import programs
from inlay.tasks.programs import count_passing, passes, program_of

SHARED = Path(__file__).parents[3] / "shared" / "data" / "code_mbpp" / "test.jsonl.gz"

ADD = "def add(a, b):\n    return a + b\n"
TESTS = ["assert add(1, 2) == 3", "assert add(-1, 1) == 0"]


def run(program, tests=("assert True",), seconds=10.0):
    return passes(program, tests, seconds=seconds)


def test_right_passes_and_wrong_does_not():
    assert run(ADD, TESTS)
    assert not run(ADD.replace("+", "-"), TESTS)
    assert not run("def add(a, b)", TESTS)
    assert not run("", TESTS)
    assert not run(ADD, ["assert add(1, 2) == 3", "assert add(1, 1) == 3"])


@pytest.mark.parametrize(
    "program",
    [
        "import sys\nsys.exit(0)",
        "import os\nos._exit(0)",
        "raise SystemExit",
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        "if True:",
        'text = """never closed',
        "# \\",
    ],
)
def test_what_leaves_before_its_tests_has_not_passed(program):
    assert not run(program, ["assert False"])


def test_time_is_limited_and_children_end_with_it(tmp_path):
    mark = tmp_path / "mark"
    child = f"import time; time.sleep(2.5); open({str(mark)!r}, 'w')"
    program = (
        f"import subprocess, sys\nsubprocess.Popen([{sys.executable!r}, '-c', {child!r}])\n"
        "while True: pass\n"
    )
    started = time.monotonic()
    assert not run(program, seconds=1.0)
    assert time.monotonic() - started < 2.4
    time.sleep(2.0)
    assert not mark.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not limit address space")
def test_memory_is_limited():
    assert not run("data = bytearray(2 << 30)")
    assert run("data = bytearray(1 << 20)")


def test_files_are_limited_and_end_with_the_program(tmp_path, monkeypatch):
    monkeypatch.setattr(programs.tempfile, "tempdir", str(tmp_path))
    assert run("open('small', 'w').write('x')", ["assert open('small').read() == 'x'"])
    assert not run("open('large', 'wb').write(bytes(2 << 20))")
    assert list(tmp_path.iterdir()) == []


def test_the_environment_and_the_folder_are_empty(monkeypatch):
    monkeypatch.setenv("SECRET", "word")
    tests = [
        "import os\nassert 'SECRET' not in os.environ and 'HOME' not in os.environ",
        "assert os.listdir('.') == []",
        "import sys\nassert sys.stdin.read() == ''",
    ]
    assert run("print('x' * 100_000)", tests)


def test_no_network_where_it_can_be_cut_off():
    if not programs._without_network():
        pytest.skip("the system does not let a user cut the network off")
    listing = "import socket\nassert [name for _, name in socket.if_nameindex()] == ['lo']"
    assert run("", [listing])


def test_counts_are_by_row():
    wrong = ADD.replace("+", "*")
    found = count_passing([[ADD, wrong, ADD], [wrong], []], [TESTS, TESTS, TESTS], seconds=10.0)
    assert found == [2, 0, 0]


def test_the_code_is_what_is_fenced():
    assert program_of("Sure:\n```python\nx = 1\n```\nThat is it.") == "x = 1\n"
    assert program_of("```\nx = 1\n") == "x = 1\n"
    assert program_of("x = 1") == "x = 1"


@pytest.mark.skipif(os.name != "posix" or not SHARED.is_file(), reason="the data are not there")
def test_the_known_programs_of_real_tasks_pass():
    with gzip.open(SHARED, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][:12]
    found = count_passing(
        [[row["target"], "pass"] for row in rows],
        [[row["test_setup_code"], *row["tests"]] for row in rows], seconds=10.0,
    )  # fmt: skip
    assert found == [1] * 12
