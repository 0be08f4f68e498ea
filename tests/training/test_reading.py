"""The data of a configuration, and the settings that depend on them."""

import pytest
import transformers as hf

from inlay.data.rows import Example
from inlay.training.config import resolve_config
from inlay.training.reading import data_options, prepared_config, read_data
from tests import tiny


def test_data_are_read_as_the_settings_say(tmp_path):
    path = tiny.write_csv(tmp_path / "t.csv", tiny.rows(60), ("body", "kind"))
    config = resolve_config(
        {"data": str(path), "text_column": "body", "label_column": "kind", "few_shot": 3}
    ).config
    data = read_data(config)
    assert {len(data.splits[split]) for split in ("train", "validation")} <= set(range(1, 10))
    assert isinstance(data.splits["train"][0], Example)
    assert data_options(config)["few_shot"] == 3
    assert "learning_rate" not in data_options(config)


def test_settings_follow_from_method_and_rows(tmp_path):
    path = tiny.write_csv(tmp_path / "t.csv", tiny.rows(60))
    resolved = resolve_config({"data": str(path), "method": "lora"})
    found = prepared_config(resolved, read_data(resolved.config))
    assert found.config.learning_rate == 2e-3
    assert found.config.epochs > 5
    assert found.origins["epochs"].startswith("default for")


def test_pairs_have_adapters_in_more_blocks(tmp_path):
    rows = [(text, f"{text} again", label) for text, label in tiny.rows(60)]
    path = tiny.write_csv(tmp_path / "t.csv", rows, ("premise", "hypothesis", "label"))
    resolved = resolve_config({"data": str(path), "method": "lora"})
    found = prepared_config(resolved, read_data(resolved.config))
    assert found.config.layers == "upper 3/4"
    assert found.origins["layers"] == "default of lora for pairs"


@pytest.mark.parametrize(
    ("base", "task", "layers"),
    [
        (hf.LlamaForCausalLM, "text-generation", "all"),
        (hf.BartForConditionalGeneration, "text-to-text", "upper"),
    ],
)
def test_the_base_tells_what_rows_are_for_where_they_suit_several_tasks(
    tmp_path, base, task, layers
):
    sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
             "intermediate_size": 16, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
             "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
    base(base.config_class(**sizes)).save_pretrained(tmp_path / "base")
    rows = [(text, f"{text} {number}") for number, (text, _) in enumerate(tiny.rows(60))]
    source = tiny.write_csv(tmp_path / "t.csv", rows, ("source", "target"))
    given = {"data": str(source), "base": str(tmp_path / "base")}
    resolved = resolve_config(given)
    found = prepared_config(resolved, read_data(resolved.config))
    assert found.config.layers == layers
    assert found.origins["learning_rate"].startswith("default of bottleneck")
    named = resolve_config(given | {"task": task})
    assert prepared_config(named, read_data(named.config)).config.layers == layers
