"""Reading plain text: files, folders, tables, what is held out, and what is refused."""

import gzip
import json

import pytest

from inlay.errors import DataError
from inlay.pretraining.corpus import hold_out, read_corpus, split_documents
from tests.pretraining.text import documents


def test_documents_are_split_at_blank_lines_lines_or_not_at_all():
    text = "  one\r\ntwo\r\n \t\r\n\r\nthree\n"
    assert split_documents(text, "paragraph") == ["one\ntwo", "three"]
    assert split_documents(text, "line") == ["one", "two", "three"]
    assert split_documents(text, "file") == ["one\ntwo\n \t\n\nthree"]


def test_a_text_without_validation_has_a_twentieth_of_its_documents_held_out(tmp_path):
    texts = [f"document number {index}" for index in range(59)] + ["document number 3"]
    path = tmp_path / "some.txt"
    path.write_text("\n\n".join(texts))
    corpus = read_corpus([path])
    assert len(corpus.held_out) == 2
    assert not set(corpus.held_out) & set(corpus.train)
    assert sorted({*corpus.held_out, *corpus.train}) == sorted(set(texts))
    assert corpus.notes == ["some.txt: held out 2 of 59 different documents, seed 42"]
    assert read_corpus([path]).held_out == corpus.held_out
    assert read_corpus([path], split_seed=1).held_out != corpus.held_out
    assert (corpus.files[0].documents, corpus.name) == (60, "some")


def test_of_few_documents_the_end_of_each_is_held_out():
    long = " ".join(f"w{index}" for index in range(200))
    train, held_out, how = hold_out([long, "x" * 100], seed=1)
    assert f"{train[0]} {held_out[0]}" == long
    assert train[1] + held_out[1] == "x" * 100
    assert len(held_out[0]) == pytest.approx(len(long) / 20, abs=5)
    assert len(held_out[1]) == 5
    assert how == "the last twentieth of each document"


def test_a_folder_with_splits(tmp_path):
    for name, content in (("train", "learn this"), ("validation", "and this\n\nlearn this")):
        (tmp_path / f"{name}.txt.gz").write_bytes(gzip.compress(content.encode()))
    (tmp_path / "test.txt").write_text("not read")
    (tmp_path / "LICENSE.txt").write_text("not read either")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    corpus = read_corpus([tmp_path])
    assert (corpus.train, corpus.held_out) == (["learn this"], ["and this", "learn this"])
    assert corpus.notes[0].endswith("files left out: LICENSE.txt, test.txt")
    assert corpus.notes[1].endswith(
        "1 of 2 held-out documents stand in the training text too"
    )  # fmt: skip
    assert [record.split for record in corpus.files] == ["train", "held_out"]


def test_a_folder_of_many_texts_and_several_sources(tmp_path):
    (tmp_path / "books" / "inner").mkdir(parents=True)
    (tmp_path / "books" / ".cache").mkdir()
    (tmp_path / "books" / "b.txt").write_text("second")
    (tmp_path / "books" / "inner" / "a.txt").write_text("third")
    (tmp_path / "books" / ".cache" / "a.txt").write_text("hidden")
    (tmp_path / "books" / "test.txt").write_text("measured")
    (tmp_path / "more.txt").write_text("fourth fifth")
    corpus = read_corpus([tmp_path / "books", tmp_path / "more.txt"], documents="file")
    assert corpus.train == ["second", "third", "fourth"]
    assert corpus.held_out == ["measured", "fifth"]


def test_columns_of_text_are_read_from_tables(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"id": "x1", "source": f"a sentence {index}", "target": f"一句话{index}", "score": index}
        for index in range(30)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\nbroken\n")
    corpus = read_corpus([path])
    assert len(corpus.train) + len(corpus.held_out) == 60
    assert corpus.notes[0].startswith("pairs.jsonl: 1 lines that are no rows left out; first: li")
    assert corpus.notes[1] == "pairs.jsonl: columns of text: source, target"
    only = read_corpus([path], text_columns=["target"])
    assert all(text.startswith("一句话") for text in [*only.train, *only.held_out])
    with pytest.raises(DataError, match=r"no column 'targt'. It has: id, source, target, score. D"):
        read_corpus([path], text_columns=["targt"])


def test_what_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("fine\ncaf\xe9\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin.txt line 2: not valid utf-8 \(byte 0xE9\). Save"):
        read_corpus([path])
    (tmp_path / "empty.txt").write_text("  \n")
    with pytest.raises(DataError, match=r"empty.txt is empty"):
        read_corpus([tmp_path / "empty.txt"])
    with pytest.raises(DataError, match=r"latim.txt: no such file or folder. Did you mean 'latin"):
        read_corpus([tmp_path / "latim.txt"])
    (tmp_path / "text.doc").write_text("x")
    with pytest.raises(DataError, match=r"text.doc has an ending that is not known. Text is read"):
        read_corpus([tmp_path / "text.doc"])
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "test.txt").write_text("x")
    with pytest.raises(DataError, match=r"none holds no text to learn from. A folder needs .txt"):
        read_corpus([tmp_path / "none"])
    (tmp_path / "numbers.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(DataError, match=r"numbers.csv holds no text to learn from; all its docu"):
        read_corpus([tmp_path / "numbers.csv"])
    with pytest.raises(DataError, match=r"no corpus: give text files or folders of them"):
        read_corpus([])


def test_utf_16_with_a_mark_is_read(tmp_path):
    path = tmp_path / "wide.txt"
    path.write_text("\n\n".join(documents(40)), encoding="utf-16")
    corpus = read_corpus([path])
    assert sorted([*corpus.train, *corpus.held_out]) == sorted(documents(40))
