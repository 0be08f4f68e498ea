"""LoRA's options: ranks and scales by module, against weights merged by hand."""

import copy

import pytest
import torch

import inlay
from inlay.errors import FormatError
from inlay.exchange.peft_reading import load_peft
from inlay.sites.example import example_inputs
from tests.contracts import tiny
from tests.contracts.families import FAMILIES
from tests.exchange import peft_files


def agrees(model, folder, found, scale):
    twin = peft_files.merged(copy.deepcopy(model), found, scale)
    inputs = tiny.batch()
    load_peft(model, folder)
    model.adapters.use(folder.name)
    torch.testing.assert_close(
        tiny.hidden(model, inputs), tiny.hidden(twin, inputs), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("family", ["gpt2", "distilbert", "qwen3", "bart", "vit", "phi3"])
def test_any_family_by_paths(family, tmp_path):
    model = FAMILIES[family].build()
    sites = {site.module for site in inlay.probe(model) if site.is_linear}
    paths = [path for path in peft_files.linear_paths(model) if path in sites]
    assert len(paths) >= 8
    found = peft_files.factors(model, paths, 3)
    folder = peft_files.write_lora(tmp_path / "a", found, r=3, lora_alpha=4.5)
    inputs = example_inputs(model)
    twin = peft_files.merged(copy.deepcopy(model), found, 1.5)
    load_peft(model, folder)
    model.adapters.use("a")
    with torch.no_grad():
        one, two = model(**inputs)[0], twin(**inputs)[0]
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_ranks_and_scales_by_pattern(tmp_path):
    model = tiny.classifier()
    paths = [path for path in peft_files.linear_paths(model) if path.endswith(("query", "value"))]

    def rank(path):
        return 5 if path.endswith("query") else 2 if ".2." in path else 3

    def scale(path):
        return (7 if "layer.0." in path else 4) / rank(path)

    found = peft_files.factors(model, paths, rank)
    folder = peft_files.write_lora(
        tmp_path / "a", found, r=3, lora_alpha=4, target_modules=["query", "value"],
        rank_pattern={"query": 5, "layer.2.attention.self.value": 2},
        alpha_pattern={r"^bert\.encoder\.layer\.0\..*": 7},
    )  # fmt: skip
    agrees(model, folder, found, scale)


def test_rslora_divides_by_the_root_of_each_rank(tmp_path):
    model = tiny.classifier()
    paths = [path for path in peft_files.linear_paths(model) if path.endswith(("query", "value"))]
    found = peft_files.factors(model, paths, lambda path: 4 if "query" in path else 2)
    folder = peft_files.write_lora(
        tmp_path / "a", found, r=2, lora_alpha=3, rank_pattern={"query": 4}, use_rslora=True
    )
    agrees(model, folder, found, lambda path: 3 / (4 if "query" in path else 2) ** 0.5)


def test_a_scale_of_zero_and_a_negative_one(tmp_path):
    model = tiny.classifier()
    paths = [path for path in peft_files.linear_paths(model) if path.endswith("query")]
    found = peft_files.factors(model, paths, 2)
    patterns = {"layer.0.attention.self.query": 0, "layer.1.attention.self.query": -6}
    folder = peft_files.write_lora(tmp_path / "a", found, r=2, lora_alpha=3, alpha_pattern=patterns)
    scales = {"0": 0.0, "1": -3.0, "2": 1.5}
    agrees(model, folder, found, lambda path: scales[path.split(".")[3]])
    off = tiny.classifier()
    folder = peft_files.write_lora(tmp_path / "b", found, r=2, lora_alpha=0)
    agrees(off, folder, found, 0.0)


def refuses(tmp_path, message, **options):
    model = tiny.classifier()
    found = peft_files.factors(model, ["bert.encoder.layer.1.attention.self.query"], 2)
    folder = peft_files.write_lora(tmp_path / "a", found, **{"r": 2, **options})
    with pytest.raises(FormatError, match=message):
        load_peft(model, folder)
    assert not hasattr(model, "adapters")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_dora": True}, "query.lora_magnitude_vector' is missing; the file is incomplete"),
        (
            {"bias": "all"},
            "bias='all': no tensor of the file gives 'bert.embeddings.LayerNorm.bias",
        ),
        ({"bias": "lora_only"}, "bias='lora_only': no tensor of the file gives .*query.bias'"),
        ({"bias": "vera_only"}, "bias='vera_only': this has an effect that is not known"),
        ({"lora_bias": True}, "query.lora_B.bias' is missing; the file is incomplete"),
        ({"init_lora_weights": "pissa_niter_16"}, "init_lora_weights='pissa_niter_16'"),
        ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication="),
        ({"target_parameters": ["experts.down_proj"]}, "target_parameters="),
        ({"trainable_token_indices": [3]}, "trainable_token_indices="),
        ({"alora_invocation_tokens": [5]}, "alora_invocation_tokens="),
        ({"frobnicate": 3}, "frobnicate=3: .*or is not known"),
        ({"r": 3}, "query.lora_A.weight' is of rank 2, but adapter_config.json says 3"),
        ({"r": 0}, "r=0: must be a whole number above zero"),
        ({"r": True}, "r=True: must be a whole number"),
        ({"lora_alpha": "much"}, "lora_alpha='much': must be a number"),
        ({"lora_alpha": float("nan")}, "lora_alpha=nan: must be a number"),
        ({"lora_dropout": 1.5}, "LoRA.dropout=1.5"),
        ({"rank_pattern": {"(": 2}}, "is no regular expression"),
        ({"rank_pattern": [2]}, "rank_pattern=.2.: must map names of modules"),
        ({"target_modules": "("}, "is no regular expression"),
        ({"target_modules": [3]}, "target_modules=.3.: must be a list of names"),
        ({"modules_to_save": ["typo"]}, "'typo' was saved, but this model has no such module"),
        ({"use_rslora": "yes"}, "use_rslora='yes': must be true or false"),
    ],
)
def test_options_with_an_effect_we_lack(tmp_path, options, message):
    refuses(tmp_path, message, **options)


def test_factors_of_a_convolution(tmp_path):
    model = tiny.classifier()
    path = "bert.encoder.layer.1.attention.self.query"
    found = {path: (torch.ones(2, 24, 3, 3), torch.ones(24, 2, 1, 1))}
    with pytest.raises(
        FormatError, match="lora_A.weight' is 2 x 24 x 3 x 3, but here it must be 2 x 24"
    ):
        load_peft(model, peft_files.write_lora(tmp_path / "a", found, r=2))


def test_half_precision_is_evened_out_in_float32(tmp_path):
    model = tiny.classifier()
    paths = [path for path in peft_files.linear_paths(model) if path.endswith(("query", "value"))]
    found = peft_files.factors(model, paths, 2)
    found = {path: (a.bfloat16(), b.bfloat16()) for path, (a, b) in found.items()}
    folder = peft_files.write_lora(
        tmp_path / "a", found, r=2, lora_alpha=7, alpha_pattern={"query": 3}
    )
    agrees(model, folder, found, lambda path: 1.5 if "query" in path else 3.5)


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        (
            "lora_embedding_A",
            "dense.lora_embedding_A' has no place|dense.lora_A.weight' is missing",
        ),
        ("lora_B.bias", "dense.lora_B.bias' has no place"),
        ("lora_magnitude_vector", "dense.lora_magnitude_vector' has no place"),
        ("trainable_tokens_delta", "belongs to trained rows of an embedding, which Inlay does not"),
    ],
)
def test_tensors_that_no_option_covers(tmp_path, suffix, message):
    model = tiny.classifier()
    found = peft_files.factors(model, ["bert.encoder.layer.1.attention.self.query"], 2)
    extra = {f"base_model.model.bert.encoder.layer.1.output.dense.{suffix}": torch.ones(2)}
    with pytest.raises(FormatError, match=message):
        load_peft(model, peft_files.write_lora(tmp_path / "a", found, extra, r=2))
