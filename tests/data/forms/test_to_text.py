"""Texts to be written for others."""

from collections import Counter

import pytest

from inlay.data.forms.base import Place
from inlay.data.forms.to_text import ToText
from inlay.data.sources import read_dataset
from inlay.data.table import MISSING
from tests.data.forms.files import write_jsonl


def read(source, target, *, has_target=True, **more):
    cells = {"source": source, "target": target, **more}
    return ToText().example(cells, Place("f", 1), Counter(), has_target=has_target)


def test_source_and_target():
    row = read("a b", "c d")
    assert (row.text, row.label, row.parts) == ("a b", "c d", None)


def test_an_input_is_added_to_its_instruction_and_tests_are_kept():
    row = read("sort", "b", input="3 1", tests=["assert True"])
    assert row.text == "sort\n\n3 1"
    assert row.parts == {"tests": ["assert True"]}
    row = read("sort", "b", tests=["assert True"], setup="k = 3")
    assert row.parts == {"tests": ["assert True"], "setup": "k = 3"}
    assert read("sort", "b", tests=["assert True"], setup=" ").parts == {"tests": ["assert True"]}
    assert read("sort", "b", input=" ").text == "sort"


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("", "x", "source is empty"), ("x", " ", "target is empty"),
        ("x", MISSING, "target is missing"), (None, "x", "source is null"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_says_why(source, target, reason):
    assert read(source, target) == reason


def test_a_prediction_needs_no_target():
    assert read("x", MISSING, has_target=False).label == ""


@pytest.mark.parametrize(
    "names", [("source", "target"), ("prompt", "completion"), ("instruction", "output"),
              ("article", "highlights"), ("document", "summary")],
)  # fmt: skip
def test_the_names_of_other_tools(tmp_path, names):
    rows = [dict(zip(names, (f"say {n}", f"the words are {n}"), strict=True)) for n in range(60)]
    data = read_dataset(write_jsonl(tmp_path / "d.jsonl", rows))
    assert data.form == "to-text"
    assert (data.columns["source"], data.columns["target"]) == names


def test_few_short_targets_are_classes(tmp_path):
    rows = [{"prompt": f"how is {n}", "output": ["good", "bad"][n % 2]} for n in range(60)]
    assert read_dataset(write_jsonl(tmp_path / "d.jsonl", rows)).form == "labelled"
