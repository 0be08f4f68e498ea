"""Run the program in a process of its own, and a training short enough for tests."""

import subprocess
import sys

PROGRAM = "import sys; from inlay.cli.main import main; sys.exit(main())"
TRAIN = ["train", "--epochs", "3", "--batch-size", "8", "--learning-rate", "5e-2", "--precision"]
TRAIN += ["float32"]


def inlay(*arguments: str, **options) -> subprocess.CompletedProcess:
    """Run the program and wait for it."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, **options
    )
