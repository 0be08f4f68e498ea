"""What `inlay inspect` sees."""

import json

import pytest

from inlay.cli.inspection import run_inspect
from inlay.data.inspection import inspect_dataset, near_spellings, telling_labels
from inlay.data.rows import Example
from inlay.errors import ConfigError, DataError


def write(tmp_path, *rows):
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(["id,text,label", *rows]) + "\n")
    return path


def test_everything_at_once(tmp_path):
    good = [f"{n},a fine text number {n},{'good' if n % 3 else 'bad'}" for n in range(60)]
    path = write(
        tmp_path,
        *good,
        "60,a fine text number 1,bad",
        "61,A FINE text  number 2,good",
        "62,,bad",
        "63,odd one,Good",
    )
    found = inspect_dataset(path)
    assert found.num_read == 64
    assert [(row.line, row.reason) for row in found.rejected] == [(64, "text is empty")]
    assert (found.duplicates, found.conflicts) == (2, 1)
    assert (found.example.first, found.example.second) == ("reviews.csv:3", "reviews.csv:62")
    assert found.example.labels == ("good", "bad")
    assert found.spellings == {"Good": "good"}
    assert found.ids == ["id"]
    assert found.small == {"Good": 1}
    assert found.lengths["text"].median == 5
    assert found.to_json()["files"][0]["rows_read"] == 64


def test_near_spellings():
    labels = {"card_arrival": 90, "card arrival": 3, "refund_please": 50, "refund_plaese": 1,
              "top_up_1": 50, "top_up_2": 2}  # fmt: skip
    assert near_spellings(labels) == {
        "card arrival": "card_arrival", "refund_plaese": "refund_please",
    }  # fmt: skip


def test_labels_that_stand_in_their_texts():
    rows = [Example(f"[spam] buy {n}", None, "spam", "f", n) for n in range(10)]
    rows += [Example(f"hello {n}", None, "ham", "f", n) for n in range(30)]
    assert telling_labels(rows, {"spam": 10, "ham": 30}) == ["spam"]


def test_no_usable_row(tmp_path):
    with pytest.raises(DataError, match=r"none of 1 rows can be used \(text is empty, line 2\)"):
        inspect_dataset(write(tmp_path, "1,,x"), text_column="text", label_column="label")


def test_labels_are_looked_at_throughout_a_sorted_file():
    rows = [Example(f"hello {n}", None, "ham", "f", n) for n in range(25_000)]
    rows += [Example(f"[spam] buy {n}", None, "spam", "f", n) for n in range(500)]
    assert telling_labels(rows, {"spam": 500, "ham": 25_000}) == ["spam"]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([f"{n},words {n},ok" for n in range(30)], 'only one class ("ok"): nothing to learn'),
        (["1,a,x", "2,b,y", "3,c,x"], "reviews.csv has 3 usable rows in 2 classes"),
        (["1,a,x", "2,b,y"] * 10, "too few different texts to take a validation split"),
    ],
)
def test_what_training_would_refuse_is_said_before(tmp_path, capsys, rows, problem):
    path = write(tmp_path, *rows)
    assert (inspect_dataset(path).problem or "").startswith(problem)
    code = run_inspect(
        str(path), text_column=None, pair_column=None, label_column=None, label_map={},
        task=None, columns={},
        max_rejected=0.01, json_output=False, out=None,
    )  # fmt: skip
    shown = capsys.readouterr().out
    assert code == 3
    assert f"x  training would stop: {problem}" in shown
    assert "train with:" not in shown


def test_named_columns_stay_in_the_command(tmp_path, capsys):
    path = write(tmp_path, *[f"{n},some words {n},{'ab'[n % 2]}" for n in range(40)])
    code = run_inspect(
        str(path), text_column="text", pair_column=None, label_column="label", label_map={},
        task=None, columns={},
        max_rejected=0.01, json_output=False, out=None,
    )  # fmt: skip
    assert code == 0
    assert capsys.readouterr().out.endswith("--text-column text --label-column label\n")


def test_a_label_that_means_nothing(tmp_path, capsys):
    rows = [f"{n},some words {n},{'ab'[n % 2]}" for n in range(40)]
    run_inspect(
        str(write(tmp_path, *rows, "41,odd one,nan")), text_column=None, pair_column=None,
        label_column=None, label_map={}, max_rejected=0.01, json_output=False, out=None,
        task=None, columns={},
    )  # fmt: skip
    assert 'label "nan" (1 row) looks like a missing value' in capsys.readouterr().out


def test_a_file_that_names_several_sets_is_not_one_of_them(tmp_path):
    with pytest.raises(ConfigError, match="task 'joint' reads a file that names several data sets"):
        inspect_dataset(tmp_path / "both.yaml", task="joint")


def test_labels_that_can_be_asked_later_are_no_problem(tmp_path):
    for split, labels in (("train", "ab"), ("validation", "ab"), ("test", "abc")):
        rows = [f"text {n} of {split},{labels[n % len(labels)]}" for n in range(30)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    assert 'label "c" occurs in test' in (inspect_dataset(tmp_path).problem or "")
    assert inspect_dataset(tmp_path, task="similarity").problem is None


def test_one_question_with_other_choices_is_no_duplicate(tmp_path):
    rows = [
        {"question": "Which?", "choices": [f"a{n}", f"b{n}"], "label": 0} for n in range(20)
    ]  # fmt: skip
    path = tmp_path / "c.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    assert inspect_dataset(path).duplicates == 1


def test_data_to_be_evaluated_on_only_are_inspected_too(tmp_path):
    rows = [f"text {n},{'ab'[n % 2]}" for n in range(30)]
    (tmp_path / "test.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    found = inspect_dataset(tmp_path)
    assert (found.splits, found.labels) == ({"test": 30}, {"a": 15, "b": 15})
    assert found.problem == (
        f"{tmp_path.name} has no train split; rows of test can be evaluated on"
    )
