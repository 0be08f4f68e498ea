"""Running text in passages that lose nothing."""

import gzip

import pytest

from inlay.data.passages import read_passages
from inlay.data.sources import read_dataset
from inlay.errors import DataError

PARAGRAPHS = [f"Paragraph {n} says something. " * (1 + n % 9) for n in range(60)]


def test_passages_hold_the_whole_text_in_order(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("\n\n".join(PARAGRAPHS))
    table = read_passages(path, name="t.txt")
    texts = [row[0] for row in table.rows]
    assert " ".join(" ".join(texts).split()) == " ".join(" ".join(PARAGRAPHS).split())
    assert max(map(len, texts)) <= 900
    assert len(texts) < 60, "short paragraphs are put together"
    lines = path.read_text().split("\n")
    for text, line in zip(texts, table.lines, strict=True):
        assert text.startswith(lines[line - 1].strip("\r\n")[:10])


def test_signs_of_scripts_without_spaces_weigh_more(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("\n".join(["\u732b\u304c\u3044\u308b\u3002" * 10] * 40))
    table = read_passages(path, name="t.txt")
    assert max(len(row[0]) for row in table.rows) <= 320


def test_bad_bytes_are_named_by_line(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes(b"good\nbad \xff\nfine\n")
    table = read_passages(path, name="t.txt")
    assert [(row.line, "utf-8" in row.reason) for row in table.rejected] == [(2, True)]
    assert table.rows == [["good\nfine"]]


def test_no_text(tmp_path):
    (tmp_path / "t.txt").write_bytes(b"\xff\n\n")
    with pytest.raises(DataError, match=r"t\.txt has no text in it"):
        read_passages(tmp_path / "t.txt", name="t.txt")


def test_a_folder_with_a_text_for_each_split(tmp_path):
    for split in ("train", "test"):
        with gzip.open(tmp_path / f"{split}.txt.gz", "wt") as file:
            file.write("\n\n".join(f"{split} {text}" for text in PARAGRAPHS * 30))
    data = read_dataset(tmp_path)
    assert data.form == "plain"
    assert all(row.text.startswith("test") for row in data.splits["test"])
    assert len(data.splits["validation"]) > 5
