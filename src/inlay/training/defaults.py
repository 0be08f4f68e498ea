"""Settings that depend on the method or the rows, chosen on validation (see docs/design.md)."""

import math

from inlay.data.forms.registry import task_name
from inlay.errors import ConfigError
from inlay.methods.base import AbstractSiteMethod, AbstractWeightMethod
from inlay.methods.parse import parse_method
from inlay.methods.presets import Preset
from inlay.training.config import ResolvedConfig

LEARNING_RATES = {
    "bottleneck": 2e-3,
    "compacter": 3e-3,
    "conv": 2e-3,
    "embedding": 1e-3,
    "output": 2e-3,
    "lora": 2e-3,
    "ia3": 1e-2,
    "vera": 1e-2,
    "loreft": 4e-3,
    "prefix": 1e-3,
    "prompt": 1e-2,
    "side": 1e-2,
    "invertible": 1e-3,
    "union": 1e-3,
    "bitfit": 2e-3,
    "norms": 2e-3,
    "full": 2e-4,
    "top": 2e-4,
    "head": 1e-2,
}
"""Method -> peak learning rate for AdamW with a linear decay.

Those of `vera`, `compacter`, `loreft`, `prefix`, `prompt`, `invertible` and `union` are of the
papers' order of size and have not been chosen on validation data yet.
"""

_OF_WORDS: dict[str, object] = {
    "method": "bottleneck[reduction=5]", "layers": "all", "learning_rate": 3e-3, "warmup": 0.2,
}  # fmt: skip
"""What tells words of a text apart needs adapters in the lower blocks too; a long warm-up keeps
their higher rate from collapsing."""

TASK_DEFAULTS: dict[str, dict[str, dict[str, object]]] = {
    "similarity": {"bottleneck": {"learning_rate": 5e-4}},
    "tagging": {"bottleneck": _OF_WORDS},
    "question-answering": {"bottleneck": _OF_WORDS},
    "text-generation": {"bottleneck": {"layers": "all"}},
    "masked-language-modelling": {"bottleneck": {"layers": "all"}},
}
"""Task -> method -> what the task needs otherwise; see `benchmarks.zero_shot` for similarity,
`benchmarks.tasks` for tagging and question answering, `benchmarks.generation` for text; words of
a language are learnt in all blocks, as in MAD-X (Pfeiffer et al. 2020)."""

BLOCK_LAYERS = "upper"
PAIR_LAYERS = "upper 3/4"
"""Blocks that get adapters. For single texts the upper half trains twice as fast and is as accurate
as all; where two texts are compared it is not (`benchmarks/results/depth.md`)."""

_IN_NO_BLOCK = frozenset({"embedding", "start", "output", "kernel", "lm_head"})
"""Kinds of site that are in no block, or need not be, so that no number of blocks can be said."""

_FEWEST_STEPS = 100
"""Steps of the optimiser that a training gets at least, within `_MOST_EPOCHS`."""

_MOST_EPOCHS = 30


def with_defaults(
    resolved: ResolvedConfig, *, task: str | None = None, pairs: bool = False
) -> tuple[ResolvedConfig, Preset]:
    """Fill in what depends on the method and the task, and say so in the origins.

    Args:
        resolved: The settings.
        task: What the data are for, where the settings do not say.
        pairs: Whether its rows are pairs of texts.

    Raises:
        ConfigError: If the method or the task is not known, or a placement was given to a
            comparator.
    """
    config, origins = resolved.config, dict(resolved.origins)
    task = task if config.task is None else task_name(config.task)
    preset = parse_method(config.method)
    own = TASK_DEFAULTS.get(task or "", {}).get(preset.method.name, {})
    if "method" in own and origins["method"] == "default":
        preset = parse_method(str(own["method"]))
    else:
        own = {key: value for key, value in own.items() if key != "method"}
    usual: dict[str, object] = {"learning_rate": LEARNING_RATES[preset.method.name]}
    if isinstance(preset.method, AbstractSiteMethod):
        words = {word.strip() for word in (config.at or preset.at).split(",")}
        has_ends = words & _IN_NO_BLOCK
        in_blocks = PAIR_LAYERS if pairs else BLOCK_LAYERS
        usual |= {"at": preset.at, "layers": "all" if has_ends else in_blocks}
    else:
        for key in ("at", "layers"):
            if getattr(config, key) is not None:
                raise ConfigError(
                    f"{key}={getattr(config, key)!r}: method {config.method!r} has no sites to "
                    f"place; leave out {key}, or take an adapter such as bottleneck or lora."
                )
    chosen = {
        key: value
        for key, value in (usual | own).items()
        if origins[key] == "default" or getattr(config, key) is None
    }
    for key in chosen:
        what_for = task if key in own else "pairs" if chosen[key] == PAIR_LAYERS else None
        origins[key] = f"default of {preset.method.name}" + (f" for {what_for}" if what_for else "")
    config = config.model_copy(update=chosen)
    return ResolvedConfig(config, origins, resolved.notes), preset


def with_steps_for_few_rows(resolved: ResolvedConfig, num_rows: int) -> ResolvedConfig:
    """Give few rows more epochs, unless epochs were asked for: an adapter needs some steps.

    Args:
        resolved: The settings.
        num_rows: Rows of train.
    """
    config, origins = resolved.config, dict(resolved.origins)
    per_epoch = math.ceil(num_rows / (config.batch_size * config.gradient_accumulation))
    epochs = min(_MOST_EPOCHS, math.ceil(_FEWEST_STEPS / per_epoch))
    if origins["epochs"] != "default" or epochs <= config.epochs:
        return resolved
    chosen = {"epochs": epochs}
    if origins["patience"] == "default":
        chosen["patience"] = max(config.patience, epochs // 4)
    origins |= dict.fromkeys(chosen, f"default for {num_rows} rows")
    return ResolvedConfig(config.model_copy(update=chosen), origins, resolved.notes)


def trains_base(preset: Preset) -> bool:
    """Tell whether a method trains weights of the base, so that it runs in training mode."""
    method = preset.method
    return isinstance(method, AbstractWeightMethod) and method.first_block(1) in (None, 0)
