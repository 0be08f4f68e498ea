import csv
import io
import json
import sys

import pytest

from tests.cli import tiny

TEXTS = ["my card is expired", "flight and hotel"]


class Typed(io.TextIOWrapper):
    """Standard input with bytes in it."""

    def __init__(self, content, *, is_terminal=False):
        super().__init__(io.BytesIO(content))
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal


def test_a_text_gets_its_most_probable_labels(call, run):
    code, out, err = call("predict", run, *TEXTS)
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    words = first.split()
    assert set(words[::2]) == set(tiny.TOPICS)
    numbers = [float(word) for word in words[1::2]]
    assert numbers == sorted(numbers, reverse=True)
    assert sum(numbers) == pytest.approx(1, abs=0.02)
    assert first != second


def test_json_lines_and_top(call, run):
    code, out, _ = call("predict", run, *TEXTS, "--json", "--top", "2")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [row["text"] for row in rows] == TEXTS
    for row in rows:
        assert len(row["probabilities"]) == 2
        assert row["label"] == next(iter(row["probabilities"]))


def test_standard_input_is_one_text_a_line(call, run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Typed("\ufeff{}\n\n{}\r\n".format(*TEXTS).encode()))
    code, out, err = call("predict", run, "--json")
    assert code == 0
    assert [json.loads(line)["text"] for line in out.splitlines()] == TEXTS
    assert err == "note: 1 blank line on standard input left out\n"


def test_standard_input_that_is_no_text(call, run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Typed(b"fine\ncaf\xe9\n"))
    assert call("predict", run)[::2] == (
        3, "inlay: standard input line 2: not valid utf-8 (byte 0xE9).\n",
    )  # fmt: skip


def test_nothing_on_standard_input(call, run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Typed(b""))
    assert call("predict", run) == (0, "", "note: no text on standard input\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], 'no text: give it as "...", by --input FILE, or on standard input.'),
        (["a text", "--input", "in.csv"], "texts and --input: give either texts or a file."),
        (["a", "b", "--pair", "c"], "--pair: give exactly one text with it"),
        (["a text", "--output", "out.csv"], "--output needs --input"),
        (["--input", "in.csv", "--output", "old.csv"], "old.csv exists; choose another --output"),
        (["--input", "in.csv", "--output", "out.xlsx"], "the name must end in .csv, .tsv, .jsonl."),
    ],
)
def test_what_does_not_go_together(call, run, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.csv").write_text("precious")
    monkeypatch.setattr(sys, "stdin", Typed(b"", is_terminal=True))
    code, out, err = call("predict", run, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert (tmp_path / "old.csv").read_text() == "precious"


def test_a_folder_that_does_not_exist(call, tmp_path):
    code, _, err = call("predict", tmp_path / "nowhere", "text")
    assert code == 2
    assert err.endswith("nowhere does not exist. `inlay list` shows the runs there are.\n")


def test_a_file_keeps_its_columns_and_gets_answers(call, run, tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    content = [(str(n), text, label) for n, (text, label) in enumerate(tiny.rows(9, seed=8))]
    tiny.write_csv(source, [*content, ("x", "", "card")], ("id", "text", "label"))
    code, out, err = call("predict", run, "--input", source, "--output", target)
    assert code == 0
    assert out == f"{target}   9 rows\n"
    assert "line 11" in err
    rows = list(csv.reader(target.open(encoding="utf-8", newline="")))
    assert rows[0] == ["id", "text", "label", "predicted_label", "probability"]
    assert [tuple(row[:3]) for row in rows[1:]] == content
    assert {row[3] for row in rows[1:]} <= set(tiny.TOPICS)


def test_a_file_is_replaced_only_when_forced(call, run, tmp_path):
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("\n".join(TEXTS) + "\n")
    target.write_text("old")
    assert call("predict", run, "--input", source, "--output", target, "--force")[0] == 0
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["text"] for row in rows] == TEXTS


def test_a_file_without_output_is_printed(call, run, tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("\n".join(TEXTS))
    assert call("predict", run, "--input", source)[1] == call("predict", run, *TEXTS)[1]
