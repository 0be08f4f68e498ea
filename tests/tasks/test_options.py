"""Options of tasks: by name, as text or plain data, at the right time, and with an effect."""

import dataclasses

import pytest

from inlay.errors import AdapterError, ConfigError
from inlay.tasks.classification import TextClassification
from inlay.tasks.joint import Joint
from inlay.tasks.multilabel import MultiLabel
from inlay.tasks.options import changeable, with_options
from inlay.tasks.question_answering import QuestionAnswering
from inlay.tasks.registry import TASKS
from inlay.tasks.text_to_text import TextToText


def test_text_and_plain_data_mean_the_same():
    as_text = {"num_beams": "2", "do_sample": "true", "top_p": "0.9", "temperature": "0.7"}
    plain = {"num_beams": 2, "do_sample": True, "top_p": 0.9, "temperature": 0.7}
    changed = with_options(TextToText(), as_text)
    assert changed == with_options(TextToText(), plain)
    assert changed == TextToText(num_beams=2, do_sample=True, top_p=0.9, temperature=0.7)


def test_nothing_given_changes_nothing():
    task = TextToText(seed=4)
    assert with_options(task, {}) is task


@pytest.mark.parametrize("name", [name for name in TASKS if name != "joint"])
def test_every_option_is_a_setting_that_is_saved(name):
    fields = {field.name for field in dataclasses.fields(TASKS[name])}
    assert set(TASKS[name].options) <= fields - {"labels"}


BAD = [
    (
        {"num_beam": "2"},
        r"^task 'text-to-text' has no option 'num_beam'; it has num_beams=4, max_new_tokens=64, "
        r".*do_sample=false.* Did you mean 'num_beams'\?$",
    ),
    ({"num_beams": "many"}, r"^task option num_beams='many': input should be a valid integer.* 4 "),
    ({"num_beams": 0}, r"^task option num_beams=0: .*greater than or equal to 1; it is 4 if"),
    ({"top_p": "1.5", "do_sample": "true"}, r"^task option top_p='1.5': .*less than or equal to 1"),
    ({"temperature": 0.5}, r"^task option temperature=0.5: without do_sample=true no token is"),
    ({"seed": 3}, r"^task option seed=3: without do_sample=true"),
    (
        {"num_beams": 1, "length_penalty": 2},
        r"^task option length_penalty=2.0: .* and there is one",
    ),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_options_that_cannot_be_used(given, message):
    with pytest.raises(ConfigError, match=message):
        with_options(TextToText(), given)


def test_what_training_fixes_cannot_be_given_afterwards():
    task = TextClassification(labels=("a", "b"))
    assert with_options(task, {"dropout": 0.25}).dropout == 0.25
    with pytest.raises(ConfigError, match=r"^option 'dropout' .* was fixed by training; .*"):
        with_options(task, {"dropout": 0.25}, is_trained=True)


def test_what_training_fits_cannot_be_given_before():
    task = MultiLabel(labels=("a", "b"))
    assert with_options(task, {"threshold": "0.9"}, is_trained=True).threshold == 0.9
    message = r"^option 'threshold' of task 'multi-label' is fitted to validation by training;"
    with pytest.raises(ConfigError, match=message):
        with_options(task, {"threshold": "0.9"})
    with pytest.raises(ConfigError, match="what can still be given: threshold"):
        with_options(task, {"dropout": "0.9"}, is_trained=True)


def test_a_threshold_that_decides_nothing_is_refused():
    some = QuestionAnswering(has_unanswerable=True)
    assert with_options(some, {"threshold": "-1.5"}, is_trained=True).threshold == -1.5
    every = QuestionAnswering(has_unanswerable=False)
    with pytest.raises(ConfigError, match=r"^task option threshold=1.0: .*always gives one"):
        with_options(every, {"threshold": 1}, is_trained=True)


def joint():
    members = [
        {"task": "question-answering", "has_unanswerable": True},
        {"task": "text-classification", "labels": ["x", "y"]},
    ]
    return Joint(names=("qa", "my.topics"), members=members, weights=(1, 0.5))


def test_options_of_tasks_learnt_together_name_their_task():
    changed = with_options(joint(), {"qa.max_answer_tokens": "7", "qa.dropout": 0.2})
    assert (changed.tasks[0].max_answer_tokens, changed.tasks[0].dropout) == (7, 0.2)
    assert changed.tasks[1] == joint().tasks[1]
    dotted = with_options(joint(), {"my.topics.dropout": 0.25})
    assert [task.dropout for task in dotted.tasks] == [0.1, 0.25]
    assert (changed.names, changed.weights) == (joint().names, joint().weights)
    assert changeable(joint()) == {"max_answer_tokens", "threshold", "out_of_scope"}


def test_options_of_tasks_learnt_together_without_a_task():
    with pytest.raises(ConfigError, match=r"say whose option it is, like qa\.dropout\.$"):
        with_options(joint(), {"dropout": 0.2})
    with pytest.raises(AdapterError, match=r"^no task 'q'; this adapter has qa"):
        with_options(joint(), {"q.dropout": 0.2})
