import json

from tests import tiny


def test_the_runs_own_test_rows_give_the_same_numbers_again(call, run):
    code, out, _ = call("evaluate", run, "--json")
    report = json.loads(out)
    metrics = json.loads((run / "metrics.json").read_text())
    assert code == 0
    assert {key: report[key] for key in metrics["test"]} == metrics["test"]


def test_other_data_and_a_screen(call, run, tmp_path):
    path = tiny.write_csv(tmp_path / "new.csv", tiny.rows(30, seed=9), ("question", "topic"))
    code, out, err = call("evaluate", run, path)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"run    {run}"
    assert lines[1] == f"data   {path}"
    assert lines[2].startswith("       accuracy ")
    assert lines[2].endswith("30 rows")


def test_a_label_the_adapter_does_not_know(call, run, tmp_path):
    content = [*tiny.rows(30, seed=9), ("money back", "refund"), ("cash back", "refund")]
    path = tiny.write_csv(tmp_path / "new.csv", content)
    code, out, err = call("evaluate", run, path)
    assert (code, out) == (3, "")
    assert "label 'refund' occurs in" in err


def test_a_column_that_is_not_there(call, run, topics):
    code, _, err = call("evaluate", run, topics, "--label-column", "topic")
    assert code == 3
    assert 'has no column "topic". It has: text, label.' in err
