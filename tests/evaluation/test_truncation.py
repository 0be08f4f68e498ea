"""What is not read is counted and said, in training and when something is asked."""

import pytest

from inlay.cli.main import main
from inlay.data.rows import Example
from inlay.evaluation.predictor import load_predictor
from inlay.evaluation.truncation import truncation_notes, unread
from inlay.store.bases import load_base, resolve_base
from inlay.tasks.text_generation import TextGeneration
from tests.tasks import bases

SHORT, LONG = "my card", "card " * 80


def example(text):
    return Example(text, None, "", "f", 1)


def test_long_texts_are_counted_in_rows_and_tokens(finished):
    predictor = load_predictor(finished.folder)
    rows = [example(SHORT), example(LONG), example(SHORT), example(SHORT)]
    encoded = {"test": predictor.encode(rows)}
    # 82 tokens with their two signs, of which 64 are read; the short ones have 4.
    (note,) = truncation_notes(
        {"test": rows}, encoded, predictor.task, predictor.tokenizer, max_length=64
    )
    assert note == (
        "25.0% of rows exceed max_length 64 (longest 82 tokens): truncated, 19.1% of all tokens "
        "lost"
    )
    assert predictor.unread(rows) == [note]
    assert predictor.unread(rows[2:]) == predictor.unread([]) == []


def test_prompts_that_are_cut(tmp_path):
    _, tokenizer = load_base(resolve_base(str(bases.write(tmp_path / "base", "decoder"))))
    task = TextGeneration(form="to-text", max_new_tokens=8)
    rows = [example(SHORT), example(LONG)]
    assert unread(rows, task, tokenizer, max_length=40) == [
        "input: 1 text cut to 32 tokens, as in training"
    ]
    assert unread(rows[:1], task, tokenizer, max_length=40) == []


@pytest.mark.parametrize("way", ["argument", "file", "json"])
def test_the_command_line_says_so_on_stderr(finished, tmp_path, capsys, way):
    given = [LONG]
    if way == "file":
        (tmp_path / "asked.txt").write_text(LONG + "\n", encoding="utf-8")
        given = ["--input", str(tmp_path / "asked.txt")]
    given += ["--json"] if way == "json" else []
    assert main(["predict", str(finished.folder), *given]) == 0
    out, err = capsys.readouterr()
    assert "note: 100.0% of rows exceed max_length 64" in err
    assert len(out.splitlines()) == 1


def test_evaluation_says_so(finished, tmp_path, capsys):
    data = tmp_path / "long.csv"
    data.write_text(f"text,label\n{LONG},card\n{SHORT},card\n", encoding="utf-8")
    assert main(["evaluate", str(finished.folder), str(data)]) == 0
    assert "note: 50.0% of rows exceed max_length 64" in capsys.readouterr().err
