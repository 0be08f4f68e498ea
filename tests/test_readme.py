"""The README tells the truth: every method, command and folder it should name is there."""

import re
from pathlib import Path

from inlay.cli.main import app
from inlay.methods.parse import METHODS
from inlay.tasks.registry import TASKS

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_method_is_in_the_table():
    table = TEXT[TEXT.index("| method | what it is") : TEXT.index("**Every text task")]
    first = re.findall(r"^\| (`[^|]+`) \| ", table, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(first))) == set(METHODS)


def test_every_task_is_in_the_table():
    table = TEXT[TEXT.index("| task | reads") : TEXT.index("**One command")]
    assert set(re.findall(r"`([\w-]+)`", table)) >= set(TASKS)


def test_every_command_is_named():
    commands = {command.name for command in app.registered_commands}
    for name in commands:
        assert re.search(rf"\b{name}\b", TEXT), name


def test_every_folder_and_link_is_there():
    table = TEXT[TEXT.index("| folder | holds |") : TEXT.index("## Measured")]
    folders = re.findall(r"^\| `([\w/]+)` \|", table, re.MULTILINE)
    assert len(folders) == 5
    for name in folders:
        assert (ROOT / name).is_dir(), name
    for link in re.findall(r"\]\(([\w/.]+)\)", TEXT):
        assert (ROOT / link).exists(), link
