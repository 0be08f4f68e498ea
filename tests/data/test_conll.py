"""Column files: what is a sentence, a comment, a document, and what is refused."""

import gzip

import pytest

from inlay.data.conll import has_columns, read_conll
from inlay.data.finding import find_tables
from inlay.data.sources import read_dataset
from inlay.errors import DataError


def read(folder, text, name="train.conll"):
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return read_conll(path, name=name)


def test_lines_of_another_width_reject_their_sentence_only(tmp_path):
    table = read(tmp_path, "Fly O\nRome B-city\n\nBad\nline O\n\nto O\nBonn B-city\n")
    assert table.rows == [[["Fly", "Rome"], ["O", "B-city"]], [["to", "Bonn"], ["O", "B-city"]]]
    assert list(table.lines) == [1, 7]
    assert [(row.line, row.reason) for row in table.rejected] == [(4, "line 4 has 1 column, not 2")]
    assert table.rejected[0].raw == "Bad\nline O"
    assert table.raw(1) == "to O\nBonn B-city"


def test_a_file_without_a_sentence_is_refused(tmp_path):
    with pytest.raises(DataError, match="is empty"):
        read(tmp_path, "\n\n")
    with pytest.raises(DataError, match="no line with a token"):
        read(tmp_path, "# a comment\n\n# another\n")
    with pytest.raises(DataError, match="no sentence"):
        read(tmp_path, "-DOCSTART- O\n\n-DOCSTART- O\n")


def test_bytes_that_are_no_utf8_reject_their_sentence(tmp_path):
    path = tmp_path / "a.iob"
    path.write_bytes(b"Fly O\nK\xf6ln B-city\n\nto O\nBonn B-city\n")
    table = read_conll(path, name="a.iob")
    assert [row.reason for row in table.rejected] == ["not valid utf-8 (byte 0xF6) in line 2"]
    assert len(table.rows) == 1


def test_the_last_of_four_columns_are_the_tags_and_documents_are_skipped(tmp_path):
    text = (
        "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\n\n"
        "-DOCSTART- -X- O O\n\nPeter NNP I-NP I-PER\n"
    )
    table = read(tmp_path, text)
    assert table.columns == ["tokens", "column2", "column3", "tags"]
    assert table.column("tags") == [["I-ORG", "O"], ["I-PER"]]
    assert table.column("column2") == [["NNP", "VBZ"], ["NNP"]]
    assert table.notes == ["train.conll: -DOCSTART- lines skipped: 2."]


def test_a_document_start_ends_a_sentence_without_a_blank_line(tmp_path):
    table = read(tmp_path, "a O\n-DOCSTART- O\nb O\n")
    assert table.column("tokens") == [["a"], ["b"]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_tabs_divide_tokens_with_blanks_and_white_lines_end_sentences(tmp_path, end):
    table = read(tmp_path, end.join(["New York\tB-city", " \t ", "to\tO", "", "", "x\u2028y\tO"]))
    assert table.column("tokens") == [["New York"], ["to"], ["x\u2028y"]]
    assert list(table.lines) == [1, 3, 6]


def test_a_token_may_start_with_the_sign_of_comments(tmp_path):
    text = "# id 17\n#tag O\n# O\nRome B-city\n\n# domain = b\nBonn B-city\nx O\n"
    table = read(tmp_path, text)
    assert table.column("tokens") == [["#tag", "#", "Rome"], ["Bonn", "x"]]
    assert list(table.lines) == [2, 7]


def test_comments_as_wide_as_the_rows_are_told_by_their_end(tmp_path):
    text = "# id abc domain=en\nRome _ _ B-city\n# _ _ O\nx _ _ O\n"
    assert read(tmp_path, text).column("tokens") == [["Rome", "#", "x"]]


UNIVERSAL = """# sent_id = 1
# text = Vámonos al mar
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\tV\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\tP\t_\t1\tobj\t_\t_
2.1\tx\tx\tVERB\tV\t_\t_\t_\t_\t_
3\t#mar\tmar\tNOUN\tN\t_\t1\tobl\t_\t_

"""


def test_conllu_has_its_own_columns(tmp_path):
    table = read(tmp_path, UNIVERSAL, "a.conllu")
    assert table.column("tokens") == [["Vamos", "nos", "#mar"]]
    assert table.column("upos") == [["VERB", "PRON", "NOUN"]]
    assert table.column("xpos") == [["V", "P", "N"]]
    assert table.notes == ["a.conllu: multi-word tokens and empty nodes skipped: 2."]


def test_columns_may_be_named_in_the_file(tmp_path):
    text = "# global.columns = ID FORM PARSEME:MWE\n# x\n1\tEr\t*\n2\tgibt\t1:VPC\n"
    table = read(tmp_path, text, "a.conllup")
    assert table.columns == ["id", "tokens", "mwe"]
    assert table.column("mwe") == [["*", "1:VPC"]]


def test_a_file_of_tokens_alone_can_be_asked_about(tmp_path):
    assert read(tmp_path, "Fly\nto\n\nRome\n").rows == [[["Fly", "to"]], [["Rome"]]]


def test_a_folder_of_such_files_is_a_data_set(tmp_path):
    for split, number in (("train", 30), ("dev", 6)):
        lines = "".join(f"to O\ncity{n} B-city\n\n" for n in range(number))
        (tmp_path / f"{split}.bio").write_text(lines)
    lines = "".join(f"to O\ntown{n} B-city\n\n" for n in range(6)).encode()
    (tmp_path / "test.bio.gz").write_bytes(gzip.compress(lines))
    found = read_dataset(tmp_path)
    assert found.form == "tagged"
    assert {split: len(rows) for split, rows in found.splits.items()} == {
        "train": 30, "validation": 6, "test": 6
    }  # fmt: skip
    assert found.splits["test"][1].parts == {"tokens": ["to", "town1"], "tags": ["O", "B-city"]}
    assert found.splits["test"][1].line == 4
    assert found.labels == ["city"]


def test_another_column_can_be_chosen_for_the_tags(tmp_path):
    path = tmp_path / "a.conllu"
    blocks = (f"1\tword{n}\tw\tNOUN\tNN{n % 2}\t_\t0\troot\t_\t_\n\n" for n in range(30))
    path.write_text("".join(blocks))
    assert find_tables(path).name == "a"
    assert read_dataset(path).labels == ["NOUN"]
    assert read_dataset(path, columns={"tags": "xpos"}).labels == ["NN0", "NN1"]


TAGGED = "Fly O\nto O\nRome B-city\n\nand O\nto O\nBonn B-city\n\nnot O\nhere O\n"


def test_a_text_file_of_tagged_words_is_read_as_one(tmp_path):
    (tmp_path / "ner.txt").write_text(TAGGED, encoding="utf-8")
    table = find_tables(tmp_path / "ner.txt").first
    assert (table.layout, table.columns, len(table.rows)) == ("conll", ["tokens", "tags"], 3)
    assert table.notes == ["ner.txt: lines of columns with tags, so it is read as CoNLL."]
    for split in ("train", "test"):
        with gzip.open(tmp_path / f"{split}.txt.gz", "wt", encoding="utf-8") as file:
            file.write(TAGGED)
    (tmp_path / "ner.txt").unlink()
    tables = find_tables(tmp_path).tables
    assert [own[0].layout for own in tables.values()] == ["conll", "conll"]


@pytest.mark.parametrize(
    "text",
    [
        "Fly O\nto O\nRome B-city\n",  # too few lines
        "one two three\nfour five\n" * 6,  # lines of different lengths
        "".join(f"word tag{number}\n" for number in range(20)),  # the last column is all different
        "word\n" * 20,
        "the sun is up\nand we are here\n" * 4 + "until the night comes\nagain\n" * 4,
    ],
)
def test_running_text_has_no_columns(tmp_path, text):
    path = tmp_path / "a.txt"
    path.write_text(text, encoding="utf-8")
    assert not has_columns(path, name="a.txt")
    assert find_tables(path).first.layout == "txt"


def test_one_line_in_fifty_may_be_odd(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(TAGGED * 13 + "odd\n", encoding="utf-8")
    assert has_columns(path, name="a.txt")
    path.write_text(TAGGED * 13 + "odd\n" * 3, encoding="utf-8")
    assert not has_columns(path, name="a.txt")
