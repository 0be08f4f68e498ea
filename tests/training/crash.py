"""Train in processes that are killed at chosen moments; `main` is run in a `Fork`.

Each process is a fork of that one, which has computed nothing. Given `{"data", "base", "out",
"moments"}`, it writes for each moment how the process ended (the number of the signal, negative,
or the exit code). The last process leaves the steps it made.
"""

import json
import os
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

import torch

import inlay
from inlay.errors import InlayError
from inlay.training import finish as finish_module
from inlay.training import loop
from tests import tiny


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly(tiny.Listener):
    """Sends a signal to its own process at a step or an evaluation."""

    def __init__(self, kind: str, value: str) -> None:
        super().__init__()
        self.kind = kind
        self.value = value

    def on_step(self, step, num_steps, loss):
        super().on_step(step, num_steps, loss)
        signals = {"step": signal.SIGKILL, "sigint": signal.SIGINT, "sigterm": signal.SIGTERM}
        if self.kind in signals and step == int(self.value):
            os.kill(os.getpid(), signals[self.kind])

    def on_evaluation(self, evaluation):
        super().on_evaluation(evaluation)
        if self.kind == "evaluation" and evaluation.epoch == int(self.value):
            kill()


def arm(kind: str, value: str) -> None:
    """Make the file system deadly: half a file is written, or a rename does not happen."""
    write, replace, remove = Path.write_bytes, Path.replace, shutil.rmtree

    def write_half(self, data):
        if kind == "half of" and str(self).endswith(value):
            write(self, data[: len(data) // 2])
            kill()
        return write(self, data)

    def replace_not(self, target):
        if kind == "before renaming to" and str(target).endswith(value):
            kill()
        return replace(self, target)

    def remove_half(path, *given, **options):
        if kind == "removing" and str(path).endswith(value):
            next(iter(sorted(Path(path).iterdir()))).unlink()
            kill()
        return remove(path, *given, **options)

    Path.write_bytes, Path.replace, shutil.rmtree = write_half, replace_not, remove_half


def train(request: dict, kind: str, value: str) -> int:
    torch.set_num_threads(1)
    loop._CHECKPOINT_SHARE = 1e9  # a checkpoint at every step, however long it takes
    finish_module.check_reload = lambda *given: {"rows": 0}
    arm(kind, value)
    listener = Deadly(kind, value)
    try:
        inlay.train(
            request["data"], base=request["base"], out=request["out"], reporter=listener,
            **tiny.SETTINGS,
        )  # fmt: skip
    except InlayError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except BaseException:
        traceback.print_exc()
        return 99
    Path(request["out"], "steps.txt").write_text(json.dumps(listener.steps))
    return 0


def main(request: dict, ends: Path) -> None:
    """Run a process for each moment, and write how it ended."""
    codes = []
    for moment in request["moments"]:
        kind, _, value = moment.partition(": ")
        child = os.fork()
        if child == 0:
            os._exit(train(request, kind, value))
        if kind == "after seconds":
            time.sleep(float(value))
            os.kill(child, signal.SIGKILL)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    ends.write_text(json.dumps(codes))
