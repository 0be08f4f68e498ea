"""Several data sets learnt together: a YAML file that names them, read into one."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from inlay.data.rows import SPLITS, Dataset, FileRecord
from inlay.errors import ConfigError, DataError, did_you_mean

FORM = "joint"
"""The form of a data set that is made of others."""

SAMPLINGS = ("proportional", "temperature", "round-robin")
"""How many rows of each task an epoch has: as there are; by a root of that; equally many."""

_RESERVED = ("mean", "loss")
"""What a joint training's metrics are called beside its tasks."""

_OWN = ("task", "weight", "few_shot")
_COLUMNS = (
    "text_column", "pair_column", "label_column", "columns", "label_map", "max_rejected",
    "drop_unseen_labels",
)  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How the tasks are mixed.

    Args:
        names: Of the tasks, in the order of the file.
        tasks: Name -> what its rows are for, where that was said.
        weights: Name -> what its loss is multiplied by.
        sampling: One of `SAMPLINGS`.
        temperature: For `temperature`: shares go with the size to the power of 1 over it.
    """

    names: tuple[str, ...]
    tasks: dict[str, str | None]
    weights: dict[str, float]
    sampling: str = "proportional"
    temperature: float = 2.0


@final
@dataclass(kw_only=True, slots=True)
class Members:
    """The data sets of a joint one, and how they are mixed."""

    plan: Plan
    datasets: dict[str, Dataset] = field(default_factory=dict)


def read_joint(
    path: Path, read: Callable[..., Dataset], *, split_seed: int, few_shot: int | None
) -> Dataset:
    """Read a file of this form, and the data sets that it names.

        sampling: temperature
        tasks:
          intent: {data: banking77}
          slots:  {data: data/slots.jsonl, task: tagging, weight: 0.5}

    Args:
        path: The file; data are looked for beside it.
        read: Reads one data set.
        split_seed: Draws the splits that are made.
        few_shot: Rows for each class of tasks that say nothing of their own.

    Raises:
        ConfigError: If the file is not of this form, with the key that is wrong.
        DataError: If one of the data sets cannot be read.
    """
    content = _load(path)
    entries: dict[str, dict[str, Any]] = content["tasks"]
    plan = _plan(path, content, entries)
    members = Members(plan=plan)
    for name, entry in zip(plan.names, entries.values(), strict=True):
        options = {key: entry[key] for key in _COLUMNS if key in entry}
        try:
            members.datasets[name] = read(
                _place(path, str(entry["data"])), task=entry.get("task"), split_seed=split_seed,
                few_shot=entry.get("few_shot", few_shot), **options,
            )  # fmt: skip
        except DataError as error:
            # What it tells to do is a setting of this entry, written with underscores.
            raise DataError(f"{path.name}, task {name!r}: {error}") from error
    return _merged(path, members)


def _load(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist; task {FORM!r} reads a YAML file.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is not YAML: {str(error).splitlines()[0]}.") from error
    if not isinstance(content, dict) or not isinstance(content.get("tasks"), dict):
        raise ConfigError(f"{path}: expected `tasks:` with a name and `data:` for each task.")
    _refuse_unknown(path, "", content, ("tasks", "sampling", "temperature"))
    if len(content["tasks"]) < 2:
        raise ConfigError(f"{path}: give two tasks or more to learn together.")
    for name, entry in content["tasks"].items():
        if not isinstance(entry, dict) or "data" not in entry:
            raise ConfigError(f"{path}: task {name!r} names no `data:`.")
        if name in _RESERVED or entry.get("task") == FORM:
            what = f"the task {FORM!r}" if entry.get("task") == FORM else f"a task named {name!r}"
            raise ConfigError(f"{path}: {what} cannot be one of several; take another.")
        _refuse_unknown(path, f"task {name!r}: ", entry, ("data", *_OWN, *_COLUMNS))
    return content


def _refuse_unknown(
    path: Path, where: str, content: Mapping[str, Any], known: tuple[str, ...]
) -> None:
    for key in content:
        if key not in known:
            raise ConfigError(f'{path}: {where}unknown key "{key}".{did_you_mean(str(key), known)}')


def _plan(path: Path, content: Mapping[str, Any], entries: Mapping[str, Any]) -> Plan:
    sampling = content.get("sampling", "proportional")
    if sampling not in SAMPLINGS:
        raise ConfigError(
            f"{path}: sampling={sampling!r} is not one of {', '.join(SAMPLINGS)}."
            f"{did_you_mean(str(sampling), SAMPLINGS)}"
        )
    numbers = {f"weight of {name!r}": entry.get("weight", 1.0) for name, entry in entries.items()}
    numbers["temperature"] = content.get("temperature", 2.0)
    for what, value in numbers.items():
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not 0 < value < math.inf
        ):
            raise ConfigError(f"{path}: {what} is {value!r}; a number above 0 is needed.")
    return Plan(
        names=tuple(map(str, entries)),
        tasks={str(name): entry.get("task") for name, entry in entries.items()},
        weights={str(name): float(entry.get("weight", 1.0)) for name, entry in entries.items()},
        sampling=sampling, temperature=float(numbers["temperature"]),
    )  # fmt: skip


def _place(path: Path, data: str) -> str:
    beside = path.parent / data
    return str(beside) if beside.exists() else data


def _merged(path: Path, members: Members) -> Dataset:
    """Return one data set; each row says which task it is for, in `parts["joint"]`.

    The file is among those read, without rows: its mixture decides the result as the data do.
    """
    own = FileRecord(
        path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest(), rows_read=0,
        rows_used=0, rows_rejected=0, encoding="utf-8", separator=None,
    )  # fmt: skip
    parts = list(members.datasets.items())
    splits = {
        split: [
            row._replace(parts={**(row.parts or {}), "joint": number})
            for number, (_, dataset) in enumerate(parts)
            for row in dataset.splits[split]
        ]
        for split in SPLITS
    }
    return Dataset(
        name=path.stem, splits=splits, labels=[], columns={},
        files=[own, *(record for _, dataset in parts for record in dataset.files)],
        rejected=[row for _, dataset in parts for row in dataset.rejected],
        notes=[f"{task}: {note}" for task, dataset in parts for note in dataset.notes],
        made_splits=any(dataset.made_splits for _, dataset in parts),
        dropped_unseen=sum(dataset.dropped_unseen for _, dataset in parts),
        leaked={f"{t}: {k}": n for t, dataset in parts for k, n in dataset.leaked.items()},
        form=FORM, members=members,
    )  # fmt: skip
