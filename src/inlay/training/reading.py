"""The data that a configuration names, and the settings that depend on them."""

from typing import Any

from inlay.data.forms.registry import default_task, tasks_of
from inlay.data.rows import Dataset
from inlay.data.sources import read_dataset
from inlay.store.bases import base_kind, resolve_base
from inlay.tasks.registry import task_of
from inlay.training.config import ResolvedConfig, TrainConfig
from inlay.training.defaults import with_defaults, with_steps_for_few_rows
from inlay.training.stacking import with_base_below


def read_data(config: TrainConfig) -> Dataset:
    """Read the data set that a configuration names."""
    return read_dataset(config.data, **data_options(config))


def prepared_config(resolved: ResolvedConfig, dataset: Dataset) -> ResolvedConfig:
    """Fill in what depends on the task, the method, the rows, and on what is stacked on.

    Raises:
        ConfigError: If the method is not known, a placement was given to a comparator, or there
            is nothing where `stack_on` points.
        BaseError: If the task depends on the base, and that cannot be found.
    """
    resolved = with_base_below(resolved)
    task = _task(resolved.config, dataset.form)
    resolved, _ = with_defaults(resolved, task=task, pairs=dataset.has_pairs is True)
    return with_steps_for_few_rows(resolved, len(dataset.splits["train"]))


def data_options(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that say how the data are read."""
    names = (
        "task", "text_column", "pair_column", "label_column", "columns", "label_map",
        "max_rejected", "split_seed", "drop_unseen_labels", "few_shot",
    )  # fmt: skip
    return {name: getattr(config, name) for name in names}


def _task(config: TrainConfig, form: str) -> str:
    """Return what the rows are for, which of several tasks being told by the base."""
    if config.task is not None or len(tasks_of(form)) == 1:
        return config.task or default_task(form)
    return task_of(form, base_kind(resolve_base(config.base)))
