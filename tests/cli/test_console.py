import io
import os
import sys

from inlay.cli import console


def test_results_and_notes_take_different_streams(capsys):
    console.put("a result")
    console.tell("a note")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("a result\n", "a note\n")


def test_a_pipe_has_no_width(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert console.stdout_width() is None


def test_lines_of_progress_are_neither_tiny_nor_endless(monkeypatch):
    for columns, expected in (("10", 40), ("80", 80), ("400", 120)):
        monkeypatch.setenv("COLUMNS", columns)
        assert console.width() == expected


def test_a_sign_has_a_plain_form_where_it_cannot_be_shown(monkeypatch):
    plain = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stderr", plain)
    assert console.sign("★", "*") == "*"
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert console.sign("★", "*") == "★"


def test_what_cannot_be_shown_is_replaced(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    console.replace_what_cannot_be_shown()
    console.put("café")
    sys.stdout.flush()
    assert raw.getvalue() == b"caf?\n"


def test_calm_leaves_what_the_user_has_set(monkeypatch):
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "debug")
    console.be_calm()
    assert os.environ["TRANSFORMERS_VERBOSITY"] == "debug"
    assert os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] == "1"
