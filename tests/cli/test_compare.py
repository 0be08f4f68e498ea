import json
import shutil

import pytest


@pytest.fixture
def worse(run, tmp_path):
    """A copy of the run that has three more rows wrong."""
    folder = tmp_path / "worse"
    shutil.copytree(run, folder)
    path = folder / "predictions.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    right = [record for record in records if record["label"] == record["predicted"]]
    for record in right[:3]:
        record |= {"predicted": "something else", "counts": [0.0, 1.0], "value": 0.0}
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def test_a_table_and_a_verdict_for_each(call, run, worse):
    code, out, err = call("compare", run, worse)
    assert (code, err) == (0, "")
    header, reference, other, blank, verdict = out.splitlines()
    assert header.split()[:3] == ["run", "accuracy", "95"]
    assert reference.split()[-1] == "reference"
    assert other.split()[-2:] == ["0", "3"]
    assert blank == ""
    assert verdict.startswith(f"{worse} against {run}: -25.0 points (")
    assert verdict.endswith("within noise (p = 0.25), on 12 rows")


def test_json(call, run, worse):
    first, second = json.loads(call("compare", run, worse, "--json")[1])
    assert first["difference"] is None
    assert second["difference"]["broken"] == 3


def test_one_run_is_none_to_compare(call, run):
    code, _, err = call("compare", run)
    assert (code, err) == (2, "inlay: compare needs two runs or more, not 1.\n")


def test_other_test_rows(call, run, worse):
    path = worse / "predictions.jsonl"
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[1:]))
    code, out, err = call("compare", run, worse)
    assert (code, out) == (2, "")
    assert "were tested on different rows (11 and 12)" in err
