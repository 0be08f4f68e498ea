import json
import shutil

import inlay
from inlay.store.bases import load_base, resolve_base


def test_a_table(call, base):
    code, out, err = call("sites", base)
    assert (code, err) == (0, "")
    header, *rows = out.splitlines()
    assert header.split() == ["site", "block", "kind", "module", "width", "scale", "norm"]
    ffn = next(row for row in rows if row.startswith("1.ffn "))
    assert ffn.split() == ["1.ffn", "1", "ffn", "encoder.layer.1.output.dropout", "32", "1", "post"]
    up = next(row for row in rows if row.startswith("1.ffn.up "))
    assert up.split()[-3:] == ["32", "->", "48"]


def test_json_is_the_map(call, base):
    found = json.loads(call("sites", base, "--json")[1])
    assert found == inlay.probe(load_base(resolve_base(str(base)))[0]).to_json()


def test_a_configuration_is_enough(call, base, tmp_path):
    shutil.copy(base / "config.json", tmp_path)
    assert call("sites", tmp_path)[1] == call("sites", base)[1]


def test_a_base_that_is_nowhere(call, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, _, err = call("sites", "no/such-base")
    assert code == 2
    assert "'no/such-base' is not on this machine and the network is off. On disk: " in err
