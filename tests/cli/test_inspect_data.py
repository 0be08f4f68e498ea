import sys
import types

import pytest


@pytest.fixture
def asked(monkeypatch):
    """Put a recorder in the place of what reads and prints."""
    calls = []

    def run_inspect(path, **options):
        calls.append((path, options))
        return 3

    module = types.ModuleType("inlay.cli.inspection")
    module.run_inspect = run_inspect
    monkeypatch.setitem(sys.modules, "inlay.cli.inspection", module)
    return calls


def test_options_are_passed_on_and_the_code_returned(call, asked, tmp_path):
    code, _, _ = call(
        "inspect", "reviews.csv", "--task", "text-classification", "--text-column", "review",
        "--map-label", "Good=good", "--label-map", "Bad=bad", "--max-rejected", "5%",
        "--out", tmp_path, "--json",
    )  # fmt: skip
    assert code == 3
    assert asked == [
        (
            "reviews.csv",
            {
                "task": "text-classification", "columns": {},
                "text_column": "review", "pair_column": None, "label_column": None,
                "label_map": {"Good": "good", "Bad": "bad"}, "max_rejected": 0.05,
                "json_output": True, "out": tmp_path,
            },
        )
    ]  # fmt: skip


def test_defaults(call, asked):
    call("inspect", "reviews.csv")
    [(_, options)] = asked
    assert options["max_rejected"] == 0.01
    assert options["label_map"] == {}
    assert options["json_output"] is False
