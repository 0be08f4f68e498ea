"""The results file of a benchmark."""

import json

from benchmarks.result_lines import ResultLines, spread


def key_of(rate, seed=1):
    return {"data": "topics", "rate": rate, "seed": seed}


def test_runs_are_added_and_found_again(tmp_path):
    lines = ResultLines("x", tmp_path)
    assert lines.read() == []
    assert not lines.has(key_of(0.1))
    first, second = ({"key": key_of(0.1, seed), "test": seed} for seed in (2, 1))
    lines.add(first)
    lines.add(second)
    assert (tmp_path / "x.jsonl").read_text() == f"{json.dumps(first)}\n{json.dumps(second)}\n"
    assert ResultLines("x", tmp_path).read() == [first, second]
    assert lines.has(key_of(0.1, 2))
    assert not lines.has(key_of(0.1, 3))
    assert lines.of(key_of(0.1, seed) for seed in (1, 2, 3)) == [second, first]


def test_scores_by_rate_are_those_of_one_kind_of_run(tmp_path):
    lines = ResultLines("x", tmp_path)
    for rate, seed in ((0.1, 1), (0.2, 1), (0.4, 2)):
        lines.add({"key": key_of(rate, seed), "rate": rate, "validation": rate * 2})
    lines.add({"key": {"data": "others"}, "rate": 0.8, "validation": 1.0})
    assert lines.by_rate(key_of) == {0.1: 0.2, 0.2: 0.4}


def test_a_table_is_written_beside(tmp_path):
    ResultLines("x", tmp_path).write_table(["# X", "", "| a |"])
    assert (tmp_path / "x.md").read_text() == "# X\n\n| a |\n"


def test_the_mean_of_seeds_with_the_ends():
    assert spread([0.5, 0.25, 0.75]) == "**50.00** (25.00 to 75.00)"
    assert spread([3.5, 4.5], 1) == "**4.00** (3.50 to 4.50)"
    assert spread([0.5]) == "**50.00**"
