"""The data of a configuration, and the settings that depend on them."""

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
