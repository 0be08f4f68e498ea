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


def test_learned_combinations_say_what_they_are_over():
    model = tiny.encoder()
    inlay.attach(model)
    for name in "ab":
        model.adapters.add(name, "lora", at="q")
    model.adapters.add_combiner(inlay.Fuse("a", "b", name="both"))
    model.adapters.train("both")
    line = model.adapters.summary().splitlines()[3]
    assert line.startswith("both     fusion     fuse(a, b; name=both) (3 sites)")
    assert line.endswith("active training")
