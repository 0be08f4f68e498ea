import json
import re

import pytest

from inlay.cli.mistakes import around, differing


@pytest.fixture
def predictions(tmp_path):
    """Write the predictions of a run and return the folder."""

    def write(*rows):
        with (tmp_path / "predictions.jsonl").open("w") as file:
            for number, (text, pair, label, predicted, confidence) in enumerate(rows, start=2):
                record = {
                    "row": f"a.csv:{number}", "text": text, "pair": pair, "label": label,
                    "predicted": predicted, "confidence": confidence,
                    "counts": [label == predicted, 1], "value": float(label == predicted),
                }  # fmt: skip
                file.write(json.dumps(record) + "\n")
        return tmp_path

    return write


ROWS = (
    ("fine", None, "good", "good", 0.99),
    ("not\nbad", None, "good", "bad", 0.7),
    ("a day", "a night", "bad", "good", 0.9),
)


def test_the_surest_come_first(call, predictions):
    code, out, err = call("errors", predictions(*ROWS))
    assert code == 0
    assert out.splitlines() == [
        "0.90  predicted good, labelled bad   a.csv:4",
        "      a day | a night",
        "0.70  predicted bad, labelled good   a.csv:3",
        "      not bad",
    ]
    assert err == "2 of 2 wrong rows, of 3 in test; many such rows are errors in the labels\n"


def test_of_tags_only_those_are_shown_that_differ(call, predictions):
    words = " ".join(f"word{number}/NOUN" for number in range(40))
    folder = predictions(("a text", None, f"{words} right/VERB", f"{words} right/ADJ", 0.9))
    path = folder / "predictions.jsonl"
    path.write_text(path.read_text().replace('"value"', '"details": {"tags": []}, "value"'))
    assert call("errors", folder)[1].splitlines() == [
        "0.90  predicted right/ADJ, labelled right/VERB   a.csv:2",
        "      a text",
    ]


def test_of_numbers_it_is_not_said_how_sure_they_are(call, predictions):
    folder = predictions(("a text", None, "3.5", "1.2", 1.0))
    path = folder / "predictions.jsonl"
    path.write_text(path.read_text().replace('"value"', '"details": {"score": 1.2}, "value"'))
    path.write_text(path.read_text().replace('"value": 0.0', '"value": -0.4'))
    _, out, err = call("errors", folder)
    assert out.splitlines()[0] == "predicted 1.2, known 3.5   a.csv:2"
    assert err == "the 1 worst of 1 row in test; the known scores of some may be wrong\n"


@pytest.mark.parametrize(
    ("label", "predicted", "said"),
    [("", "", ""), ("four", "five", "  predicted five, known four")],
)
def test_of_what_is_measured_by_perplexity_that_is_shown(call, predictions, label, predicted, said):
    folder = predictions(("a text", None, label, predicted, 0.01))
    path = folder / "predictions.jsonl"
    value = '"details": {"predicted_text": ""}, "value": -95.31'
    path.write_text(re.sub(r'"value": [0-9.]+', value, path.read_text()))
    _, out, err = call("errors", folder)
    assert out.splitlines()[0] == f"perplexity 95.31{said}   a.csv:2"
    more = "; some may be right in other words, or their known texts wrong" if label else ""
    assert err == f"the 1 worst of 1 row in test{more}\n"


def test_of_a_text_the_score_is_shown_and_where_it_was_cut_off(call, predictions):
    folder = predictions(("a text", None, "four", "five", 0.01))
    (folder / "metrics.json").write_text('{"headline": {"name": "rouge_l"}}')
    path = folder / "predictions.jsonl"
    details = '"details": {"predicted_text": "five", "finish_reason": "max_new_tokens"}, '
    path.write_text(path.read_text().replace('"value": 0.0', f'{details}"value": 0.25'))
    (first, _) = call("errors", folder)[1].splitlines()
    assert first == "ROUGE-L 25.0 %  predicted five (cut off), known four   a.csv:2"


def test_several_tasks_are_spoken_of_together(call, predictions):
    folder = predictions(*ROWS)
    path = folder / "predictions.jsonl"
    first, rest = path.read_text().split("\n", 1)
    first = first.replace('"value": 1.0', '"details": {"score": 1.2}, "value": 0.4')
    path.write_text(f"{first}\n{rest}")
    assert call("errors", folder)[2] == (
        "the 3 worst of 3 rows in test; many such rows are errors in the labels or known scores\n"
    )


def test_what_one_side_lacks_is_shown_as_nothing():
    assert differing("a/X b/Y", "b/Y") == ("a/X", "")
    assert differing("a/X", "a/X") == ("", "")


def test_number_and_json(call, predictions):
    rows = json.loads(call("errors", predictions(*ROWS), "-n", "1", "--json")[1])
    assert [row["row"] for row in rows] == ["a.csv:4"]


def test_nothing_wrong(call, predictions):
    assert call("errors", predictions(ROWS[0]))[:2] == (0, "none of 1 test row is wrong\n")


def test_a_folder_that_is_no_run(call, tmp_path):
    code, _, err = call("errors", tmp_path)
    assert code == 2
    assert "has no predictions.jsonl: it is no run's folder, or the run has not finished" in err


def test_a_long_context_is_cut_to_what_is_around_the_answer(call, predictions):
    words = [f"word{number}" for number in range(200)]
    words[120] = "Edith Cowan"
    folder = predictions(("who", " ".join(words), "Edith Cowan", "", 0.9))
    shown = call("errors", folder)[1].splitlines()[1]
    assert shown.startswith("      who | ... word1")
    assert shown.endswith(" ...")
    assert " word119 Edith Cowan word121 " in shown
    assert len(shown) < 200


@pytest.mark.parametrize("place", [0, 3, 60, 118, 119])
def test_what_is_cut_is_said(place):
    words = [f"w{number:03}" for number in range(120)]
    text = " ".join(words)
    shown = around(text, "none of it", words[place])
    inside = shown.removeprefix("... ").removesuffix(" ...")
    assert inside in text
    assert words[place] in inside
    assert len(inside) <= 170
    assert shown.startswith("... ") == (not text.startswith(inside))
    assert shown.endswith(" ...") == (not text.endswith(inside))


def test_short_texts_and_long_words_stay():
    assert around("a  b\nc", "b") == "a b c"
    assert around("x" * 400, "y") == "x" * 160 + " ..."


def test_rows_that_are_right_by_degrees_are_not_called_wrong(call, predictions):
    folder = predictions(*ROWS)
    path = folder / "predictions.jsonl"
    path.write_text(path.read_text().replace('"value": 0.0', '"value": 0.4'))
    err = call("errors", folder, "-n", "1")[2]
    assert err == "the 1 worst of 3 rows in test; many such rows are errors in the labels\n"
