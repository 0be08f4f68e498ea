import csv
import io
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from inlay.cli.main import main
from inlay.data import inputs as readers
from inlay.data.inputs import InputRow, Inputs
from inlay.data.rows import Example, Rejected
from tests import tiny
from tests.cli.program import PROGRAM, TRAIN

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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "note: no text on standard input\n"), (["-i", "-"], "note: no rows on standard input\n")],
)
def test_nothing_on_standard_input(call, run, monkeypatch, arguments, said):
    monkeypatch.setattr(sys, "stdin", Typed(b""))
    assert call("predict", run, *arguments) == (0, "", said)


def test_lines_of_standard_input_keep_their_blanks_and_may_look_like_json(call, run, monkeypatch):
    lines = ['  {"text": "my card"}', '{"text": "hotel"} ']
    monkeypatch.setattr(sys, "stdin", Typed("\n".join(lines).encode()))
    code, out, err = call("predict", run, "--json")
    assert code == 0
    assert [json.loads(line)["text"] for line in out.splitlines()] == lines
    assert err == (
        "note: the lines of standard input look like JSON objects and are read as texts; "
        "--input - reads their columns\n"
    )


@pytest.fixture
def pairs(run, tmp_path):
    """A copy of the run that asks for pairs of texts."""
    folder = shutil.copytree(run, tmp_path / "pairs")
    path = folder / "adapter" / "adapter.json"
    manifest = json.loads(path.read_text())
    manifest["card"]["data"]["has_pairs"] = True
    path.write_text(json.dumps(manifest))
    return folder


PAIRS = [{"text": "my card", "pair": "my loan"}, {"text": "a hotel", "pair": "a flight"}]


def test_pairs_come_by_standard_input_as_json_lines(call, pairs, monkeypatch, tmp_path):
    content = "\n\n".join(json.dumps(row) for row in PAIRS).encode()
    monkeypatch.setattr(sys, "stdin", Typed(content))
    code, out, err = call("predict", pairs, "--input", "-", "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "note: standard input: blank lines skipped: 1.\n")
    assert [{"text": row["text"], "pair": row["pair"]} for row in answers] == PAIRS
    one = json.loads(call("predict", pairs, "my card", "--pair", "my loan", "--json")[1])
    assert one == answers[0]
    monkeypatch.setattr(sys, "stdin", Typed(content))
    target = tmp_path / "out.jsonl"
    assert call("predict", pairs, "--input", "-", "--output", target)[:2] == (
        0, f"{target}   2 rows\n",
    )  # fmt: skip
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["predicted_label"] for row in rows] == [row["label"] for row in answers]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("my card", "standard input line 2: not JSON: expecting value (character 1)."),
        ('{"text": "my card"}', "standard input line 2: second text is missing."),
        ('{"text": "a", "pair": 3}', "standard input line 2: second text is a number, not a text."),
        (
            "3\n[]",
            "standard input line 2: a number, not an object, and 1 more line cannot be used.",
        ),
    ],
)
def test_a_bad_line_is_refused_by_its_number(call, pairs, monkeypatch, line, message):
    content = f"{json.dumps(PAIRS[0])}\n{line}\n{json.dumps(PAIRS[1])}\n"
    monkeypatch.setattr(sys, "stdin", Typed(content.encode()))
    assert call("predict", pairs, "--input", "-", "--json") == (3, "", f"inlay: {message}\n")


def test_a_single_text_where_pairs_are_asked_is_refused_by_its_place(call, pairs, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Typed(b"\nmy card\n"))
    for arguments, place in (([], "standard input line 2"), (["my card"], "input 1")):
        code, out, err = call("predict", pairs, *arguments)
        assert (code, out) == (3, "")
        assert f"{place} is a single text, and this adapter has learnt from pairs" in err
        assert "JSON Lines with --input -" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], 'no text: give it as "...", by --input FILE, or on standard input.'),
        (["a text", "--input", "in.csv"], "texts and --input: give either texts or a file."),
        (["a", "b", "--pair", "c"], "--pair: give exactly one text with it"),
        (["--input", "-", "--pair", "c"], "--pair: give exactly one text with it"),
        (["a text", "--output", "out.csv"], "--output needs --input"),
        (["a text", "--column", "text=b"], "a column was named (b), and no --input has columns"),
        (["a", "--text-column", "b", "--pair-column", "c"], "a column was named (b, c), and no"),
        (["--input", "in.csv", "--output", "out.csv", "--json"], "--json is about what is printed"),
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


def test_a_second_text_that_the_task_has_no_place_for(call, monkeypatch):
    tagger = SimpleNamespace(form="tagged", task=SimpleNamespace(name="tagging"))
    monkeypatch.setattr(sys.modules["inlay.cli.predict"], "_load", lambda *given: tagger)
    code, out, err = call("predict", "run", "Fly to Rome", "--pair", "today")
    assert (code, out) == (2, "")
    assert err == (
        "inlay: --pair: task 'tagging' reads tokens and nothing beside it; leave --pair out.\n"
    )


def test_a_folder_that_does_not_exist(call, tmp_path):
    code, _, err = call("predict", tmp_path / "nowhere", "text")
    assert code == 2
    assert err.endswith("nowhere does not exist. `inlay list` shows the runs there are.\n")


@pytest.fixture
def file_of(monkeypatch, tmp_path):
    """Put rows in the place of what is read from a file; reading has tests of its own."""

    def write(texts, rejected=()):
        records = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
        content = Inputs(
            path="in.csv", layout="csv", separator=",", encoding="utf-8", columns=["id", "text"],
            notes=["text is column \"text\""],
            rows=[
                InputRow(Example(r["text"], None, "", "in.csv", n), r)
                for n, r in enumerate(records, start=2)
            ],
            rejected=[Rejected("in.csv", line, "text is empty", "") for line in rejected],
        )  # fmt: skip
        monkeypatch.setattr(readers, "read_inputs", lambda source, **options: content)
        return tmp_path / "in.csv"

    return write


def test_a_file_keeps_its_columns_and_gets_answers(call, run, tmp_path, file_of):
    texts = [text for text, _ in tiny.rows(9, seed=8)]
    source, target = file_of(texts, rejected=range(11, 19)), tmp_path / "out.csv"
    code, out, err = call("predict", run, "--input", source, "--output", target)
    assert (code, out) == (0, f"{target}   9 rows\n")
    said = err.splitlines()
    assert said[0] == 'note: text is column "text"'
    assert said[1] == f"left out: {source} line 11: text is empty"
    assert said[-1] == "left out: 3 more"
    header, *rows = csv.reader(io.StringIO(target.read_text(encoding="utf-8")))
    assert header == ["id", "text", "predicted_label", "probability"]
    assert [row[1] for row in rows] == texts
    assert {row[2] for row in rows} <= set(tiny.TOPICS)


def test_a_file_is_replaced_only_when_forced(call, run, tmp_path, file_of):
    source, target = file_of(TEXTS), tmp_path / "out.jsonl"
    target.write_text("old")
    assert call("predict", run, "--input", source, "--output", target)[0] == 2
    assert target.read_text() == "old"
    arguments = ["--input", source, "--output", target, "--force", "--top", "2"]
    assert call("predict", run, *arguments)[0] == 0
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["text"] for row in rows] == TEXTS
    assert all(row["probability"] >= row["probability_2"] for row in rows)


def test_a_file_without_output_is_printed(call, run, file_of):
    assert call("predict", run, "--input", file_of(TEXTS))[1] == call("predict", run, *TEXTS)[1]


@pytest.fixture(scope="session")
def similar(tmp_path_factory, base, topics):
    """A finished run of task similarity."""
    folder = tmp_path_factory.mktemp("runs") / "similar"
    given = [str(topics), "--task", "similarity", "--base", str(base), "--out", str(folder)]
    assert main([*TRAIN, *given, "--epochs", "1"]) == 0
    return folder


def test_other_labels_are_asked(call, similar, tmp_path, file_of):
    own = json.loads(call("predict", similar, TEXTS[0], "--json")[1])
    assert set(own["probabilities"]) == set(tiny.TOPICS)
    arguments = ["--labels", " visa, home loan,,lost_luggage"]
    code, out, err = call("predict", similar, *TEXTS, *arguments, "--json")
    assert (code, err) == (0, "")
    answers = [json.loads(line) for line in out.splitlines()]
    for answer in answers:
        assert set(answer["probabilities"]) == {"visa", "home loan", "lost_luggage"}
    target = tmp_path / "out.csv"
    given = ["--input", file_of(TEXTS), "--output", target]
    assert call("predict", similar, *given, *arguments)[0] == 0
    written = list(csv.DictReader(io.StringIO(target.read_text(encoding="utf-8"))))
    assert [row["predicted_label"] for row in written] == [own["label"] for own in answers]


@pytest.mark.parametrize(
    ("which", "labels", "message"),
    [
        ("run", "a,b", "the labels of task 'text-classification' are fixed; train with --task"),
        ("similar", " , ", "similarity needs at least one label."),
        ("similar", "a,b,a", "label 'a' is given twice; give each label once."),
    ],
)
def test_labels_that_cannot_be_asked(call, request, which, labels, message):
    folder = request.getfixturevalue(which)
    code, out, err = call("predict", folder, "text", "--labels", labels)
    assert (code, out) == (2, "")
    assert message in err


def test_a_file_of_which_no_row_can_be_answered(call, run, tmp_path):
    source = tmp_path / "q.csv"
    source.write_text("id,text\n1,\n2,\n")
    code, out, err = call(
        "predict", run, "--input", source, "--text-column", "text", "-o", tmp_path / "a.csv"
    )
    assert (code, out) == (3, "")
    assert f"{source}: no row of 2 can be answered." in err
    assert not (tmp_path / "a.csv").exists()


def test_a_file_is_written_also_where_nobody_reads_what_is_told(run, tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(f'text\n{TEXTS[0]}\n""\n', encoding="utf-8")
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", PROGRAM, "predict", str(run), "-i", str(source), "-o"]
    done = subprocess.run([*command, str(target)], stdout=writing, stderr=writing, check=False)
    os.close(writing)
    assert done.returncode == 0
    assert target.read_text(encoding="utf-8").splitlines()[1].startswith(f"{TEXTS[0]},")
