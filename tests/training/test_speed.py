"""What is said about speed is what was chosen."""

import pytest

from inlay.training.speed import explain_speed


def test_a_frozen_base(ready):
    found = explain_speed(ready(layers="upper"))
    assert found["trunk"] == "stored in float32, adapters and heads in float32; as asked"
    assert found["attention"].startswith("sdpa: the usual one here")
    assert found["dropout"].startswith("off in the trunk")
    assert found["gradient"] == "none in the lowest 1 of 2 blocks, below the first adapter"
    assert found["batches"].startswith("rows of like length together: ")
    assert found["replay"].startswith("the lowest block is computed once for each row")
    assert found["compile"].startswith("no: ")
    assert " of " in found["threads"]


def test_other_choices(ready):
    every = explain_speed(ready(layers="all", trunk_dropout=True, precision="bfloat16"))
    assert every["trunk"].startswith("stored in bfloat16, ")
    assert every["dropout"] == "on in the trunk, as asked"
    assert every["gradient"].startswith("through all 2 blocks")
    assert every["replay"].startswith("no, the trunk's dropout is on")
    full = explain_speed(ready(method="full", precision="bfloat16"))
    assert full["trunk"].startswith("float32 under autocast to bfloat16")
    assert full["gradient"] == "through the whole base, as it is trained"
    assert full["dropout"] == "on in the base, as it is trained"


@pytest.mark.parametrize("is_fast", [True, False])
def test_the_machine_decides_where_nothing_is_asked(ready, monkeypatch, is_fast):
    monkeypatch.setattr("inlay.training.precision.has_fast_bfloat16", lambda device: is_fast)
    found = explain_speed(ready(precision="auto"))["trunk"]
    expected = "the faster one that cpu has" if is_fast else "cpu has no fast bfloat16"
    assert found.endswith(expected)
