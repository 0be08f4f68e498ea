"""The screen of `inlay inspect` on a file with ten kinds of faults."""

import json

import pytest

THINGS = ["the lamp", "this kettle", "my new phone", "the tent", "that chair", "the radio"]


@pytest.fixture
def reviews(tmp_path):
    rows = [f'{n},"{THINGS[n % 6]} number {n}",{"good" if n % 2 else "bad"}' for n in range(60)]
    faults = [
        b"60,,good",  # empty text
        b"61,no label here,",
        b"62,too,many,columns",
        b"63,caf\xe9 lamp,good",  # no utf-8
        b"64,nul \x00 byte,bad",
        b'65,"two\nlines",good',
        b"66,the lamp number 0,good",  # another label than before
        b"67,a chair,Good",  # a near-spelling
        b"68,a table,meh",  # one row of its label
        b"69,THIS  kettle number 1,good",  # a duplicate
    ]
    path = tmp_path / "reviews.csv"
    header = b"order,review,stars_bucket\n"
    path.write_bytes(header + b"\n".join([*(row.encode() for row in rows), *faults]) + b"\n")
    return path


def test_the_screen(call, reviews):
    code, out, _ = call("inspect", reviews)
    assert code == 3
    lines = [line.strip() for line in out.splitlines()]
    assert lines[0] == "reviews.csv   70 rows = 65 used + 5 rejected   utf-8, comma"
    assert 'text  from column "review"   median 4 words, longest 5' in lines
    assert 'label from column "stars_bucket"   4 labels: good 33 (51%), bad 30, Good 1, meh 1' in (
        lines
    )
    assert lines[4:10] == [
        "x  5 rows unusable (7.1%)",
        "line 62: text is empty",
        "line 63: label is empty",
        "line 64: 3 columns expected, 4 found",
        "line 65: not valid utf-8 (byte 0xE9)",
        "line 66: contains a NUL byte",
    ]
    assert '!  label "Good" (1 row) looks like "good":   --map-label Good=good' in lines
    assert (
        "!  2 rows repeat the text of an earlier one, 1 with another label: reviews.csv:2 and "
        'reviews.csv:69, "bad" and "good"'
    ) in lines
    assert '!  labels with fewer than 20 rows, hard to learn: "meh" 1' in lines
    assert lines[-1].startswith("train with:  inlay train")
    assert lines[-1].endswith("--map-label Good=good --max-rejected 8%")


def test_allowed_rejections_end_well(call, reviews):
    code, out, _ = call("inspect", reviews, "--max-rejected", "8%")
    assert code == 0
    assert "training stops" not in out
    assert out.splitlines()[-1].endswith("--max-rejected 8%"), "training needs to be told as well"


def test_json_and_files(call, reviews, tmp_path):
    code, out, err = call("inspect", reviews, "--json", "--out", tmp_path / "seen")
    assert code == 3
    content = json.loads(out)
    assert content["labels"] == {"good": 33, "bad": 30, "Good": 1, "meh": 1}
    assert [row["line"] for row in content["rejected"]] == [62, 63, 64, 65, 66]
    written = tmp_path / "seen"
    assert json.loads((written / "reviews.csv.inspect.json").read_text()) == content
    rejected = (written / "reviews.csv.rejected.jsonl").read_text().splitlines()
    assert json.loads(rejected[2])["raw"] == "62,too,many,columns"
    assert err.count("written: ") == 2


def test_nothing_is_written_unless_asked(call, reviews):
    call("inspect", reviews)
    assert [path.name for path in reviews.parent.iterdir()] == ["reviews.csv"]


def test_several_splits(call):
    code, out, _ = call("inspect", "banking77")
    assert code == 0
    assert "8 993 train / 999 validation / 3 080 test" in out
    assert "77 labels: " in out
    assert "and 72 more" in out


def test_where_the_base_decides_all_tasks_are_named(call, tmp_path):
    path = tmp_path / "talk.jsonl"
    rows = [{"source": f"a text of {n} words", "target": f"what {n} means"} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = call("inspect", path)[1]
    assert out.splitlines()[1:3] == [
        "looks like text to text",
        "  or, with a decoder as base, text generation: the base decides, or --task",
    ]
    assert "the base decides" not in call("inspect", path, "--task", "text-generation")[1]
    plain = tmp_path / "plain.txt"
    plain.write_text("\n\n".join("words " * (n % 7 + 1) + str(n) for n in range(60)))
    assert "language model as base, masked language modelling: the" in call("inspect", plain)[1]


def test_a_label_for_none_of_the_others_leads_to_its_option(call, tmp_path):
    path = tmp_path / "asked.csv"
    rows = [f"question {n} of many,{('card', 'loan', 'oos')[n % 3]}" for n in range(60)]
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    assert (
        '!  label "oos" (20 rows) looks like "none of the others":   --task-option '
        "out_of_scope=oos reports such rows apart"
    ) in call("inspect", path)[1]


def test_targets_are_called_so_and_shown_on_one_line(call, tmp_path):
    path = tmp_path / "code.jsonl"
    rows = [
        {"source": f"task {n % 39}", "target": f"def f{n}():\n  " + "x" * 80} for n in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = call("inspect", path)[1].splitlines()
    assert '  source from column "source"   median 2 words, longest 2' in lines
    dots = "x" * (60 - 3 - len("def f0(): "))
    assert lines[-5:] == [
        "!  1 row repeats the text of an earlier one, 1 with another target: code.jsonl:1 and "
        f'code.jsonl:40, "def f0(): {dots}..." and "def f39(): {dots[1:]}..."',
        "ok no text in two splits",
        "",
        f"train with:  inlay train {path} --base BASE",
        "where BASE is an encoder-decoder; `inlay pretrain` makes small ones",
    ]


def test_columns_of_answers_are_shown(call, tmp_path):
    path = tmp_path / "pick.jsonl"
    rows = [{"question": f"which {n}", "choices": ["a", "b"], "label": n % 2} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = call("inspect", path)[1].splitlines()
    assert lines[2:6] == [
        '  question from column "question"   median 2 words, longest 2',
        '  choices from column "choices"',
        '  label from column "label"',
        "ok no text in two splits",
    ]
    rows = [{**row, "context": "here it is"} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert call("inspect", path)[1].splitlines()[3:5] == [
        '  choices from column "choices"',
        '  context from column "context"   median 3 words, longest 3',
    ]


def test_tags_are_counted_where_they_stand(call, tmp_path):
    path = tmp_path / "tags.jsonl"
    rows = [{"tokens": ["a", f"b{n}"], "tags": ["X", "Y" if n else "Z"]} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = call("inspect", path)[1]
    assert '!  tags that occur less than 20 times, hard to learn: "Z" 1' in out.splitlines()
