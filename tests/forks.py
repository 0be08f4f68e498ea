"""Fresh processes without the seconds of their imports: forks of one that computed nothing."""

import io
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "torch", "tokenizers", "sklearn.linear_model", "transformers.models.bert.modeling_bert",
        "inlay.cli.main", "inlay.training.train", "inlay.training.finish",
        "inlay.training.reload_check", "inlay.pretraining.pretrain", "inlay.evaluation.predictor",
    ]
)  # fmt: skip


class Fork:
    """A process that runs a function and exits with what it returns, as code.

    Attributes:
        pid: Its number.
        out: The file of its standard output.
        err: The file of its standard error.
    """

    def __init__(self, function: Callable[..., int | None], *given: Any) -> None:
        said = Path(tempfile.mkdtemp())
        weakref.finalize(self, shutil.rmtree, said)
        self.out, self.err = said / "out.txt", said / "err.txt"
        for file in (self.out, self.err):
            file.touch()
        self._process = _FORKS.Process(
            target=_run, args=(Path.cwd(), dict(os.environ), said, function, given), daemon=True
        )
        self._process.start()
        self.pid = self._process.pid

    def end(self, timeout: float = 120) -> int:
        """Wait, and return the exit code; a signal's number if negative."""
        self._process.join(timeout)
        code = self._process.exitcode
        assert code is not None, f"still running after {timeout} seconds: {self.err.read_text()}"
        return code


def _run(folder: Path, environment: dict, said: Path, function: Callable, given: tuple) -> None:
    os.chdir(folder)
    os.environ.update(environment)
    for number, name in ((1, "out.txt"), (2, "err.txt")):
        os.dup2(os.open(said / name, os.O_WRONLY), number)
    import torch

    torch.set_num_threads(1)
    sys.exit(function(*given))


def run_reload_check(command: list[str], **options: Any) -> subprocess.CompletedProcess:
    """Stand in for `subprocess.run` where `inlay.training.reload_check` starts itself."""
    assert command == [sys.executable, "-m", "inlay.training.reload_check"]
    process = Fork(_check_reload, options["input"])
    code = process.end()
    return subprocess.CompletedProcess(
        command, code, process.out.read_text(), process.err.read_text()
    )


def _check_reload(request: str) -> None:
    from inlay.training.reload_check import main

    sys.stdin = io.StringIO(request)
    main()
