"""Options of a task: the settings of it that a user may give, by name and as text or plain data."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from inlay.errors import ConfigError, did_you_mean
from inlay.tasks.base import AbstractTask
from inlay.tasks.joint import Joint
from inlay.tasks.option_types import When


def with_options(
    task: AbstractTask, given: Mapping[str, Any], *, is_trained: bool = False
) -> AbstractTask:
    """Return the task with some of its options set.

    Of tasks that are learnt together, an option is written `NAME.OPTION`.

    Args:
        task: Any task.
        given: Option -> value, as text or as it is.
        is_trained: Whether there is an adapter for the task already.

    Raises:
        ConfigError: If there is no such option, its value is not allowed, it cannot be given now,
            or it has no effect beside the others.
    """
    if not given:
        return task
    if isinstance(task, Joint):
        return _joint(task, given, is_trained=is_trained)
    values = {key: _value(task, key, value, is_trained=is_trained) for key, value in given.items()}
    # Every task but `Joint` is a dataclass of its settings.
    changed: AbstractTask = dataclasses.replace(task, **values)  # type: ignore[type-var]
    changed.check_options(values)
    return changed


def changeable(task: AbstractTask) -> set[str]:
    """Return the options that can be given to a trained adapter: they are no part of what it is."""
    if isinstance(task, Joint):
        return {name for own in task.tasks for name in changeable(own)}
    return {name for name, when in task.options.items() if when != "training"}


def check_answering(task: AbstractTask, given: Collection[str]) -> None:
    """Refuse options that change no answer, where there is no report for them to change.

    Args:
        task: Any task but several that are learnt together.
        given: Names of options.

    Raises:
        ConfigError: If there is one.
    """
    for name in given:
        if task.options.get(name) == "reports":
            raise ConfigError(
                f"task option {name!r} changes what is reported and no answer; give it to "
                "`inlay evaluate`, or leave it out."
            )


def _joint(task: Joint, given: Mapping[str, Any], *, is_trained: bool) -> Joint:
    owned: dict[int, dict[str, Any]] = {}
    for key, value in given.items():
        name, dot, option = key.rpartition(".")
        if not dot:
            raise ConfigError(
                f"task option {key!r}: several tasks are learnt together, "
                f"{', '.join(task.names)}; say whose option it is, like {task.names[0]}.{key}."
            )
        owned.setdefault(task.number_of(name), {})[option] = value
    return task.with_tasks(
        [
            with_options(own, owned.get(number, {}), is_trained=is_trained)
            for number, own in enumerate(task.tasks)
        ]
    )


def _value(task: AbstractTask, name: str, value: Any, *, is_trained: bool) -> Any:
    """Return the value of an option in its own type."""
    if name not in task.options:
        raise ConfigError(
            f"task {task.name!r} has no option {name!r}; {_there_are(task)}"
            f"{did_you_mean(name, task.options)}"
        )
    _check_time(task, name, is_trained=is_trained)
    kind = get_type_hints(type(task), include_extras=True)[name]
    if get_origin(kind) is tuple and not isinstance(value, list | tuple):
        value = [part.strip() for part in str(value).split(",") if part.strip()]
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise ConfigError(
            f"task option {name}={value!r}: {message[0].lower()}{message[1:]}; it is "
            f"{getattr(task, name)!r} if nothing is said."
        ) from error


def _check_time(task: AbstractTask, name: str, *, is_trained: bool) -> None:
    """Refuse an option that comes too early or too late to have an effect."""
    when: When = task.options[name]
    if is_trained and when == "training":
        later = ", ".join(sorted(changeable(task)))
        raise ConfigError(
            f"option {name!r} of task {task.name!r} was fixed by training; "
            + (f"what can still be given: {later}." if later else "none can be given now.")
        )
    if not is_trained and when == "afterwards":
        raise ConfigError(
            f"option {name!r} of task {task.name!r} is fitted to validation by training; give it "
            "to `inlay evaluate` or `inlay predict`."
        )


def _there_are(task: AbstractTask) -> str:
    if not task.options:
        return "it has none."
    return f"it has {', '.join(f'{name}={_shown(task, name)}' for name in task.options)}."


def _shown(task: AbstractTask, name: str) -> str:
    value = getattr(task, name)
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return {None: "none", True: "true", False: "false"}.get(value, str(value))
