"""What is compared with what, and the goals: one entry for each row of the table.

A side is a script of this folder and a case of it: `adapterhub step dtype=bf16` is what
`python -m benchmarks.peers.adapterhub --case "step dtype=bf16"` measures. To add a row, write its
case in the script and its entry here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Measure = Literal["step", "training", "memory"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison; its ratio is A / B."""

    name: str
    what: str
    a: str
    b: str
    goal: str = ""
    """What the ratio must be, such as `>= 4.0`; nothing for a row that only informs."""
    measure: Measure = "step"
    """Median time of a repetition; time from the start of the process, imports included, to the end
    of training; or peak memory above that of the process after its imports."""
    quality: str = ""
    """The fact that is shown beside the times."""
    not_lower: bool = False
    """Whether B's quality may not be lower than A's."""
    within: float = 0.0
    """How much lower it may be then."""
    same: tuple[str, ...] = ()
    """Facts that must be equal on both sides, or nothing is compared."""
    close: Mapping[str, float] = field(default_factory=dict)
    """Facts that must be equal to within so much, at most."""
    free: bool = False
    """Whether A may give PyTorch no more operations to compute than B."""
    together: bool = False
    """Whether both run in one process, a repetition of A, one of B and so on: for ratios near 1."""


_STEP = ("batch", "optimiser")
_SAME_STEP = (*_STEP, "trained")
# The base stored in bfloat16 gives the same loss to its rounding.
_SAME_LOSS = {"first_loss": 2e-2}

_STEPS = [
    Row(
        name="step", what="training step, a bottleneck in every block: AdapterHub default",
        a="adapterhub step", b="ours step", goal=">= 4.0", quality="last_loss",
        same=_SAME_STEP, close=_SAME_LOSS,
    ),
    Row(
        name="step-bf16", what="the same, AdapterHub under bfloat16 autocast",
        a="adapterhub step dtype=bf16", b="ours step", goal=">= 2.3", quality="last_loss",
        same=_SAME_STEP, close=_SAME_LOSS,
    ),
    *(
        Row(
            name=f"floor{suffix}",
            what=f"AdapterHub's step{words} / the base alone, forward and backward: the most that "
            "an adapter in the first block allows", a=f"adapterhub step{dtype}", b="ours floor",
            same=("batch",),
        )
        for suffix, words, dtype in (("", "", ""), ("-bf16", " under bfloat16", " dtype=bf16"))
    ),
    Row(
        name="step-upper", what="training step, ours in the upper half as `inlay train` places it",
        a="adapterhub step dtype=bf16", b="ours step method=bottleneck layers=upper",
        quality="last_loss", same=_STEP,
    ),
    Row(
        name="step-lora", what="training step, LoRA of rank 8 at q and v: PEFT default",
        a="peft_lora step", b="ours step method=lora[rank=8,alpha=8] at=q,v", quality="last_loss",
        same=_SAME_STEP, close=_SAME_LOSS,
    ),
    Row(
        name="step-lora-bf16", what="the same, PEFT under bfloat16 autocast",
        a="peft_lora step dtype=bf16", b="ours step method=lora[rank=8,alpha=8] at=q,v",
        quality="last_loss", same=_SAME_STEP, close=_SAME_LOSS,
    ),
    Row(
        name="step-full", what="training step, full fine-tuning, plain transformers default",
        a="plain step", b="ours step", quality="last_loss", same=_STEP,
    ),
    Row(
        name="step-full-bf16", what="the same, full fine-tuning under bfloat16 autocast",
        a="plain step dtype=bf16", b="ours step", quality="last_loss", same=_STEP,
    ),
]  # fmt: skip


def _training(name: str, what: str, a: str, b: str = "ours train", goal: str = "") -> Row:
    return Row(
        name=name, what=f"banking77 to the end of training: {what}", a=a, b=b, measure="training",
        quality="accuracy", not_lower=True, same=("train_rows", "test_rows", "batch_size", "seed"),
        goal=goal,
    )  # fmt: skip


_TRAININGS = [
    _training("banking77", "AdapterHub default", "adapterhub train", goal=">= 12"),
    _training("banking77-best", "AdapterHub at its best", "adapterhub train best=yes"),
    _training("lora", "PEFT LoRA default", "peft_lora train", goal=">= 12"),
    _training("lora-best", "PEFT LoRA at its best", "peft_lora train best=yes"),
    _training("lora-ours", "LoRA both, PEFT at its best", "peft_lora train best=yes",
              "ours train method=lora"),
    _training("full", "full fine-tuning, plain transformers default", "plain train", goal=">= 18"),
    _training("full-best", "full fine-tuning, plain transformers at its best",
              "plain train best=yes"),
    _training("full-ours", "full fine-tuning, ours", "ours train method=full"),
]  # fmt: skip

_MEMORY = [
    Row(
        name="memory", what="peak memory of training, full fine-tuning default",
        a="ours step", b="plain step", goal="<= 0.35", measure="memory", quality="last_loss",
        same=_STEP,
    ),
    Row(
        name="memory-float32", what="the same, the base of ours in float32",
        a="ours step dtype=float32", b="plain step", goal="<= 0.35", measure="memory",
        quality="last_loss", same=_STEP,
    ),
    Row(
        name="memory-upper", what="the same, ours in the upper half, where `inlay train` puts it",
        a="ours step layers=upper", b="plain step", goal="<= 0.35", measure="memory",
        quality="last_loss", same=_STEP,
    ),
    Row(
        name="memory-bf16", what="the same, full fine-tuning under bfloat16 autocast",
        a="ours step", b="plain step dtype=bf16", measure="memory", quality="last_loss",
        same=_STEP,
    ),
    Row(
        name="memory-adapterhub", what="peak memory of training, AdapterHub default",
        a="ours step", b="adapterhub step", measure="memory", quality="last_loss",
        same=_SAME_STEP, close=_SAME_LOSS,
    ),
]  # fmt: skip


def _inference(name: str, what: str, a: str, goal: str, dtype: str, *, free: bool = False) -> Row:
    return Row(
        name=f"{name}-{dtype}", what=f"inference, {what} / the base alone, {dtype}",
        a=f"ours infer dtype={dtype} {a}", b=f"ours infer dtype={dtype}", goal=goal,
        quality="operations", free=free, same=("batch", "numbers"), together=True,
    )  # fmt: skip


_INFERENCE = [
    row
    for dtype in ("float32", "bfloat16")
    for row in (
        _inference("inference", "one bottleneck in every block", "adapter=active", "<= 1.02",
                   dtype),
        _inference("inference-off", "the same switched off", "adapter=off", "<= 1.01", dtype,
                   free=True),
        _inference("inference-merged", "LoRA merged", "adapter=merged method=lora", "<= 1.01",
                   dtype, free=True),
        _inference("inference-merged-ia3", "IA3 merged", "adapter=merged method=ia3", "<= 1.01",
                   dtype, free=True),
    )
]  # fmt: skip


def _mixed(number: int, spread: str, goal: str) -> Row:
    return Row(
        name=f"rows-{number}-{spread}",
        what=f"64 rows x 32 tokens over {number} bottlenecks, {spread} / the base alone",
        a=f"ours rows rows=64 tokens=32 adapters={number} spread={spread}",
        b="ours infer rows=64 tokens=32 dtype=float32", goal=goal, quality="difference",
        same=("batch", "numbers"), together=True,
    )  # fmt: skip


_MANY = [
    _mixed(1, "even", "<= 1.03"),
    _mixed(8, "even", "<= 1.04"),
    _mixed(8, "zipf", "<= 1.04"),
    _mixed(64, "even", "<= 1.05"),
    _mixed(64, "zipf", "<= 1.05"),
    *(
        Row(
            name=f"register-{peer}-{resident}",
            what=f"one more adapter from memory beside {resident}: {words}",
            a=f"{script} register resident={resident}",
            b=f"ours register resident={resident}{settings}", goal=">= 50", same=("trained",),
        )
        for resident in (64, 1000)
        for peer, script, words, settings in (
            ("adapterhub", "adapterhub", "AdapterHub seq_bn", ""),
            ("peft", "peft_lora", "PEFT LoRA", " method=lora[rank=8,alpha=8] at=q,v"),
        )
    ),
    Row(
        name="fuse", what="Fuse of 8, inference: AdapterHub", a="adapterhub fuse", b="ours fuse",
        goal=">= 1.8", same=("batch",), close={"output": 1e-5},
    ),
    Row(
        name="fuse-step", what="Fuse of 8, training step: AdapterHub", a="adapterhub fuse_step",
        b="ours fuse_step", goal=">= 1.5", quality="last_loss", same=_STEP,
        close={"first_loss": 1e-5},
    ),
]  # fmt: skip

_EPOCH = "rows=1000 epochs=8"
"""As many epochs as are run with `--repeats 5`, the schedule falling to zero over them."""
_SAVED = [
    Row(
        name="replay-epoch",
        what="an epoch after the first, upper half: with / without replay",
        a=f"ours_many epoch {_EPOCH} replay=yes", b=f"ours_many epoch {_EPOCH} replay=no",
        goal="<= 0.70", quality="accuracy", same=("rows", "trained"), together=True,
    ),
    Row(
        name="ffn-epoch",
        what="the same with replay: an adapter of as many weights after the feed-forward / default",
        a=f"ours_many epoch {_EPOCH} at=ffn method=bottleneck[reduction=2]",
        b=f"ours_many epoch {_EPOCH}",
        quality="accuracy", same=("rows",), together=True,
    ),
    *(
        Row(
            name=f"side-epoch{suffix}",
            what=f"an epoch on 1000 rows: AdapterHub{words} / a side network, warm cache",
            a=f"adapterhub epoch {_EPOCH}{dtype}", b=f"ours_many epoch {_EPOCH} method=side",
            goal=">= 20", quality="accuracy", not_lower=True, within=0.01, same=("rows", "epochs"),
        )
        for suffix, words, dtype in (("", "", ""), ("-bf16", " under bfloat16", " dtype=bf16"))
    ),
    *(
        Row(
            name=f"sweep{suffix}",
            what=f"8 configurations, 3 epochs of 1000 rows: AdapterHub in turn / ours{words}",
            a="adapterhub sweep configurations=2 rows=1000 epochs=3",
            b=f"ours_many sweep rows=1000 epochs=3{halving}", goal=goal, measure="training",
            quality="accuracy", same=("configurations",),
        )
        for suffix, words, halving, goal in (
            ("", "", "", ">= 12"), ("-halving", " with halving", " halving=2", ">= 20")
        )
    ),
    *(
        Row(
            name=f"tasks-{name}", what=f"8 tasks on one text, {words} / 1 task",
            a=f"ours_many tasks tasks=8 layers={layers}",
            b=f"ours_many tasks tasks=1 layers={layers}",
            goal=goal, quality="difference", same=("batch", "numbers"), together=True,
        )
        for name, words, layers, goal in (
            ("upper", "upper half", "upper", "<= 4.6"), ("last", "last block", "-1", "<= 2.4")
        )
    ),
    Row(
        name="tasks-side", what="8 tasks on one text, side networks / the base alone",
        a="ours_many tasks tasks=8 layers=all method=side", b="ours_many tasks tasks=0",
        quality="difference", same=("batch", "numbers"), together=True,
    ),
]  # fmt: skip

ALL = (*_STEPS, *_TRAININGS, *_MEMORY, *_INFERENCE, *_MANY, *_SAVED)
ROWS = {row.name: row for row in ALL}
"""Name -> row, in the order of the table."""
