"""Sizes by name and from a file."""

import json

import pytest

from inlay.errors import ConfigError
from inlay.pretraining.sizes import SIZES, shape_of


@pytest.mark.parametrize("size", list(SIZES))
def test_a_named_size_suits_every_objective(size):
    shapes = [shape_of(size, objective) for objective in ("mlm", "clm", "denoise")]
    assert [shape.model_type for shape in shapes] == ["bert", "llama", "t5"]
    assert {shape.vocab_size for shape in shapes} == {SIZES[size].vocab_size}
    rates = [shape.learning_rate for shape in shapes]
    assert rates[0] * 6 == pytest.approx(rates[1]) and rates[1] == SIZES[size].learning_rate
    assert shapes[1].settings["intermediate_size"] % 8 == 0


def test_a_file_gives_architecture_and_measures(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"model_type": "gpt2", "n_embd": 24, "vocab_size": 999}))
    shape = shape_of(str(path), "clm")
    assert (shape.model_type, shape.vocab_size) == ("gpt2", 999)
    assert shape.settings == {"n_embd": 24}
    path.write_text(json.dumps({"max_position_embeddings": 77}))
    assert (shape_of(str(path), "mlm").model_type, shape_of(str(path), "mlm").max_length) == (
        "bert", 77,
    )  # fmt: skip


def test_what_is_no_size_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"size='tony' is not known. Known: tiny, small, or a .j"):
        shape_of("tony", "mlm")
    with pytest.raises(ConfigError, match=r"none.json' cannot be read: no such file or directory"):
        shape_of(str(tmp_path / "none.json"), "mlm")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ConfigError, match=r"bad.json' is not JSON: "):
        shape_of(str(tmp_path / "bad.json"), "mlm")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"list.json' is no configuration: an object with the"):
        shape_of(str(tmp_path / "list.json"), "mlm")
