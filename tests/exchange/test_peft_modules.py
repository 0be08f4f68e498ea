"""Which map a tensor of a PEFT file is for, and which targets its configuration names."""

from pathlib import Path

import pytest
import torch

from inlay.errors import FormatError
from inlay.exchange.peft_config import PeftConfig
from inlay.exchange.peft_modules import AtMap, at_maps, targets_of
from inlay.exchange.peft_names import Names
from inlay.exchange.peft_reading import load_peft
from inlay.methods.lora import LoRA
from tests.contracts import tiny
from tests.exchange import peft_files

FOLDER = Path("a-folder")
START = "base_model.model."
LAYER = "bert.encoder.layer."
ENDS = (".x", ".y")


def config(**values):
    return PeftConfig(FOLDER / "adapter_config.json", "LORA", values)


def sorted_out(paths, extra=None, **values):
    """Sort a file that has one tensor at each of these paths, which are its targets."""
    tensors = {f"{START}{path}.x": torch.ones(2) for path in paths} | (extra or {})
    values = {"target_modules": paths, **values}
    kinds = LoRA.kinds
    return at_maps(config(**values), tensors, tiny.attach(tiny.classifier()), ENDS, kinds)


def test_tensors_are_sorted_by_map_in_the_order_of_the_sites():
    down, query = f"{LAYER}0.output.dense", f"{LAYER}0.attention.self.query"
    table = "bert.embeddings.word_embeddings"
    extra = {f"{START}{query}.y": torch.zeros(3)}
    found = sorted_out([down, query, table], extra)
    assert [at.path for at in found] == [table, query, down]
    assert [at.site.kind for at in found] == ["embedding", "q", "down"]
    assert [list(at.tensors) for at in found] == [[".x"], [".x", ".y"], [".x"]]
    assert found[1].key(".y") == f"{START}{query}.y"


def test_a_file_of_the_bare_base():
    (found,) = sorted_out(["encoder.layer.1.output.dense"])
    assert found.path == "encoder.layer.1.output.dense"
    assert found.site.module == f"bert.{found.path}"


def test_a_tensor_is_taken_in_its_shape_only():
    (site, *_) = tiny.attach(tiny.classifier()).sites
    found = AtMap("a-folder", "a.b", site, {".x": torch.ones(2, 3)})
    assert found.take(".x", 2, 3) is found.tensors[".x"]
    with pytest.raises(
        FormatError,
        match=r"^a-folder: tensor 'base_model.model.a.b.x' is 2 x 3, but .* be 3 x 2\.$",
    ):
        found.take(".x", 3, 2)
    with pytest.raises(FormatError, match=r"'base_model.model.a.b.y' is missing; the file is inco"):
        found.take(".y", 3, 2)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (f"{START}{LAYER}1.output.dense.z", "output.dense.z' has no place"),
        (f"{LAYER}1.output.dense.x", "'bert.encoder.layer.1.output.dense.x' has no place"),
        (f"{START}{LAYER}1.output.dense.x", "dense.x' has no place: the configuration does not"),
        (f"{START}{LAYER}9.output.dense.x", "is for a module that BertForSequenceClassification"),
    ],
)
def test_a_tensor_too_many(key, message):
    with pytest.raises(FormatError, match=message):
        sorted_out([f"{LAYER}1.attention.self.query"], {key: torch.ones(2)})


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": r".*\.[12]\.attention\.self\.query"},
        {"target_modules": ["query"], "layers_to_transform": [1, 2]},
        {"target_modules": ["query"], "layers_to_transform": [1, 2], "layers_pattern": "layer"},
        {"target_modules": ["query"], "exclude_modules": ["layer.0.attention.self.query"]},
        {"target_modules": "all-linear"},
        {"target_modules": None},
    ],
)
def test_ways_to_name_targets(options, tmp_path):
    model = tiny.classifier()
    paths = [f"bert.encoder.layer.{i}.attention.self.query" for i in (1, 2)]
    found = peft_files.factors(model, paths, 2)
    load_peft(model, peft_files.write_lora(tmp_path / "a", found, r=2, lora_alpha=3, **options))
    model.adapters.use("a")
    expected = tiny.hidden(peft_files.merged(tiny.classifier(), found, 1.5), tiny.batch())
    torch.testing.assert_close(tiny.hidden(model, tiny.batch()), expected, rtol=1e-4, atol=1e-5)


def test_a_target_that_the_file_lacks(tmp_path):
    model = tiny.classifier()
    found = peft_files.factors(model, ["bert.encoder.layer.1.attention.self.query"], 2)
    options = {"target_modules": r".*\.[12]\.attention\.self\.query", "r": 2}
    with pytest.raises(FormatError, match="target_modules names .*layer.2.*query', but tensor"):
        load_peft(model, peft_files.write_lora(tmp_path / "a", found, **options))


def test_a_map_that_is_no_site(tmp_path):
    model = tiny.classifier()
    found = {"classifier": (torch.ones(2, 24), torch.ones(3, 2))}
    with pytest.raises(FormatError, match="'classifier', which is no linear map that was found"):
        load_peft(model, peft_files.write_lora(tmp_path / "a", found, r=2))


def test_a_file_without_any_factor(tmp_path):
    model = tiny.classifier()
    folder = peft_files.write(tmp_path / "a", {}, target_modules=None)
    with pytest.raises(FormatError, match="there is no tensor of a LORA in the file"):
        load_peft(model, folder)


QUERIES = [f"{LAYER}{i}.attention.self.query" for i in range(3)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"target_modules": "all-linear"}, None),
        ({"target_modules": ["query"]}, QUERIES),
        ({"target_modules": ["uery"]}, []),
        ({"target_modules": r".*query"}, QUERIES),
        ({"target_modules": r"query"}, []),
        ({"target_modules": ["query"], "layers_to_transform": [0, 2]}, [QUERIES[0], QUERIES[2]]),
        # PEFT does not ask for a layer where a whole path is given, nor after an expression.
        ({"target_modules": ["query", QUERIES[1]], "layers_to_transform": 0}, QUERIES[:2]),
        ({"target_modules": r".*query", "layers_to_transform": 0}, QUERIES),
        ({"target_modules": ["query"], "exclude_modules": r".*\.1\..*"}, [QUERIES[0], QUERIES[2]]),
        ({"target_modules": ["query"], "exclude_modules": ["query"]}, []),
        ({"target_modules": ["query"], "modules_to_save": ["layer.1"]}, [QUERIES[0], QUERIES[2]]),
        ({"target_modules": ["query"], "modules_to_save": ["ayer.1", "bert.layer"]}, QUERIES),
    ],
)
def test_paths_that_a_configuration_names(options, expected):
    names = Names(FOLDER, tiny.classifier(), QUERIES)
    found = targets_of(config(**options), names)
    assert found == (None if expected is None else set(expected))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_modules": "("}, r"target_modules='\(': '\(' is no regular expression"),
        ({"target_modules": [3]}, r"target_modules=\[3\]: must be a list of names"),
        ({"target_modules": ["query"], "exclude_modules": "("}, "exclude_modules=.* is no regular"),
        ({"target_modules": ["query"], "modules_to_save": "x"}, "modules_to_save='x': must be a l"),
    ],
)
def test_targets_that_cannot_be_read(options, message):
    with pytest.raises(FormatError, match=message):
        targets_of(config(**options), Names(FOLDER, tiny.classifier(), QUERIES))
