"""`inlay sweep`: its table, its JSON and its mistakes."""

import json

import pytest


def test_table(search, capsys):
    assert (
        search("sweep", "-p", "learning_rate=1e-6,2e-2", "-p", "reduction=8", "--seeds", "2") == 0
    )
    out, _ = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == [
        "learning_rate", "reduction", "validation", "accuracy", "of", "seeds", "epochs",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[1:3]] == ["0.02", "1e-06"]
    assert " to " in lines[1]
    assert "2 combinations tried" in out
    assert "next    inlay show" in out


def test_json(search, capsys):
    assert search("sweep", "-p", "reduction=4,8", "--trials", "1", "--json") == 0
    found = json.loads(capsys.readouterr()[0])
    assert (found["metric"], len(found["points"])) == ("accuracy", 1)
    assert found["points"][0]["states"] == ["finished"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "name what to search"),
        (("-p", "reduction"), "write KEY=VALUES once for each key"),
        (("-p", "reduction=4", "-p", "reduction=8"), "write KEY=VALUES once for each key"),
        (("-p", "reduction=log:1"), "a range is log:LOW..HIGH"),
        (("-p", "nonsense=1"), "is no setting of a training"),
        (("-p", "reduction=4", "--halving", "1"), "greater than or equal to 2"),
    ],
)
def test_mistakes(search, capsys, options, message):
    assert search("sweep", *options) == 2
    assert message in capsys.readouterr()[1]
