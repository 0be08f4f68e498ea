"""Copies of base weights in PEFT's form, against a base whose weights are set by hand."""

import json

import pytest
import torch
from safetensors.torch import load_file

import inlay
from inlay.adapters.copies import add_copies
from inlay.errors import FormatError
from inlay.exchange.peft_copies import write_copies
from inlay.exchange.peft_writing import save_peft
from tests.contracts import tiny
from tests.exchange import peft_files

START = "base_model.model."
DOWN = "bert.encoder.layer.1.output.dense"
POOLER = ["bert.pooler.dense.weight", "bert.pooler.dense.bias"]


def copied(model, paths, method="lora[rank=2,alpha=3]", at="1.ffn.down"):
    """Return the adapters and one adapter with copies beside its method, all of it moved."""
    adapters = tiny.attach(model)
    entry = adapters.add("a", method, at=at, copy_heads=False)
    add_copies(adapters, entry, paths)
    tiny.stir(entry)
    return adapters, entry


def written(model, paths, kind="LORA", **options):
    return write_copies(*copied(model, paths, **options), kind)


def biases_of(model):
    """Return every bias of the base, the head's left out."""
    names = [path for path, _ in model.named_parameters()]
    return [p for p in names if p.endswith(".bias") and not p.startswith("classifier")]


CASES = {
    "a module": (POOLER, "none", ["bert.pooler.dense"]),
    "the map's bias": ([f"{DOWN}.bias"], "lora_only", None),
    "both": ([*POOLER, f"{DOWN}.bias"], "lora_only", ["bert.pooler.dense"]),
    "all biases": (biases_of(tiny.classifier()), "all", None),
    "all biases and a module": (
        [*biases_of(tiny.classifier()), "bert.embeddings.word_embeddings.weight"],
        "all",
        ["bert.embeddings.word_embeddings"],
    ),
}
"""What is copied -> the paths, the option `bias`, and `modules_to_save`."""


@pytest.mark.parametrize("case", CASES)
def test_written_and_read_again(case, tmp_path):
    paths, bias, modules = CASES[case]
    model, inputs = tiny.classifier(), tiny.batch()
    _, entry = copied(model, paths)
    save_peft(model, "a", tmp_path / "b", without_head=True)
    config = json.loads((tmp_path / "b" / "adapter_config.json").read_text())
    assert (config["bias"], config["modules_to_save"]) == (bias, modules)
    tensors = load_file(tmp_path / "b" / "adapter_model.safetensors")
    twin = tiny.classifier()
    for path in paths:
        inner = path.replace(f"{DOWN}.", f"{DOWN}.base_layer.")
        twin.get_parameter(path).data = tensors.pop(f"{START}{inner}")
    pair = tuple(tensors.pop(f"{START}{DOWN}.lora_{end}.weight") for end in "AB")
    assert not tensors
    expected = tiny.hidden(peft_files.merged(twin, {DOWN: pair}, 3 / 2), inputs)
    base = tiny.hidden(model, inputs)
    assert (expected - base).abs().max() > 1e-3
    model.adapters.use("a")
    torch.testing.assert_close(tiny.hidden(model, inputs), expected, rtol=0, atol=1e-6)
    model.adapters.use(inlay.load(model, tmp_path / "b"))
    torch.testing.assert_close(tiny.hidden(model, inputs), expected, rtol=0, atol=1e-6)
    assert entry.weights.keys() == model.adapters.entry("b").weights.keys()


def test_without_copies_there_is_nothing():
    assert written(tiny.classifier(), []) == written(tiny.classifier(), [], at="q, v")
    found = written(tiny.classifier(), [])
    assert (found.options, found.tensors, found.modules) == ({}, {}, [])


def test_a_comparators_own_copies_are_written_by_its_own_writer():
    adapters = tiny.attach(tiny.classifier())
    entry = adapters.add("a", "norms", copy_heads=False)
    assert entry.weights
    assert write_copies(adapters, entry, "LN_TUNING").tensors == {}


def test_a_method_at_no_map():
    with pytest.raises(FormatError, match="'a' has copies of base weights beside a prompt, for wh"):
        written(tiny.classifier(), POOLER, "PROMPT_TUNING", method="prompt", at=None)


@pytest.mark.parametrize(
    ("paths", "kind", "message"),
    [
        (POOLER[:1], "LORA", "a copy of the base's 'bert.pooler.dense.weight', .* which copies wh"),
        (POOLER[1:], "LORA", "'bert.pooler.dense' is copied in part. Save it with `inlay.save`"),
        ([f"{DOWN}.weight"], "LORA", "layer.1.output.dense' is copied in part"),
        ([f"{DOWN}.bias"], "IA3", "layer.1.output.dense' is copied in part"),
        ([f"{DOWN.replace('1', '2')}.bias"], "LORA", "layer.2.output.dense' is copied in part"),
    ],
)
def test_a_module_in_part(paths, kind, message):
    method = "ia3" if kind == "IA3" else "lora[rank=2]"
    with pytest.raises(FormatError, match=message):
        written(tiny.classifier(), paths, kind, method=method)


def test_a_path_that_is_the_end_of_anothers():
    model = tiny.decoder().model
    with pytest.raises(
        FormatError, match=r"'norm.weight'.* which would take 'norm' for 'layers\.0\.input_layern"
    ):
        written(model, ["norm.weight"])


def test_a_base_without_biases():
    found = written(tiny.decoder(), ["model.norm.weight"])
    assert (found.options, found.modules) == ({}, ["model.norm"])
    assert list(found.tensors) == [f"{START}model.norm.weight"]
