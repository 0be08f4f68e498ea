"""The tasks by name, and a task from what was kept beside an adapter."""

from collections.abc import Mapping
from typing import Any

from inlay.data.rows import Dataset
from inlay.errors import ConfigError, FormatError, did_you_mean
from inlay.tasks.base import AbstractTask
from inlay.tasks.classification import TextClassification

TASKS: dict[str, type[TextClassification]] = {TextClassification.name: TextClassification}
"""Every task by its name."""


def task_for(name: str | None, dataset: Dataset) -> AbstractTask:
    """Build the task for a data set.

    Args:
        name: A task's name, or `None` to take what the data are for.
        dataset: Gives the labels.

    Raises:
        ConfigError: If there is no such task.
    """
    if name is not None and name not in TASKS:
        raise ConfigError(
            f"no task {name!r}; there are {', '.join(TASKS)}.{did_you_mean(name, TASKS)}"
        )
    return TextClassification(labels=tuple(dataset.labels))


def task_from_settings(settings: Mapping[str, Any], source: str) -> AbstractTask:
    """Build a task from what `AbstractTask.settings` gave.

    Args:
        settings: Plain data.
        source: The file it was read from, for the message.

    Raises:
        FormatError: If it is not a task's settings.
    """
    name = settings.get("task")
    if name not in TASKS:
        raise FormatError(f"{source}: task {name!r} is not known; there are {', '.join(TASKS)}.")
    own = {key: value for key, value in settings.items() if key != "task"}
    try:
        return TASKS[name](**(own | {"labels": tuple(own["labels"])}))
    except (TypeError, KeyError) as error:
        raise FormatError(f"{source}: the task's settings are damaged ({error}).") from error
