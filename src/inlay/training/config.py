"""`TrainConfig`: every setting of a training, its default, and where its value came from."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inlay.errors import ConfigError, did_you_mean

Optimizer = Literal["adamw", "adam", "sgd", "adagrad", "adafactor"]
Schedule = Literal["linear", "cosine", "constant"]
Precision = Literal["auto", "float32", "bfloat16"]
AttentionName = Literal["eager", "sdpa"]
Trunk = Literal["auto", "int8"]

SHORTEST = 4
"""The least number of a text's tokens that a training may read."""


@final
class TrainConfig(BaseModel):
    """The settings of one training; `None` where the value depends on the method or the data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str
    """File, folder, built-in name or Hub name."""
    base: str = "minilm"
    """Alias, folder or Hub name of the base model."""
    task: str | None = None
    """Task by name; told from the data if not given."""
    task_options: dict[str, Any] = {}
    """Option of the task -> value, see `inlay.tasks.options`: `{num_beams: 2}`."""
    method: str = "bottleneck"
    """Method, preset or comparator, with settings in brackets: `lora[rank=4]`, `top:2`."""
    stack_on: str | None = None
    """Run or adapter that stays frozen below the new one, which keeps a copy of it."""
    at: str | None = None
    """Kinds of site, see `inlay.sites.placement.Placement`."""
    layers: str | None = None
    """Which blocks: `all`, `upper`, `3-5`."""
    submodel: str | None = None
    """Which of several submodels."""
    epochs: int = Field(5, ge=1)
    """Passes over the training rows, at most; early stopping may end sooner. Few rows get more
    of them if nothing is said."""
    batch_size: int = Field(32, ge=1)
    """Rows of one step on one device."""
    learning_rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Peak learning rate; by method and task if not given."""
    optimizer: Optimizer = "adamw"
    """Optimiser by its usual name."""
    schedule: Schedule = "linear"
    """How the learning rate falls to zero after the warm-up; `constant` does not."""
    warmup: float = Field(0.06, ge=0)
    """Fraction of the steps if below 1, else a number of steps."""
    weight_decay: float = Field(0.01, ge=0)
    """Pull of the weights towards zero, per step and learning rate."""
    gradient_accumulation: int = Field(1, ge=1)
    """Batches that one step of the optimiser sums over."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients longer than this are shortened to it."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target given to the other labels, a fraction in [0, 1)."""
    drop_lowest: int = Field(0, ge=0)
    """AdapterDrop: each forward pass runs up to so many of the lowest blocks, a number drawn anew,
    without the adapter."""
    max_length: int | None = Field(None, ge=SHORTEST)
    """Tokens of a text that are read; the base's limit if not given."""
    precision: Precision = "auto"
    """How the base is stored or computed; `auto` takes bfloat16 where the hardware has it."""
    trunk: Trunk = "auto"
    """How the frozen base's weights are stored: `auto` by precision, `int8` in 8 bits (torchao)."""
    attention: AttentionName | None = None
    """Attention implementation of the base; the one that measures faster if not given."""
    trunk_dropout: bool = False
    """Whether a frozen base runs with its dropout in training; replay is not possible then."""
    replay: bool | None = None
    """Whether what frozen blocks compute is kept on disk and read in later epochs and runs; where
    that is possible if not given."""
    replay_gb: float = Field(8.0, gt=0)
    """Space that all such caches may take, in GiB, and never more than half of what is free."""
    patience: int = Field(3, ge=1)
    """Evaluations without gain before training stops; more of them if few rows get many epochs."""
    eval_every: int | None = Field(None, ge=1)
    """Steps between evaluations within an epoch; after each epoch there is one in any case."""
    checkpoint_seconds: float = Field(30.0, ge=0)
    """Least time between two checkpoints within an epoch, in seconds; they are rarer where writing
    them would take more than 5 % of the time."""
    seed: int = Field(1, ge=0, lt=2**31)
    """Of weights, order and dropout."""
    split_seed: int = Field(42, ge=0)
    """Of the splits that have to be made."""
    text_column: str | None = None
    """Column of the text."""
    pair_column: str | None = None
    """Column of the second text."""
    label_column: str | None = None
    """Column of the label."""
    columns: dict[str, str] = {}
    """Role -> column, for roles that other tasks have: `tokens`, `question`, `source`."""
    label_map: dict[str, str] = {}
    """Labels to be read as others."""
    max_rejected: float = Field(0.01, ge=0, le=1)
    """Share of rows that may be unusable, a fraction in [0, 1]."""
    drop_unseen_labels: bool = False
    """Whether rows of other splits whose label is not in train are left out."""
    few_shot: int | None = Field(None, ge=1)
    """Rows for each class that are kept of train and of validation; all if not given."""
    out: str | None = None
    """Folder of the run; a new one under `runs/` if not given."""


ALIASES = {
    "lr": "learning_rate",
    "num_train_epochs": "epochs",
    "num_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "micro_batch_size": "batch_size",
    "model": "base",
    "base_model": "base",
    "model_name_or_path": "base",
    "output_dir": "out",
    "optim": "optimizer",
    "lr_scheduler_type": "schedule",
    "warmup_ratio": "warmup",
    "warmup_steps": "warmup",
    "gradient_accumulation_steps": "gradient_accumulation",
    "label_smoothing_factor": "label_smoothing",
    "max_seq_length": "max_length",
    "cutoff_len": "max_length",
    "early_stopping_patience": "patience",
    "eval_steps": "eval_every",
}
"""Names that other tools use -> ours."""

_NUMBERS = {
    name
    for name, field in TrainConfig.model_fields.items()
    if {int, float} & {field.annotation, *get_args(field.annotation)}
}


@final
class ResolvedConfig:
    """A configuration with the origin of each value and notes for the user.

    Args:
        config: The settings.
        origins: Setting -> `default`, `flag`, or the file it came from.
        notes: One line for each alias that was understood.
    """

    def __init__(self, config: TrainConfig, origins: dict[str, str], notes: list[str]) -> None:
        self.config = config
        self.origins = origins
        self.notes = notes


def resolve_config(
    given: Mapping[str, Any], *, file: str | Path | None = None, given_as: str = "flag"
) -> ResolvedConfig:
    """Merge defaults, a YAML file and given values, the later winning.

    Args:
        given: Values from flags or keyword arguments; `None` counts as not given.
        file: A YAML file of settings.
        given_as: What the origin of the given values is called.

    Raises:
        ConfigError: If a key is not known or a value not allowed; with file, line and column
            where there is a file.
    """
    values: dict[str, Any] = {}
    origins = dict.fromkeys(TrainConfig.model_fields, "default")
    places: dict[str, str] = {}
    notes: list[str] = []
    if file is not None:
        for key, (value, place) in _read_yaml(Path(file)).items():
            name = _known(key, place + " ", notes)
            if name in places:
                raise ConfigError(f'{place} key "{name}" is given twice.')
            values[name] = _number(value) if name in _NUMBERS else value
            origins[name], places[name] = str(file), place
    for key, value in given.items():
        if value is not None:
            name = _known(key, "", notes)
            values[name] = str(value) if isinstance(value, Path) else value
            origins[name] = given_as
            places.pop(name, None)
    if "data" not in values:
        raise ConfigError("no data: give a file, a folder or a name: `inlay train reviews.csv`.")
    try:
        config = TrainConfig.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0])
        place = f"{places[name]} " if name in places else ""
        raise ConfigError(
            f"{place}{name}={problem['input']!r}: {_plain(problem['msg'])}."
        ) from error
    return ResolvedConfig(config, origins, notes)


def _plain(message: str) -> str:
    return message[0].lower() + message[1:]


def _known(key: str, place: str, notes: list[str]) -> str:
    name = key.replace("-", "_")
    if name in TrainConfig.model_fields:
        return name
    if name in ALIASES:
        notes.append(f"{name} is called {ALIASES[name]} here")
        return ALIASES[name]
    known = [*TrainConfig.model_fields, *ALIASES]
    hint = did_you_mean(name, known).replace("'", '"')
    raise ConfigError(f'{place}unknown key "{key}".{hint}')


def _read_yaml(path: Path) -> dict[str, tuple[Any, str]]:
    """Read a flat mapping with the place of each key: `train.yaml:7:3`."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {str(error).splitlines()[0]}.") from error
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}: expected `key: value` lines.")
    found: dict[str, tuple[Any, str]] = {}
    for key_node, value_node in node.value:
        mark = key_node.start_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}"
        try:
            value = yaml.SafeLoader("").construct_object(value_node, deep=True)
        except yaml.YAMLError as error:
            raise ConfigError(f"{path} is not YAML: {str(error).splitlines()[0]}.") from error
        key = str(key_node.value)
        if key in found:
            raise ConfigError(f'{place} key "{key}" is given twice.')
        found[key] = (value, place)
    return found


def _number(value: Any) -> Any:
    """Read `1e-5`, which YAML takes for text, as the number that was meant."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return value
