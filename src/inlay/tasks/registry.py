"""The tasks by name, the task for a data set, and a task from what was kept beside an adapter."""

from collections.abc import Mapping
from typing import Any

from inlay.data.forms.registry import TASK_FORMS, task_name
from inlay.data.rows import Dataset
from inlay.errors import ConfigError, FormatError
from inlay.tasks.base import AbstractTask
from inlay.tasks.choice import MultipleChoice
from inlay.tasks.classification import TextClassification
from inlay.tasks.joint import Joint
from inlay.tasks.masked_language_modelling import MaskedLanguageModelling
from inlay.tasks.multilabel import MultiLabel
from inlay.tasks.options import with_options
from inlay.tasks.question_answering import QuestionAnswering
from inlay.tasks.regression import Regression
from inlay.tasks.similarity import Similarity
from inlay.tasks.tagging import Tagging
from inlay.tasks.text_generation import TextGeneration
from inlay.tasks.text_to_text import TextToText

TASKS: dict[str, type[AbstractTask]] = {
    task.name: task
    for task in (
        TextClassification,
        MultiLabel,
        Regression,
        Tagging,
        MultipleChoice,
        QuestionAnswering,
        Similarity,
        TextToText,
        TextGeneration,
        MaskedLanguageModelling,
        Joint,
    )
}
"""Every task by its name: the one list that a new task is added to."""


def task_for(
    name: str | None,
    dataset: Dataset,
    *,
    base_kind: str = "encoder",
    options: Mapping[str, Any] | None = None,
) -> AbstractTask:
    """Build the task for a data set.

    Args:
        name: A task's name, or `None` to take what the data are for.
        dataset: Gives the labels and the form of the rows.
        base_kind: What the base is, where the data fit several tasks.
        options: Settings of the task that were asked for, see `inlay.tasks.options`.

    Raises:
        ConfigError: If there is no such task, it does not read rows of this form, or an option
            cannot be used.
    """
    name = task_of(dataset.form, base_kind) if name is None else task_name(name)
    if dataset.form not in TASK_FORMS[name]:
        raise ConfigError(
            f"task {name!r} reads {' or '.join(TASK_FORMS[name])} rows, and {dataset.name!r} has "
            f"{dataset.form} rows."
        )
    return with_options(TASKS[name].for_dataset(dataset), options or {})


def task_of(form: str, base_kind: str) -> str:
    """Return the task that rows of a form are for on a base of some kind."""
    fitting = [task for task in TASKS if form in TASK_FORMS[task]]
    suited = [task for task in fitting if TASKS[task].needs == base_kind]
    return (suited or fitting)[0]


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
    own = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in settings.items()
        if key != "task"
    }
    try:
        return TASKS[name](**own)
    except (TypeError, KeyError) as error:
        raise FormatError(f"{source}: the task's settings are damaged ({error}).") from error
