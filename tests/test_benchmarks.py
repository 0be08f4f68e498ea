"""The comparison with the peers: its rows name what there is, and its arithmetic is right."""

import ast
import contextlib
import dataclasses
import json
import sys
from pathlib import Path

import pytest
from benchmarks.peers import __main__ as program
from benchmarks.peers import alternate
from benchmarks.peers.__main__ import chosen, main, write
from benchmarks.peers.alternate import How, NotComparedError, check, measure_pair, value
from benchmarks.peers.rows import ALL, ROWS, Row
from benchmarks.peers.table import goal, is_met, line, ratios_of, table

PEERS = Path(__file__).parent.parent / "benchmarks" / "peers"


def cases_of(script):
    """Return the cases that a side's script offers, without importing what it needs."""
    for node in ast.walk(ast.parse((PEERS / f"{script}.py").read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "main":
            return {key.value for key in node.args[0].keys}
    raise AssertionError(f"{script}.py calls no main")


def reading(seconds, **facts):
    memory = {"peak_mb": 300.0, "idle_mb": 100.0, "versions": {"torch": "2"}, "threads": 1}
    return {"seconds": seconds, "facts": facts, "process": 9.0, **memory}


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.name)
def test_a_row_names_cases_that_there_are(row):
    for side in (row.a, row.b):
        script, case, *settings = side.split()
        assert case in cases_of(script)
        assert all(len(word.split("=", 1)) == 2 for word in settings)
    if row.together:
        assert row.a.split()[0] == row.b.split()[0]
    if row.goal:
        sign, number = row.goal.split()
        assert sign in (">=", "<=")
        assert float(number) > 0


def test_every_row_has_a_name_of_its_own():
    assert len(ROWS) == len(ALL)


def test_patterns_choose_rows_in_the_tables_order():
    assert [row.name for row in chosen("fuse,step-b*")] == ["step-bf16", "fuse"]
    with pytest.raises(SystemExit, match="no such row"):
        chosen("step,stap")


def test_the_ratio_is_the_median_of_the_pairs_ratios():
    row = Row(name="r", what="", a="", b="", goal=">= 4.0")
    pairs = [[reading([8.0, 9.0, 10.0]), reading([2.0, 3.0, 1.0])],
             [reading([6.0]), reading([1.0])], [reading([1.0]), reading([4.0])]]  # fmt: skip
    found = {"pairs": pairs}
    assert ratios_of(row, found) == [4.5, 6.0, 0.25]
    assert is_met(row, found)
    assert not is_met(row, {"pairs": pairs[2:]})
    assert "**4.50** (0.25 - 6.00)" in line(row, found)


def test_within_one_process_repetitions_are_compared_one_by_one():
    row = Row(name="r", what="", a="", b="", goal="<= 1.02", together=True)
    pairs = [[reading([1.0, 2.2, 30.0]), reading([1.0, 2.0, 15.0])]]
    assert ratios_of(row, {"pairs": pairs}) == [pytest.approx(1.1)]
    assert not is_met(row, {"pairs": pairs})


def test_a_goal_is_missed_if_accuracy_is_lower():
    row = Row(
        name="r", what="", a="", b="", goal=">= 1.0", measure="training", quality="accuracy",
        not_lower=True,
    )  # fmt: skip
    slow = reading([0.0], end_of_training=60.0, accuracy=0.92)
    for accuracy, met in ((0.92, True), (0.91, False)):
        fast = reading([0.0], end_of_training=20.0, accuracy=accuracy)
        assert is_met(row, {"pairs": [[slow, fast]]}) is met
    near = dataclasses.replace(row, within=0.01)
    assert is_met(near, {"pairs": [[slow, fast]]}) is True
    assert goal(near) == ">= 1.0, accuracy not lower by more than 0.01"


def test_what_is_free_has_no_more_operations():
    row = Row(name="r", what="", a="", b="", goal="<= 1.01", quality="operations", free=True)
    base = reading([1.0], operations=252)
    for operations, met in ((252, True), (264, False)):
        pairs = [[reading([1.0], operations=operations), base]]
        assert is_met(row, {"pairs": pairs}) is met


def test_memory_is_counted_above_the_imports():
    row = Row(name="r", what="", a="", b="", measure="memory")
    assert value(row, reading([])) == 200.0


@pytest.mark.parametrize(
    ("facts", "match"),
    [
        ({"batch": [32, 32]}, "batch is"),
        ({"output": [1.0, 2.1]}, "differs by 1.0e-01"),
        ({"output": [1.0, float("nan")]}, "differs by nan"),
    ],
)
def test_sides_that_do_not_do_the_same_are_not_compared(facts, match):
    row = Row(name="r", what="", a="", b="", same=("batch",), close={"output": 1e-5})
    same = {"batch": [32, 64], "output": [1.0, 2.0]}
    check(row, dict(same), dict(same))
    with pytest.raises(NotComparedError, match=match):
        check(row, dict(same), same | facts)


def test_a_side_that_fails_is_an_error_with_its_last_words(tmp_path):
    row = Row(name="r", what="", a="adapterhub step", b="ours step")
    peer = tmp_path / "python"
    peer.write_text("#!/bin/sh\necho no such package >&2\nexit 3\n")
    peer.chmod(0o755)
    how = How(base="minilm", peers_python=peer, repeats=1, warmup=0, threads=1)
    with pytest.raises(NotComparedError, match="no such package"):
        measure_pair(row, 1, how, {})


def test_rows_of_a_round_share_what_is_the_same(monkeypatch):
    ran = []

    def run_side(script, cases, how):
        ran.append((script, *cases))
        return [reading([2.0], output=[1.0], accuracy=0.5) for _ in cases]

    monkeypatch.setattr(alternate, "run_side", run_side)
    rows = [
        Row(name=name, what="", a=a, b="ours train", measure="training", close={"output": 0.1})
        for name, a in (("r", "adapterhub train"), ("s", "plain train"))
    ]
    how = How(base="minilm", peers_python=Path("python"), repeats=1, warmup=0, threads=1)
    done = {}
    for row in rows:
        for side in measure_pair(row, 2, how, done):
            assert "output" not in side["facts"]
    measure_pair(rows[0], 3, how, done)  # another seed is another training
    assert [(script, case.strip()) for script, case in ran] == [
        ("adapterhub", "train seed=2"), ("ours", "train seed=2"), ("plain", "train seed=2"),
        ("adapterhub", "train seed=3"), ("ours", "train seed=3"),
    ]  # fmt: skip


def test_rows_take_turns_and_one_that_breaks_stops_none_of_the_others(monkeypatch, tmp_path):
    order = []

    def pair(row, number, how, done):
        order.append((row.name, number))
        if row.name == "step":
            raise NotComparedError("it broke")
        return [reading([2.0], batch=1, last_loss=1.0), reading([1.0], batch=1, last_loss=1.0)]

    monkeypatch.setattr(program, "measure_pair", pair)
    monkeypatch.setattr(
        sys, "argv",
        ["peers", "--rows", "step,floor,fuse", "--pairs", "2", "--out", str(tmp_path)],
    )  # fmt: skip
    with pytest.raises(SystemExit, match="1 of 3 rows"):
        main()
    assert order == [("step", 1), ("floor", 1), ("fuse", 1), ("floor", 2), ("fuse", 2)]
    found = json.loads((tmp_path / "peers.json").read_text())
    assert {name: len(own["pairs"]) for name, own in found.items()} == {
        "step": 0, "floor": 2, "fuse": 2,
    }  # fmt: skip


def test_rows_that_went_wrong_stay_in_the_table(tmp_path):
    found = {"date": "2026-01-01", "command": "c", "pairs": [], "problem": "it\nbroke"}
    write({"step": found}, tmp_path)
    text = (tmp_path / "peers.md").read_text()
    assert "| step |" in text
    assert "not compared" in text
    assert "went wrong: it broke" in text
    assert json.loads((tmp_path / "peers.json").read_text()) == {"step": found}


def measured(monkeypatch, tmp_path, outcome, *options):
    """Run the program on row `step`, each pair being `outcome`; return what was written."""

    def pair(row, number, how, done):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(program, "measure_pair", pair)
    argv = ["peers", "--rows", "step", "--out", str(tmp_path), "--peers-python", "/x/python"]
    monkeypatch.setattr(sys, "argv", [*argv, *options])
    with contextlib.suppress(SystemExit):
        main()
    return json.loads((tmp_path / "peers.json").read_text())["step"]


def test_more_pairs_are_added_to_those_of_the_same_versions(monkeypatch, tmp_path):
    facts = {"batch": [32, 64], "last_loss": 4.25}
    pair = [reading([2.0], **facts), reading([0.4], **facts)]
    other = [side | {"versions": {"torch": "9"}} for side in pair]
    first = "python -m benchmarks.peers --rows step --pairs 2"
    found = measured(monkeypatch, tmp_path, pair, "--pairs", "2")
    assert (len(found["pairs"]), found["command"]) == (2, first)
    found = measured(monkeypatch, tmp_path, pair, "--pairs", "3", "--more")
    assert (len(found["pairs"]), found["command"]) == (
        5, f"{first}; python -m benchmarks.peers --rows step --pairs 3 --more",
    )  # fmt: skip
    for outcome in (other, NotComparedError("it broke")):
        found = measured(monkeypatch, tmp_path, outcome, "--pairs", "1", "--more")
        assert (len(found["pairs"]), "problem" in found) == (5, False)
    assert len(measured(monkeypatch, tmp_path, other, "--pairs", "1")["pairs"]) == 1


def test_the_table_says_what_ran():
    facts = {"batch": [32, 64], "last_loss": 4.25}
    found = {
        "date": "2026-01-01", "command": "python -m benchmarks.peers --rows step",
        "pairs": [[reading([2.0], **facts), reading([0.4], **facts)]],
    }  # fmt: skip
    text = table({"step": found})
    assert "**5.00** (5.00 - 5.00) | >= 4.0 | yes | last loss 4.25 | last loss 4.25 |" in text
    assert '`-m benchmarks.peers.adapterhub --case "step"`; batch [32, 64]; 1 threads' in text
    assert "torch 2" in text


def test_listing_measures_nothing(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["peers", "--list", "--rows", "fuse", "--out", str(tmp_path)])
    main()
    assert capsys.readouterr().out.startswith("fuse ")
    assert not list(tmp_path.iterdir())
