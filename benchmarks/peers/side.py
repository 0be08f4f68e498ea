"""What every side of a comparison shares: the batch, the step, the clock, the numbers reported.

It runs in the peers' environment as well, so it needs PyTorch and nothing of ours.
"""

import argparse
import json
import os
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # the first step of an optimiser would import it, and count as training
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

LABELS = 77
VOCABULARY = (1000, 30000)

Settings = Mapping[str, str]


@dataclass(kw_only=True)
class Case:
    """Something to time, built and warm."""

    run: Callable[[], object]
    facts: Callable[[], dict[str, Any]] = dict
    """Asked after the timing: what was computed, and how well."""
    before: Callable[[], object] = lambda: None
    """Called before each repetition, untimed."""
    once: bool = False
    """A whole training: run once and not warmed up."""


def main(builders: Mapping[str, Callable[[Settings], Case]]) -> None:
    """Build the cases asked for, time them in turn, and print one line of JSON."""
    idle = peak_memory()
    parser = argparse.ArgumentParser()
    parser.add_argument("--case", action="append", required=True, help='"name key=value ..."')
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=3)
    options = parser.parse_args()
    cases = []
    for text in options.case:
        name, *words = text.split()
        torch.manual_seed(0)
        cases.append(builders[name](dict(word.split("=", 1) for word in words)))
    seconds: list[list[float]] = [[] for _ in cases]
    once = any(case.once for case in cases)
    for turn in range(1 if once else options.warmup + options.repeats):
        order = list(zip(cases, seconds, strict=True))
        # Turned round each time, as whoever comes second finds the memory warm.
        for case, times in order if turn % 2 else order[::-1]:
            case.before()
            started = time.perf_counter()
            case.run()
            if once or turn >= options.warmup:
                times.append(time.perf_counter() - started)
    peak = peak_memory()  # before the facts, which may need more
    readings = [
        {"seconds": times, "idle_mb": idle, "peak_mb": peak, "facts": case.facts()}
        for case, times in zip(cases, seconds, strict=True)
    ]
    print(json.dumps({"readings": readings, "versions": versions(), "threads": threads()}))


def peak_memory() -> float:
    """Return the most memory that this process has held, in MB.

    Linux' `VmHWM` begins anew with each program; `ru_maxrss` would start at the parent's.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("this system does not tell the peak memory of a process (VmHWM)")


def threads() -> int:
    """Return the threads that PyTorch computes with."""
    return torch.get_num_threads()


def versions() -> dict[str, str]:
    """Return the versions of what is installed here, and the instructions PyTorch computes with."""
    found = {"cpu": torch.backends.cpu.get_cpu_capability()}
    for name in ("inlay", "adapters", "peft", "transformers", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def since_start() -> float:
    """Return the seconds since the comparison started this process, imports included."""
    return time.monotonic() - float(os.environ["BENCH_STARTED"])


def base_folder() -> str:
    """Return the base that the comparison found, the same files for all sides."""
    return os.environ["BENCH_BASE"]


def tokens(settings: Settings) -> Tensor:
    """Draw the batch, `(rows, tokens)`, without padding; the same in every process."""
    shape = int(settings.get("rows", "32")), int(settings.get("tokens", "64"))
    generator = torch.Generator().manual_seed(1)
    return torch.randint(*VOCABULARY, shape, generator=generator)


def fill(parameters: Mapping[str, Tensor], key: str) -> None:
    """Give weights that depend on their key and name only, so that all sides have the same ones."""
    for name, parameter in parameters.items():
        generator = torch.Generator().manual_seed(zlib.crc32(f"{key}/{name}".encode()))
        values = torch.randn(parameter.shape, generator=generator) * 0.05
        with torch.no_grad():
            parameter.copy_(torch.eye(len(values)) + values if name == "value" else values)


def training_case(
    model: nn.Module,
    settings: Settings,
    *,
    autocast: bool = False,
    train_mode: bool = True,
    penalty: Callable[[], Tensor] | None = None,
    about: str,
) -> Case:
    """Return one step of training: forward, loss, backward, clipping, AdamW.

    The head is a linear map over the mean of the hidden states, the same on all sides.

    Args:
        model: Gives hidden states; what is to be trained requires gradients.
        settings: Shape of the batch.
        autocast: Whether the forward pass runs under autocast to bfloat16, entered at each step.
        train_mode: Whether the model is put in training mode, so that its dropout acts.
        penalty: A term that is added to the loss.
        about: Precision and dropout in words.
    """
    ids = tokens(settings)
    labels = torch.arange(len(ids)) % LABELS
    torch.manual_seed(2)
    head = nn.Linear(384, LABELS)
    own = [parameter for parameter in model.parameters() if parameter.requires_grad]
    parameters = [*own, *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01)

    def loss_of() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            hidden = model(input_ids=ids, attention_mask=torch.ones_like(ids))[0]
        return cross_entropy(head(hidden.float().mean(1)), labels)

    def step() -> None:
        loss = loss_of()
        if penalty is not None:
            loss = loss + penalty()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def loss_now() -> float:
        model.eval()
        with torch.no_grad():
            loss = float(loss_of())
        model.train(train_mode)
        return loss

    first = loss_now()
    facts = {
        "batch": list(ids.shape), "optimiser": "AdamW", "trained": sum(p.numel() for p in own),
        "first_loss": first, "numbers": about,
    }  # fmt: skip
    return Case(run=step, facts=lambda: facts | {"last_loss": loss_now()})


def inference_case(
    model: nn.Module,
    settings: Settings,
    *,
    about: str,
    active: Callable[[], AbstractContextManager[object]] = nullcontext,
    more: Callable[[], dict[str, Any]] = dict,
) -> Case:
    """Return one forward pass without gradient, in evaluation mode.

    Args:
        model: Gives hidden states.
        settings: Shape of the batch.
        about: Precision in words.
        active: Makes active what is measured.
        more: Further facts.
    """
    ids = tokens(settings)
    model.eval()

    def run() -> Tensor:
        with torch.no_grad(), active():
            return model(input_ids=ids, attention_mask=torch.ones_like(ids))[0]

    def facts() -> dict[str, Any]:
        run()
        with CountOperations() as counter:
            hidden = run()
        return {
            "batch": list(ids.shape), "numbers": about, "operations": counter.number,
            "output": hidden[:, ::9, ::37].flatten().float().tolist(), **more(),
        }  # fmt: skip

    return Case(run=run, facts=facts)


class CountOperations(TorchDispatchMode):
    """Count what PyTorch is asked to compute, which is free of noise."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        """Count and pass on."""
        self.number += 1
        return function(*args, **(kwargs or {}))
