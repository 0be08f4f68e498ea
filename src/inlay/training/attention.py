"""Choose the attention implementation of a base by measuring one of its blocks, once."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from inlay.sites.sitemap import SiteMap
from inlay.sites.tensors import first_float, first_float_argument, replace_first_argument
from inlay.store.activations import cache_root
from inlay.store.atomic import write_atomically

IMPLEMENTATIONS = ("sdpa", "eager")

_REMEMBERED = "attention.json"
_REPEATS = 4
_GAIN = 0.9
"""Share of the usual one's time that another must take at most, as times are noisy."""

_FEWEST = 2**17
"""Numbers in a batch's hidden states from which on it is worth measuring."""


@final
@dataclass(frozen=True, slots=True)
class Attention:
    """An implementation, and why it was chosen."""

    name: str
    why: str


@final
class _ReachedError(Exception):
    """The pass has come to the block; what is above it need not run."""


@final
@dataclass(frozen=True, slots=True)
class _Call:
    """What a block was called with."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def choose_attention(
    model: nn.Module,
    sites: SiteMap,
    run: Callable[[], object],
    *,
    usual: str,
    shape: tuple[int, int],
    autocast: bool,
) -> Attention:
    """Set the implementation that runs a block forwards and backwards fastest.

    The choice is remembered in the cache folder by the shapes of the weights, their type, the
    batch's size, the device and the versions.

    Args:
        model: The base, as it was loaded, on its device.
        sites: Its sites.
        run: Runs a forward pass over a batch of usual length.
        usual: What is taken unless another is faster by a tenth.
        shape: Rows and tokens of that batch.
        autocast: Whether training runs under autocast to bfloat16.
    """
    rows, tokens = shape[0], 1 << max(0, shape[1] - 1).bit_length()
    blocks = [site for site in sites if site.kind == "block"]
    if not blocks or rows * tokens * blocks[0].width < _FEWEST:
        return Attention(usual, "the usual one here; batches are too small for it to matter")
    path, key = cache_root() / _REMEMBERED, _key(model, (rows, tokens), autocast=autocast)
    known = _read(path)
    times = known.get(key)
    was_known = times is not None
    if times is None:
        block = model.get_submodule(blocks[0].module)
        times = _measure(model, block, run, usual, autocast=autocast)
        if times:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(_read(path) | {key: times}, indent=1) + "\n")
    name = _best(times, usual)
    _set(model, name)
    others = ", ".join(f"{other} {ms:.1f}" for other, ms in times.items() if other != name)
    if not others:
        return Attention(name, "this base has no other")
    how = f"remembered in {path}" if was_known else "measured now"
    return Attention(
        name,
        f"{times[name]:.1f} ms for a block forwards and backwards over {rows} x {shape[1]} tokens, "
        f"{others} ms; {how}",
    )


def _best(times: Mapping[str, float], usual: str) -> str:
    if not times:
        return usual
    fastest = min(times, key=lambda name: times[name])
    if usual in times and times[fastest] > _GAIN * times[usual]:
        return usual
    return fastest


def _measure(
    model: nn.Module, block: nn.Module, run: Callable[[], object], usual: str, *, autocast: bool
) -> dict[str, float]:
    """Return the time of each implementation that the base has, in milliseconds."""
    calls: dict[str, _Call] = {}
    for name in (usual, *(other for other in IMPLEMENTATIONS if other != usual)):
        call = _call(block, run) if _set(model, name) else None
        if call is not None:
            calls[name] = call
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(_REPEATS):  # in turn, as the machine may be busy for a while
        for name, call in calls.items():
            _set(model, name)
            times[name].append(_seconds(block, call, autocast=autocast))
    # The first one of each finds the memory cold.
    return {name: round(1000 * min(own[1:]), 3) for name, own in times.items()}


def _set(model: Any, name: str) -> bool:
    """Set an implementation; tell whether the base has it."""
    if not hasattr(model, "set_attn_implementation"):
        return False
    try:
        model.set_attn_implementation(name)
    except (ValueError, ImportError):
        return False
    return bool(model.config._attn_implementation == name)


def _call(block: nn.Module, run: Callable[[], object]) -> _Call | None:
    """Return what the block is called with in a pass; `None` if it is not reached."""
    found: list[_Call] = []

    def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.append(_Call(args, kwargs))
        raise _ReachedError

    handle = block.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with torch.no_grad():
            run()
    except _ReachedError:
        return found[0]
    finally:
        handle.remove()
    return None


def _seconds(block: nn.Module, call: _Call, *, autocast: bool) -> float:
    hidden = first_float_argument(call.args, call.kwargs)
    if hidden is None:
        return 0.0
    own = hidden.detach().requires_grad_()
    args, kwargs = replace_first_argument(call.args, call.kwargs, own)
    _wait(own)
    started = time.perf_counter()
    with torch.autocast(own.device.type, torch.bfloat16, enabled=autocast), torch.enable_grad():
        output = first_float(block(*args, **kwargs))
    if output is not None:
        torch.autograd.grad(output, own, torch.ones_like(output))
    _wait(own)
    return time.perf_counter() - started


def _wait(tensor: Tensor) -> None:
    if tensor.device.type == "cuda":
        torch.cuda.synchronize(tensor.device)


def _key(model: nn.Module, shape: tuple[int, int], *, autocast: bool) -> str:
    parameters = [
        f"{name} {tuple(parameter.shape)} {parameter.dtype}"
        for name, parameter in model.named_parameters()
        if not name.startswith("adapters.")
    ]
    device = next(model.parameters()).device
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    about = [
        type(model).__name__, *parameters, str(shape), str(autocast), machine,
        str(torch.get_num_threads()), torch.__version__, version("transformers"),
    ]  # fmt: skip
    return hashlib.sha256("\n".join(about).encode()).hexdigest()[:24]


def _read(path: Path) -> dict[str, dict[str, float]]:
    """Read what is remembered; a damaged file is as good as none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
