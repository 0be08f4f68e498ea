"""The forms by name, the tasks that read them, and the form of a table that says nothing."""

from collections.abc import Mapping
from typing import Any

from inlay.data.columns import simplify
from inlay.data.forms.base import AbstractForm, text_and_pair
from inlay.data.forms.chat import Chat
from inlay.data.forms.choices import Choices
from inlay.data.forms.multilabel import MultiLabelled
from inlay.data.forms.plain import Plain
from inlay.data.forms.scored import Scored
from inlay.data.forms.spans import Spans
from inlay.data.forms.tagged import Tagged
from inlay.data.forms.to_text import ToText
from inlay.data.joint import FORM as JOINT
from inlay.data.rows import Example
from inlay.data.table import Table
from inlay.errors import ConfigError, DataError, did_you_mean

LABELLED = "labelled"
"""The form of a text or a pair with one label, read by `inlay.data.sources` itself."""

FORMS: dict[str, AbstractForm] = {
    form.name: form
    for form in (
        Tagged(), Spans(), Choices(), Chat(), MultiLabelled(), ToText(), Scored(), Plain()
    )
}  # fmt: skip
"""Every other form by its name, in the order in which a table is tried against them."""

TASK_FORMS: dict[str, tuple[str, ...]] = {
    "text-classification": (LABELLED,),
    "multi-label": (MultiLabelled.name,),
    "regression": (Scored.name,),
    "tagging": (Tagged.name,),
    "question-answering": (Spans.name,),
    "multiple-choice": (Choices.name,),
    "text-to-text": (ToText.name,),
    "text-generation": (Plain.name, ToText.name, Chat.name),
    "masked-language-modelling": (Plain.name,),
    "similarity": (LABELLED,),
    "joint": (JOINT,),
}
"""Task -> the forms that it reads."""

ASKS_NEW_LABELS = frozenset({"similarity"})
"""Tasks that can be asked labels which train does not have."""

ALIASES = {
    "classification": "text-classification",
    "sentiment": "text-classification",
    "multi-label-classification": "multi-label",
    "ner": "tagging",
    "pos": "tagging",
    "token-classification": "tagging",
    "extractive-qa": "question-answering",
    "qa": "question-answering",
    "swag": "multiple-choice",
    "translation": "text-to-text",
    "summarization": "text-to-text",
    "summarisation": "text-to-text",
    "question-generation": "text-to-text",
    "text2text-generation": "text-to-text",
    "causal-lm": "text-generation",
    "chat": "text-generation",
    "language-modelling": "text-generation",
    "mlm": "masked-language-modelling",
    "fill-mask": "masked-language-modelling",
    "zero-shot": "similarity",
    "zero-shot-classification": "similarity",
}
"""Names that other tools use -> ours."""


_CLASS_NAMES = {"label", "intent", "category", "class", "sentiment"}
_TEXT_NAMES = {"text", "sentence", "review", "content", "sentence1", "premise"}


def task_name(name: str) -> str:
    """Return our name for a task.

    Raises:
        ConfigError: If there is no such task.
    """
    name = ALIASES.get(name, name)
    if name not in TASK_FORMS:
        known = [*TASK_FORMS, *ALIASES]
        raise ConfigError(
            f"no task {name!r}; there are {', '.join(TASK_FORMS)}.{did_you_mean(name, known)}"
        )
    return name


def default_task(form: str) -> str:
    """Return the task that rows of a form are for, if nothing else is said.

    Some forms suit several tasks; which one is then told by the base.
    """
    return tasks_of(form)[0]


def tasks_of(form: str) -> list[str]:
    """Return the tasks that rows of a form are for: the default one, then those of other bases.

    Labels may be learnt by name too, but only where that is asked for.
    """
    tasks = [task for task, forms in TASK_FORMS.items() if form in forms]
    return tasks[:1] if form == LABELLED else tasks


def asked(row: Example, form: str) -> dict[str, Any]:
    """Return what a row of a form asks, by role, as it is shown beside an answer."""
    return FORMS[form].asked(row) if form in FORMS else text_and_pair(row)


def choose_form(
    table: Table, *, task: str | None, columns: Mapping[str, str], is_labelled: bool
) -> AbstractForm | None:
    """Return the form of a table; `None` for texts with one label.

    Args:
        table: The first rows.
        task: A task's name, if one was asked for.
        columns: Role -> column, as far as they were named.
        is_labelled: Whether text and label were named, so that nothing is to be guessed.

    Raises:
        DataError: If the table has no form that the task reads.
    """
    if task is None:
        if is_labelled:
            return None
        fitting = (form for form in FORMS.values() if _fits(form, table, columns))
        return next(fitting, None)
    names = TASK_FORMS[task_name(task)]
    if LABELLED in names:
        return None
    forms = [FORMS[name] for name in names]
    complete = [form for form in forms if not lacking(form, table, columns)]
    sure = [form for form in complete if form.fits(table, match(form, table, columns))]
    if sure or complete:
        return (sure or complete)[0]
    lacks = [f"{', '.join(lacking(form, table, columns))}" for form in forms]
    raise DataError(
        f"{table.name} has no column for {' or '.join(lacks)}, which task {task!r} reads. It has: "
        f"{', '.join(table.columns)}. Name columns with --column ROLE=NAME."
    )


def match(form: AbstractForm, table: Table, given: Mapping[str, str]) -> dict[str, str]:
    """Return role -> column, taking what was named and finding the rest by name.

    Raises:
        DataError: If a role or a column that was named is not there.
    """
    names = [role.name for role in form.roles]
    for role, column in given.items():
        if role not in names:
            raise DataError(f"--column {role}={column}: {form.name} rows have {', '.join(names)}.")
        if column not in table.columns:
            raise DataError(
                f'{table.name} has no column "{column}". It has: {", ".join(table.columns)}.'
            )
    by_name = {simplify(column): column for column in reversed(table.columns)}
    taken = set(given.values())
    found = dict(given)
    for part in form.roles:
        if part.name not in found:
            free = (by_name[name] for name in part.columns if name in by_name)
            guess = next((name for name in free if name not in taken), None)
            if guess is not None:
                found[part.name] = guess
                taken.add(guess)
    return found


def lacking(form: AbstractForm, table: Table, given: Mapping[str, str]) -> list[str]:
    """Return the needed roles for which a table has no column."""
    known = [role.name for role in form.roles]
    found = match(form, table, {key: value for key, value in given.items() if key in known})
    return [role.name for role in form.roles if role.is_needed and role.name not in found]


def _fits(form: AbstractForm, table: Table, given: Mapping[str, str]) -> bool:
    names = [role.name for role in form.roles]
    if any(key not in names for key in given) or not {*given.values()} <= {*table.columns}:
        return False
    if lacking(form, table, given):
        return False
    columns = match(form, table, given)
    spare = {simplify(name) for name in table.columns if name not in columns.values()}
    simple = {simplify(name) for name in table.columns}
    if spare & _CLASS_NAMES and simple & _TEXT_NAMES:
        return False  # a text with a class beside it; what else there is is additional
    return form.fits(table, columns)
