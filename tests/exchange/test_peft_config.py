import json

import pytest

from inlay.errors import FormatError
from inlay.exchange.peft_config import PeftConfig, read_config, value_for


def config(tmp_path, **values):
    return PeftConfig(tmp_path / "adapter_config.json", "LORA", values)


def test_it_is_read(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 3}))
    found = read_config(tmp_path)
    assert (found.kind, found.whole("r")) == ("LORA", 3)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\udcff"])
def test_damage(tmp_path, text):
    path = tmp_path / "adapter_config.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(FormatError, match="is damaged"):
        read_config(tmp_path)


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"peft_type": 3}'])
def test_no_method(tmp_path, text):
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(FormatError, match="there is no peft_type"):
        read_config(tmp_path)


def test_no_file(tmp_path):
    with pytest.raises(FormatError, match="has no adapter_config.json; it is no PEFT adapter"):
        read_config(tmp_path)


def test_options_that_are_off_are_not_asked_about(tmp_path):
    values = {"a": None, "b": False, "c": [], "d": {}, "peft_version": "9"}
    config(tmp_path, **values).check_options()
    for value in (1, "x", [1], True):
        with pytest.raises(FormatError, match="e=.* has an effect that Inlay does not have"):
            config(tmp_path, **values, e=value).check_options()
    config(tmp_path, e=3).check_options(free=("e",))


def test_the_first_pattern_that_matches_the_end_of_a_path_counts():
    patterns = {"q": 1.0, r"1\.attn\.v": 2.0, "v": 3.0, r"^layers\.0\..*": 4.0}
    found = [
        value_for(patterns, path, 9.0)
        for path in ("layers.0.attn.q", "layers.1.attn.v", "layers.2.attn.v", "layers.0.attn.k",
                     "layers.1.attn.k", "layers.1.attn.wq", "x.layers.0.attn.k")
    ]  # fmt: skip
    # `^` is after an optional `(.*\.)`, so it still means the path's very beginning.
    assert found == [1.0, 2.0, 3.0, 4.0, 9.0, 9.0, 9.0]


@pytest.mark.parametrize(
    ("layers", "pattern", "path", "is_in"),
    [
        ([1], None, "model.layers.1.self_attn.q", True),
        (1, None, "model.layers.1.self_attn.q", True),
        ([2], None, "model.layers.1.self_attn.q", False),
        ([1], None, "model.layers.1.experts.0.up", True),
        ([0], None, "model.layers.1.experts.0.up", False),
        ([0], ["experts"], "model.layers.1.experts.0.up", True),
        ([0], "blocks", "model.layers.0.up", False),
        ([0], None, "model.embed", False),
        ([], None, "model.embed", True),
    ],
)
def test_layers(tmp_path, layers, pattern, path, is_in):
    found = config(tmp_path, layers_to_transform=layers, layers_pattern=pattern)
    assert found.in_layers(path) is is_in


def test_layers_that_are_no_numbers(tmp_path):
    with pytest.raises(FormatError, match="must be numbers of layers"):
        config(tmp_path, layers_to_transform=["a"]).in_layers("layers.1.q")
