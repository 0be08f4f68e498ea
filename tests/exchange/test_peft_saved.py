"""Heads, whole modules and biases of a PEFT file, set apart and copied."""

from pathlib import Path

import pytest
import torch

import inlay
from inlay.errors import FormatError
from inlay.exchange.peft_config import PeftConfig
from inlay.exchange.peft_reading import load_peft
from inlay.exchange.peft_saved import split_saved
from inlay.exchange.peft_writing import save_peft
from tests.contracts import tiny
from tests.exchange import peft_files

START = "base_model.model."
QUERY = "bert.encoder.layer.0.attention.self.query"


def config(**values):
    return PeftConfig(Path("a-folder/adapter_config.json"), "LORA", values)


def test_heads_are_set_apart():
    adapters = inlay.attach(tiny.classifier())
    asked = config(modules_to_save=["classifier", "score"])
    tensors = {f"{START}classifier.bias": torch.ones(3), "else": torch.ones(1)}
    saved = split_saved(asked, tensors, adapters, START, without_head=False)
    assert (list(saved.rest), list(saved.named)) == (["else"], ["own_head/classifier/bias"])
    saved = split_saved(asked, tensors, adapters, START, without_head=True)
    assert (list(saved.rest), saved.named) == (["else"], {})


def test_a_word_is_the_end_of_a_path_and_not_at_a_dot():
    model = tiny.decoder()
    adapters = inlay.attach(model)
    norms = [p for p, _ in model.named_parameters() if p.endswith("norm.weight")]
    tensors = {f"{START}{path}": torch.ones(24) for path in norms}
    assert any("input_layernorm" in path for path in norms)
    saved = split_saved(config(modules_to_save=["norm"]), tensors, adapters, START,
                        without_head=False)  # fmt: skip
    assert saved.named.keys() == {f"weight/{path}" for path in norms}
    assert "copies" in saved.notes[0]
    tensors.popitem()
    with pytest.raises(
        FormatError, match="'model.norm' was saved, but the file has no tensor of it"
    ):
        split_saved(config(modules_to_save=["norm"]), tensors, adapters, START, without_head=False)


def test_biases_of_the_maps(tmp_path):
    model, twin = tiny.classifier(), tiny.classifier()
    found = peft_files.factors(model, [QUERY], 2)
    bias = torch.randn(24, generator=torch.Generator().manual_seed(1))
    extra = {f"{START}{QUERY}.base_layer.bias": bias}
    options = {"r": 2, "lora_alpha": 3, "bias": "lora_only"}
    folder = peft_files.write_lora(tmp_path / "a", found, extra, **options)
    peft_files.merged(twin, found, 1.5).get_submodule(QUERY).bias.data = bias
    base = tiny.hidden(model, tiny.batch())
    load_peft(model, folder)
    assert torch.equal(tiny.hidden(model, tiny.batch()), base)
    model.adapters.use("a")
    expected = tiny.hidden(twin, tiny.batch())
    torch.testing.assert_close(tiny.hidden(model, tiny.batch()), expected, atol=1e-5, rtol=1e-5)
    save_peft(model, "a", tmp_path / "b", without_head=True)
    with pytest.raises(FormatError, match="copies of base weights, for example .* vLLM does not"):
        save_peft(model, "a", tmp_path / "c", without_head=True, for_vllm=True)


@pytest.mark.parametrize("name", ["key", "query"])
def test_a_bias_that_no_option_covers(tmp_path, name):
    model = tiny.classifier()
    found = peft_files.factors(model, [QUERY], 2)
    path = QUERY.replace("query", name)
    extra = {f"{START}{QUERY}.base_layer.bias": torch.ones(24), f"{START}{path}.bias":
             torch.ones(24)}  # fmt: skip
    mode = "lora_only" if name == "key" else "none"
    folder = peft_files.write_lora(tmp_path / "a", found, extra, r=2, bias=mode)
    message = (
        "is the bias of no map of the method" if name == "key" else "overwrite a weight of the"
    )
    with pytest.raises(FormatError, match=message):
        load_peft(model, folder)
    assert not hasattr(model, "adapters")
