import json

import pytest

import inlay
from tests.exchange import peft_files

LORA = peft_files.GOLDEN / "bert" / "lora"
BASE = peft_files.GOLDEN / "bert" / "base"


def test_there_and_back(call, tmp_path):
    code, out, err = call("convert", LORA, "--to", "inlay", "--base", BASE, "--out", tmp_path / "a")
    assert (code, err) == (0, "")
    read, adapter, wrote = out.splitlines()
    assert read == f"read     {LORA}   peft, base {BASE}"
    assert adapter == "adapter  'lora': lora at 4 sites, 1 024 weights, 99 in the head"
    assert wrote == f"wrote    {tmp_path / 'a'}   inlay; read again and the same"
    code, out, _ = call("convert", tmp_path / "a", "--to", "peft", "-o", tmp_path / "b", "--json")
    assert code == 0
    done = json.loads(out)
    assert (done["source_form"], done["form"], done["num_sites"]) == ("inlay", "peft", 4)
    assert (tmp_path / "b" / "adapter_model.safetensors").is_file()


def test_for_vllm(call, tmp_path):
    given = [
        "convert",
        LORA,
        "--to",
        "peft",
        "--for",
        "vllm",
        "--base",
        BASE,
        "--out",
        tmp_path / "a",
    ]
    code, out, err = call(*given)
    assert (code, out) == (2, "")
    assert "has a head ('classifier'), which is not written for vLLM, as most " in err
    assert not (tmp_path / "a").exists()
    code, out, _ = call(*given, "--without-head")
    assert code == 0
    assert "peft for vllm; read again and the same" in out
    assert "note" not in out


def test_a_rank_that_vllm_must_be_told_of(call, tmp_path):
    model = peft_files.golden_model("llama")
    inlay.attach(model).add("a", "lora[rank=20]", at="q")
    inlay.save(model, "a", tmp_path / "a")
    base = peft_files.GOLDEN / "llama" / "base"
    given = ["convert", tmp_path / "a", "--to", "peft", "--for", "vllm", "--base", base]
    code, out, _ = call(*given, "--out", tmp_path / "b")
    assert code == 0
    assert out.splitlines()[-1].startswith("note     rank 20: start vLLM with --max-lora-rank 32;")
    _, out, _ = call(*given, "--out", tmp_path / "c", "--json")
    assert len(json.loads(out)["notes"]) == 1


def test_a_run(call, run, tmp_path):
    code, _, err = call("convert", run, "--to", "peft", "--out", tmp_path / "a")
    assert code == 2
    assert "has a head of a task beside the model" in err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--to", "onnx"], "'onnx' is not one of"),
        ([], "missing option '--to'"),
        (["--to", "inlay", "--for", "vllm"], "vLLM reads PEFT's form"),
    ],
)
def test_mistakes(call, tmp_path, given, message):
    code, out, err = call("convert", LORA, "--base", BASE, "--out", tmp_path / "a", *given)
    assert (code, out) == (2, "")
    assert message in err


def test_no_adapter(call, tmp_path):
    code, _, err = call("convert", tmp_path, "--to", "peft", "--out", tmp_path / "a")
    assert code == 2
    assert "is no saved adapter" in err
