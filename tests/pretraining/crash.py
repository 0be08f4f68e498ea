"""Pretrain in processes that are killed at chosen moments; `main` is run in a `Fork`.

Each process is a fork of that one, which has computed nothing. Given `{"corpus", "objective",
"size", "out", "moments"}`, it writes how each process ended (the number of the signal, negative,
or the exit code). The last process leaves the steps it made.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

import torch

import inlay
from inlay.errors import InlayError
from inlay.pretraining import loop
from tests.pretraining import text
from tests.tiny import Listener

_SIGNALS = {"kill": signal.SIGKILL, "sigint": signal.SIGINT, "sigterm": signal.SIGTERM}


class Deadly(Listener):
    """Sends a signal to its own process at a step."""

    def __init__(self, kind: str, value: str) -> None:
        super().__init__()
        self.kind = kind
        self.value = value

    def on_step(self, step, num_steps, loss):
        super().on_step(step, num_steps, loss)
        if self.kind in _SIGNALS and step == int(self.value):
            os.kill(os.getpid(), _SIGNALS[self.kind])


def arm(kind: str, value: str) -> None:
    """Make the file system deadly: a process dies in place of a certain renaming."""
    replace = Path.replace

    def replace_not(self, target):
        if kind == "before renaming to" and str(target).endswith(value):
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    Path.replace = replace_not


def pretrain(request: dict, kind: str, value: str) -> int:
    torch.set_num_threads(1)
    loop._CHECKPOINT_SHARE = 1e9  # a checkpoint at every step, however long it takes
    arm(kind, value)
    listener = Deadly(kind, value)
    try:
        inlay.pretrain(
            request["corpus"], objective=request["objective"], size=request["size"],
            out=request["out"], steps=60, eval_every=20, reporter=listener, **text.SETTINGS,
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
            os._exit(pretrain(request, kind, value))
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    ends.write_text(json.dumps(codes))
