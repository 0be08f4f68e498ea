"""`inlay convert` for one adapter of each method that PEFT has: there and back, and refusals."""

import json

import pytest
import torch

import inlay
from tests.cli.program import inlay as program
from tests.contracts import tiny
from tests.exchange import peft_files

METHODS = {
    "lora": ("lora[rank=3]", "bert"),
    "dora": ("lora[rank=3,magnitude=true]", "bert"),
    "rslora": ("lora[rank=3,scale=alpha/sqrt(rank)]", "llama"),
    "pissa": ("lora[rank=3,init=pissa]", "llama"),
    "vera": ("vera[rank=4]", "bert"),
    "ia3": ("ia3", "t5"),
    "norms": ("norms", "llama"),
    "prefix": ("prefix[length=3,inner_width=5,takes_positions=true]", "llama"),
    "prompt": ("prompt[length=3,returned=true]", "bert"),
    "p-tuning": ("prompt[length=3,encoder=mlp,returned=true]", "llama"),
}
"""Case -> method, family of the golden bases."""


def saved(family, method, folder):
    """Save an adapter of ours; return its base and what it computes."""
    model = peft_files.golden_model(family)
    entry = inlay.attach(model).add("a", method)
    tiny.stir(entry)
    model.adapters.use("a")
    inlay.save(model, "a", folder)
    return peft_files.GOLDEN / family / "base", tiny.hidden(
        model, peft_files.golden(family, "inputs")
    )


@pytest.mark.parametrize("case", METHODS)
def test_there_and_back(call, tmp_path, case):
    method, family = METHODS[case]
    base, expected = saved(family, method, tmp_path / "own")
    out = ["--base", base, "--json", "--out"]
    code, text, err = call("convert", tmp_path / "own", "--to", "peft", *out, tmp_path / "peft")
    assert (code, err) == (0, "")
    assert json.loads(text)["form"] == "peft"
    code, text, err = call("convert", tmp_path / "peft", "--to", "inlay", *out, tmp_path / "back")
    assert (code, err) == (0, "")
    manifest = json.loads((tmp_path / "back" / "adapter.json").read_text())
    assert manifest["card"]["imported"]["format"] == "peft"
    model = peft_files.golden_model(family)
    inlay.load(model, tmp_path / "back", name="b")
    model.adapters.use("b")
    found = tiny.hidden(model, peft_files.golden(family, "inputs"))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("method", "family", "more", "message"),
    [
        ("bottleneck", "bert", [], "'bottleneck', which has no form in PEFT"),
        ("bitfit", "bert", [], "'bitfit', which has no form in PEFT"),
        ("prefix[length=3]", "llama", [], "train with Prefix(takes_positions=True)"),
        ("prompt[length=3]", "bert", [], "train with Prompt(returned=True)"),
        ("ia3", "llama", ["--for", "vllm"], "vLLM loads lora only"),
        ("lora[magnitude=true]", "llama", ["--for", "vllm"], "is a DoRA, which vLLM does not load"),
        ("lora[rank=2]", "llama", ["--for", "vllm", "--at", "x"], "no option --at"),
    ],
)
def test_what_has_no_form(call, tmp_path, method, family, more, message):
    base, _ = saved(family, method, tmp_path / "own")
    given = ["--to", "peft", "--base", base, "--out", tmp_path / "x", *more]
    code, out, err = call("convert", tmp_path / "own", *given)
    assert (code, out) == (2, "")
    assert message in err.lower() or message in err
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
@pytest.mark.parametrize("case", METHODS)
def test_in_a_process_of_its_own(tmp_path, case):
    method, family = METHODS[case]
    base, _ = saved(family, method, tmp_path / "own")
    for source, to in (("own", "peft"), ("peft", "inlay")):
        out = str(tmp_path / ("peft" if to == "peft" else "back"))
        done = program(
            "convert", str(tmp_path / source), "--to", to, "--base", str(base), "--out", out
        )
        assert done.returncode == 0, done.stderr
        assert "read again and the same" in done.stdout
    broken = tmp_path / "peft" / "adapter_model.safetensors"
    broken.write_bytes(broken.read_bytes()[:-9])
    done = program(
        "convert", str(tmp_path / "peft"), "--to", "inlay", "--base", str(base),
        "--out", str(tmp_path / "x"),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert "is damaged or no safetensors file" in done.stderr
