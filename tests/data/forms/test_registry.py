"""Forms and the tasks that read them."""

import pytest

from inlay.data.forms.registry import (
    ALIASES,
    FORMS,
    LABELLED,
    TASK_FORMS,
    choose_form,
    default_task,
    match,
    task_name,
)
from inlay.data.joint import FORM as JOINT
from inlay.data.jsonlines import read_jsonlines
from inlay.errors import ConfigError, DataError
from inlay.tasks.registry import TASKS
from tests.data.forms.files import write_jsonl


def table(tmp_path, *rows):
    return read_jsonlines(write_jsonl(tmp_path / "d.jsonl", rows), name="d.jsonl")


def test_every_task_has_its_forms_and_every_form_a_task():
    assert set(TASK_FORMS) == set(TASKS)
    assert {form for forms in TASK_FORMS.values() for form in forms} == {*FORMS, LABELLED, JOINT}
    for name, task in TASKS.items():
        if name != "text-generation":
            assert task.form in TASK_FORMS[name]


def test_aliases_lead_to_tasks():
    assert set(ALIASES.values()) <= set(TASK_FORMS)
    assert task_name("summarization") == task_name("translation") == "text-to-text"
    with pytest.raises(ConfigError, match="no task 'juggling'; there are text-classification, "):
        task_name("juggling")


def test_the_default_task_of_each_form():
    assert default_task(LABELLED) == "text-classification"
    assert default_task("plain") == "text-generation"
    assert default_task("tagged") == "tagging"


def test_columns_are_matched_by_name_and_what_is_given_wins(tmp_path):
    rows = table(tmp_path, {"words": ["a"], "Tags": ["O"], "upos": ["X"]})
    form = FORMS["tagged"]
    assert match(form, rows, {}) == {"tokens": "words", "tags": "Tags"}
    assert match(form, rows, {"tags": "upos"}) == {"tokens": "words", "tags": "upos"}
    with pytest.raises(DataError, match="--column colour=upos: tagged rows have tokens, tags"):
        match(form, rows, {"colour": "upos"})


def test_named_text_and_label_leave_nothing_to_guess(tmp_path):
    rows = table(tmp_path, {"source": "a b c d", "target": "c d e f"})
    given = {"text": "source", "label": "target"}
    assert choose_form(rows, task=None, columns=given, is_labelled=True) is None
    assert choose_form(rows, task=None, columns={}, is_labelled=False) is FORMS["to-text"]


def test_a_task_without_its_columns_says_what_is_lacking(tmp_path):
    rows = table(tmp_path, {"text": "a", "label": "b"})
    with pytest.raises(DataError, match="has no column for context, answers, which task 'qa' r"):
        choose_form(table(tmp_path, {"question": "a"}), task="qa", columns={}, is_labelled=False)
    assert (
        choose_form(rows, task="multi-label", columns={}, is_labelled=False)
        is FORMS["multi-labelled"]
    )
