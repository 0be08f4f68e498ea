import json

import pytest
import torch

import inlay
from inlay.errors import ConfigError, FormatError
from inlay.exchange.convert import convert
from tests import tiny
from tests.contracts import tiny as models
from tests.exchange import peft_files


def base(family):
    return str(peft_files.GOLDEN / family / "base")


@pytest.mark.parametrize("family", peft_files.FAMILIES)
def test_from_peft_to_ours_and_back(family, tmp_path):
    source = peft_files.GOLDEN / family / "rslora"
    done = convert(source, tmp_path / "own", to="inlay", base=base(family))
    assert (done.source_form, done.form, done.method) == ("peft", "inlay", "lora")
    model = peft_files.golden_model(family)
    inlay.load(model, tmp_path / "own", name="x")
    convert(tmp_path / "own", tmp_path / "peft", to="peft")
    inlay.load(model, tmp_path / "peft", name="y")
    outputs = peft_files.golden(family, "outputs")["rslora"]
    for name in "xy":
        model.adapters.use(name)
        found = models.hidden(model, peft_files.golden(family, "inputs"))
        torch.testing.assert_close(found, outputs, rtol=0, atol=1e-4)
    card = json.loads((tmp_path / "own" / "adapter.json").read_text())["card"]
    assert card["converted"] == {"from": "peft", "folder": "rslora"}
    imported = card["imported"]
    assert (imported["format"], imported["config"]["use_rslora"]) == ("peft", True)


def test_a_pooler_survives(tmp_path):
    source = peft_files.GOLDEN / "bert" / "lora_all_linear"
    convert(source, tmp_path / "own", to="inlay", base=base("bert"))
    convert(tmp_path / "own", tmp_path / "peft", to="peft", base=base("bert"))
    model = peft_files.golden_model("bert")
    inlay.load(model, tmp_path / "peft")
    model.adapters.use("peft")
    found = models.hidden(model, peft_files.golden("bert", "inputs"))
    outputs = peft_files.golden("bert", "outputs")["lora_all_linear"]
    torch.testing.assert_close(found, outputs, rtol=0, atol=1e-4)


def test_for_vllm_with_ranks_that_differ(tmp_path):
    model = peft_files.golden_model("llama")
    paths = [p for p in peft_files.linear_paths(model) if p.endswith(("q_proj", "down_proj"))]
    found = peft_files.factors(model, paths, lambda path: 2 if "q_proj" in path else 5)
    source = peft_files.write_lora(
        tmp_path / "a", found, r=2, lora_alpha=3, rank_pattern={"down_proj": 5},
        task_type="CAUSAL_LM",
    )  # fmt: skip
    convert(source, tmp_path / "b", to="peft", base=base("llama"), for_vllm=True)
    values = json.loads((tmp_path / "b" / "adapter_config.json").read_text())
    assert (values["r"], values["rank_pattern"], values["alpha_pattern"]) == (5, {}, {})
    twin = peft_files.merged(
        peft_files.golden_model("llama"), found, lambda p: 3 / (2 if "q_proj" in p else 5)
    )
    inlay.load(model, tmp_path / "b")
    model.adapters.use("b")
    inputs = peft_files.golden("llama", "inputs")
    torch.testing.assert_close(
        models.hidden(model, inputs), models.hidden(twin, inputs), rtol=1e-4, atol=1e-5
    )


def test_nothing_to_convert(tmp_path):
    source = peft_files.GOLDEN / "bert" / "lora"
    with pytest.raises(ConfigError, match="is in the form 'peft' already; there is nothing to"):
        convert(source, tmp_path / "x", to="peft", base=base("bert"))
    with pytest.raises(ConfigError, match="for vllm, but to='inlay'"):
        convert(source, tmp_path / "x", to="inlay", base=base("bert"), for_vllm=True)
    convert(source, tmp_path / "x", to="peft", base=base("bert"), without_head=True)


def test_a_trained_run_has_a_head_of_its_task(tmp_path, tmp_path_factory):
    tiny.shared_run(tmp_path_factory.getbasetemp())
    source = tmp_path_factory.getbasetemp() / "tiny-run" / "adapter"
    with pytest.raises(FormatError, match="has a head of a task beside the model, for which PEFT"):
        convert(source, tmp_path / "x", to="peft")
    with pytest.raises(FormatError, match="'bottleneck', which has no form in PEFT"):
        convert(source, tmp_path / "x", to="peft", without_head=True)
    assert not (tmp_path / "x").exists()
