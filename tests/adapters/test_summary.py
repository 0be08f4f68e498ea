"""The table of adapters."""

import inlay
from tests.contracts import tiny


def test_says_what_is_there_and_what_runs():
    model = tiny.encoder()
    inlay.attach(model)
    model.adapters.add("a", inlay.LoRA(rank=2), at="q, v")
    model.adapters.add("b", "pfeiffer")
    model.adapters.train("b")
    lines = model.adapters.summary().splitlines()
    assert lines[0].split() == ["adapter", "method", "where", "weights", "share", "state"]
    assert lines[1].startswith("a        lora        q, v (6 sites)")
    assert "576" in lines[1]
    assert lines[2].endswith("active training")
    assert lines[3].startswith("(base)   BertModel")
