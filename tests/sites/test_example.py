"""Inputs are made from a config, or asked for."""

import pytest
import torch
import transformers as hf
from torch import nn

from inlay.errors import SiteError
from inlay.sites.example import example_inputs
from tests.contracts import tiny
from tests.contracts.families import FAMILIES


def test_token_ids_avoid_special_tokens_and_differ():
    model = tiny.decoder("llama")
    inputs = example_inputs(model)
    ids = inputs["input_ids"]
    assert ids.shape == (2, 7)
    assert ids.unique().numel() == 14
    assert not set(ids.flatten().tolist()) & {0, 1, 96}
    assert inputs["use_cache"] is False


@pytest.mark.parametrize(
    ("family", "keys"),
    [("bart", {"input_ids", "decoder_input_ids", "use_cache"}), ("vit", {"pixel_values"}),
     ("clip", {"input_ids", "pixel_values"}), ("wav2vec2", {"input_values"}),
     ("whisper", {"input_features", "decoder_input_ids", "use_cache"})],
)  # fmt: skip
def test_each_modality(family, keys):
    model = FAMILIES[family].build()
    inputs = example_inputs(model)
    assert set(inputs) == keys
    with torch.no_grad():
        model(**inputs)


def test_the_example_has_the_models_precision():
    model = FAMILIES["vit"].build().to(torch.bfloat16)
    assert example_inputs(model)["pixel_values"].dtype == torch.bfloat16


def test_what_it_cannot_make():
    with pytest.raises(SiteError, match="Linear is no Hugging Face model"):
        example_inputs(nn.Linear(2, 2))

    class Odd(hf.BertModel):
        def forward(self, sensor):
            return sensor

    with pytest.raises(SiteError, match="forward takes sensor; none of input_ids"):
        example_inputs(Odd(hf.BertConfig(**tiny.SMALL)))
