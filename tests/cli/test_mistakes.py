import json

import pytest


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


def test_number_and_json(call, predictions):
    rows = json.loads(call("errors", predictions(*ROWS), "-n", "1", "--json")[1])
    assert [row["row"] for row in rows] == ["a.csv:4"]


def test_nothing_wrong(call, predictions):
    assert call("errors", predictions(ROWS[0]))[:2] == (0, "none of 1 test row is wrong\n")


def test_a_folder_that_is_no_run(call, tmp_path):
    code, _, err = call("errors", tmp_path)
    assert code == 2
    assert "has no predictions.jsonl: it is no run's folder, or the run has not finished" in err
