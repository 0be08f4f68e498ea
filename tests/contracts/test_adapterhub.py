"""Adapters that AdapterHub has saved give, on the same base, the outputs that it has given.

The golden files were written and run by the peer itself: a folder for each family with its base,
its inputs, its outputs, and a folder for each checkpoint. Those beside these tests are always
there; set INLAY_GOLDEN to where more are.
"""

import functools
import json
import os
from pathlib import Path

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file

import inlay
from inlay.errors import FormatError
from inlay.exchange.adapterhub import load_adapterhub, load_adapterhub_fusion

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(os.environ.get("INLAY_GOLDEN", ROOT.parent / "shared" / "golden")) / "adapterhub"
OWN = ROOT / "tests" / "golden" / "adapterhub"
FAMILIES = {
    path.name: path for root in (GOLDEN, OWN) if root.is_dir() for path in sorted(root.iterdir())
}
CASES = [
    (family, path.name)
    for family in FAMILIES
    for path in sorted(FAMILIES[family].iterdir())
    if path.is_dir() and path.name != "base"
]
NOT_READ = {
    # Saved from classes without a head, of which AdapterHub leaves out what the layers share.
    "compacter": "'shared_parameters.a.phm_rule' is missing",
    "compacter_pp": "'shared_parameters.a.phm_rule' is missing",
    "bert_with_head/compacter": None,
    "bert_with_head/compacter_pp": None,
}
"""Checkpoint, of all families or of one -> how it is refused; `None` if it is read."""


@functools.cache
def family(name):
    """Load a base, its inputs and outputs once."""
    folder = FAMILIES[name]
    config = json.loads((folder / "base" / "config.json").read_text())
    model = getattr(hf, config["architectures"][0]).from_pretrained(folder / "base").eval()
    inlay.attach(model)
    return (
        model,
        load_file(folder / "inputs.safetensors"),
        load_file(folder / "outputs.safetensors"),
    )


def outputs(model, inputs):
    with torch.no_grad():
        found = model(**inputs)
    return found.logits if "logits" in found else found.last_hidden_state


def loaded(model, folder):
    """Load what is in a folder and say what to run."""
    if folder.name in ("stack", "parallel"):
        node = inlay.Stack if folder.name == "stack" else inlay.Parallel
        return node(*(load_adapterhub(model, folder / name) for name in "ab"))
    if folder.name == "fuse":
        for name in "ab":
            load_adapterhub(model, folder / name)
        return load_adapterhub_fusion(model, folder / "fusion")
    return load_adapterhub(model, folder)


@pytest.mark.parametrize(("name", "case"), CASES, ids=["-".join(case) for case in CASES])
def test_outputs_are_the_peers(name, case):
    model, inputs, expected = family(name)
    try:
        refusal = NOT_READ.get(f"{name}/{case}", NOT_READ.get(case))
        if refusal is not None:
            with pytest.raises(FormatError, match=refusal):
                loaded(model, FAMILIES[name] / case)
            return
        composition = loaded(model, FAMILIES[name] / case)
        with model.adapters.using(composition):
            found = outputs(model, inputs)
        torch.testing.assert_close(found, expected[case], atol=1e-4, rtol=0)
        assert (found[: len(expected["base"])] - expected["base"]).abs().max() > 0.02
    finally:
        for adapter in model.adapters.names[::-1]:
            model.adapters.remove(adapter)
    torch.testing.assert_close(outputs(model, inputs), expected["base"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "case"), [pair for pair in CASES if NOT_READ.get(pair[1]) and f"{'/'.join(pair)}" not
                       in NOT_READ]
)  # fmt: skip
def test_what_a_refused_file_lacks_is_in_none_of_its_family(name, case):
    """The shared rule cannot be found elsewhere, nor does the adapter work without: it is lost."""
    for path in FAMILIES[name].rglob("*.bin"):
        found = torch.load(path, weights_only=True)
        assert not any("phm_rule" in key for key in found)
    config = json.loads((FAMILIES[name] / case / "adapter_config.json").read_text())["config"]
    assert (config["shared_phm_rule"], config["init_weights_seed"]) == (True, None)


def test_every_output_has_its_checkpoint():
    for name in FAMILIES:
        assert {case for own, case in CASES if own == name} | {"base"} == set(family(name)[2])
