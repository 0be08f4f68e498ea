"""VeRA of PEFT, whose one pair of matrices is cut to each map, against merged weights."""

import copy

import pytest
import torch
from safetensors.torch import load_file

import inlay
from inlay.errors import AdapterError, FormatError
from inlay.exchange.peft_reading import load_peft
from inlay.exchange.peft_writing import save_peft
from tests.contracts import tiny
from tests.exchange import peft_files

PATHS = [
    "bert.encoder.layer.0.attention.self.query",
    "bert.encoder.layer.1.intermediate.dense",
    "bert.encoder.layer.1.output.dense",
]


def drawn(model, rank=3, seed=1):
    draw = torch.Generator().manual_seed(seed)
    tensors = {
        "base_model.vera_A": torch.randn(rank, 40, generator=draw),
        "base_model.vera_B": torch.randn(40, rank, generator=draw),
    }
    for path in PATHS:
        start, out = f"base_model.model.{path}", len(model.get_submodule(path).weight)
        tensors[f"{start}.vera_lambda_d"] = torch.randn(rank, generator=draw) * 0.3
        tensors[f"{start}.vera_lambda_b"] = torch.randn(out, generator=draw) * 0.3
    return tensors


def merged(model, tensors):
    model = copy.deepcopy(model)
    for path in PATHS:
        weight = model.get_submodule(path).weight
        b, d = (tensors[f"base_model.model.{path}.vera_lambda_{x}"] for x in "bd")
        up = tensors["base_model.vera_B"][: len(weight)]
        down = tensors["base_model.vera_A"][:, : weight.shape[1]]
        weight.data += b[:, None] * (up @ (d[:, None] * down))
    return model


def written(folder, tensors, **options):
    options = {"r": 3, "target_modules": PATHS, "save_projection": True, **options}
    return peft_files.write(folder, tensors, **{"peft_type": "VERA", **options})


def test_matrices_are_cut_to_the_widths_of_each_map(tmp_path):
    model, inputs = tiny.classifier(), tiny.batch()
    tensors = drawn(model)
    expected = tiny.hidden(merged(model, tensors), inputs)
    load_peft(model, written(tmp_path / "a", tensors))
    model.adapters.use("a")
    torch.testing.assert_close(tiny.hidden(model, inputs), expected, atol=1e-5, rtol=1e-5)
    save_peft(model, "a", tmp_path / "b", without_head=True)
    again = load_file(tmp_path / "b" / "adapter_model.safetensors")
    assert again.keys() == tensors.keys()
    assert all(torch.equal(tensor, again[key]) for key, tensor in tensors.items())


def test_pairs_that_are_no_parts_of_one_another_are_written_side_by_side(tmp_path):
    model, inputs = tiny.classifier(), tiny.batch()
    entry = inlay.attach(model).add("a", "vera[rank=4]", at="q, up, down", copy_heads=False)
    tiny.stir(entry)
    model.adapters.use("a")
    expected = tiny.hidden(model, inputs)
    save_peft(model, "a", tmp_path / "b")
    tensors = load_file(tmp_path / "b" / "adapter_model.safetensors")
    assert tensors["base_model.vera_A"].shape == (12, 40)
    model.adapters.use(inlay.load(model, tmp_path / "b"))
    torch.testing.assert_close(tiny.hidden(model, inputs), expected, atol=1e-5, rtol=1e-5)


def test_other_matrices_are_not_blended(tmp_path):
    model = tiny.classifier()
    for name, seed in (("a", 1), ("b", 2)):
        load_peft(model, written(tmp_path / name, drawn(model, seed=seed)))
    with pytest.raises(AdapterError, match="has seed="):
        inlay.blend(model, "c", {"a": 0.5, "b": 0.5})


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda t: t.pop("base_model.vera_A"), {}, "'base_model.vera_A' is missing"),
        (lambda t: None, {"save_projection": False}, "the file has the matrices all the same"),
        (
            lambda t: t.update({"base_model.vera_B": torch.ones(24, 3)}), {},
            "'base_model.vera_B' is 24 x 3, but these maps need 40 x 3",
        ),
        (lambda t: None, {"r": 4}, "vera_A' is 3 x 40, but these maps need 4 x 40"),
        (
            lambda t: t.pop(f"base_model.model.{PATHS[0]}.vera_lambda_d"), {},
            "query.vera_lambda_d' is missing",
        ),
        (
            lambda t: [t.pop("base_model.vera_A"), t.pop("base_model.vera_B")],
            {"save_projection": False, "projection_prng_key": "x"},
            "projection_prng_key='x': must be a whole number",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit(tmp_path, change, options, message):
    model = tiny.classifier()
    tensors = drawn(model)
    change(tensors)
    with pytest.raises(FormatError, match=message):
        load_peft(model, written(tmp_path / "a", tensors, **options))
    assert not hasattr(model, "adapters")
