"""Settings: defaults, where values come from, and messages for what cannot be used."""

import re

import pytest

from inlay.errors import ConfigError
from inlay.training.config import ALIASES, TrainConfig, resolve_config

DEFAULTS = {
    "base": "minilm",
    "task": None,
    "method": "bottleneck",
    "stack_on": None,
    "at": None,
    "layers": None,
    "submodel": None,
    "epochs": 5,
    "batch_size": 32,
    "learning_rate": None,
    "optimizer": "adamw",
    "schedule": "linear",
    "warmup": 0.06,
    "weight_decay": 0.01,
    "gradient_accumulation": 1,
    "max_grad_norm": 1.0,
    "label_smoothing": 0.0,
    "drop_lowest": 0,
    "max_length": None,
    "precision": "auto",
    "trunk": "auto",
    "trunk_dropout": False,
    "attention": None,
    "patience": 3,
    "replay": None,
    "replay_gb": 8.0,
    "eval_every": None,
    "checkpoint_seconds": 30.0,
    "seed": 1,
    "split_seed": 42,
    "text_column": None,
    "pair_column": None,
    "label_column": None,
    "columns": {},
    "label_map": {},
    "task_options": {},
    "max_rejected": 0.01,
    "drop_unseen_labels": False,
    "few_shot": None,
    "out": None,
}


def write(tmp_path, text):
    path = tmp_path / "train.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_default():
    resolved = resolve_config({"data": "a.csv"})
    assert resolved.config.model_dump() == {"data": "a.csv", **DEFAULTS}
    assert resolved.origins == {"data": "flag", **dict.fromkeys(DEFAULTS, "default")}
    assert resolved.notes == []


def test_given_values_win_over_the_file_and_the_file_over_defaults(tmp_path):
    path = write(tmp_path, "data: a.csv\nepochs: 7\nseed: 3\n")
    resolved = resolve_config({"epochs": 2, "seed": None}, file=path, given_as="argument")
    assert (resolved.config.epochs, resolved.config.seed, resolved.config.data) == (2, 3, "a.csv")
    origins = {key: resolved.origins[key] for key in ("epochs", "seed", "patience")}
    assert origins == {"epochs": "argument", "seed": str(path), "patience": "default"}


@pytest.mark.parametrize("alias", ALIASES)
def test_names_of_other_tools_are_understood_and_noted(alias):
    name = ALIASES[alias]
    values = {"base": "b", "out": "o", "optimizer": "sgd", "schedule": "cosine"}
    value = values.get(name, 0.5 if "smoothing" in name else 16)
    resolved = resolve_config({"data": "a.csv", alias: value})
    assert getattr(resolved.config, name) == value
    assert resolved.notes == [f"{alias} is called {name} here"]
    assert resolved.origins[name] == "flag"


def test_dashes_stand_for_underscores(tmp_path):
    path = write(tmp_path, "data: a.csv\nbatch-size: 4\nper-device-train-batch-size: 5\n")
    with pytest.raises(ConfigError, match=r"train\.yaml:3:1 .*batch_size.* is given twice"):
        resolve_config({}, file=path)
    assert resolve_config({"data": "x", "batch-size": 4}).config.batch_size == 4


def test_an_unknown_key_in_a_file_is_named_with_its_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "# mine\n\n{\n  data: a.csv,\n  epochs: 3,\n\n  lerning_rate: 1e-3\n}\n")
    with pytest.raises(ConfigError, match=r"^train\.yaml:7:3 unknown key") as caught:
        resolve_config({}, file="train.yaml")
    message = 'train.yaml:7:3 unknown key "lerning_rate". Did you mean "learning_rate"?'
    assert str(caught.value) == message


def test_an_unknown_argument_is_named():
    with pytest.raises(ConfigError, match=r'^unknown key "epocs"\. Did you mean "epochs"\?$'):
        resolve_config({"data": "a.csv", "epocs": 3})
    with pytest.raises(ConfigError, match=r'^unknown key "zzzz"\.$'):
        resolve_config({"data": "a.csv", "zzzz": 3})


@pytest.mark.parametrize(("text", "value"), [("1e-5", 1e-5), ("2E-4", 2e-4), ("3.e-3", 3e-3)])
def test_numbers_that_yaml_takes_for_text(tmp_path, text, value):
    path = write(tmp_path, f"data: a.csv\nlearning_rate: {text}\nepochs: 1e1\n")
    config = resolve_config({}, file=path).config
    assert (config.learning_rate, config.epochs) == (value, 10)


def test_texts_that_look_like_numbers_stay_texts(tmp_path):
    path = write(tmp_path, "data: 7e3\nout: runs/1\ntext_column: 1e-5\n")
    config = resolve_config({}, file=path).config
    assert (config.data, config.text_column) == ("7e3", "1e-5")


BAD_VALUES = [
    ("epochs", 0, "epochs=0: input should be greater than or equal to 1."),
    ("batch_size", "many", "batch_size='many': input should be a valid integer"),
    ("learning_rate", 0, "learning_rate=0: input should be greater than 0."),
    ("label_smoothing", 1, "label_smoothing=1: input should be less than 1."),
    ("max_length", 2, "max_length=2: input should be greater than or equal to 4."),
    ("optimizer", "lion", "optimizer='lion': input should be 'adamw', 'adam', 'sgd', 'adagrad'"),
    ("schedule", "step", "schedule='step': input should be 'linear', 'cosine' or 'constant'."),
    ("precision", "fp16", "precision='fp16': input should be 'auto', 'float32' or 'bfloat16'."),
    ("max_rejected", 1.5, "max_rejected=1.5: input should be less than or equal to 1."),
    ("seed", -1, "seed=-1: input should be greater than or equal to 0."),
    ("warmup", -0.1, "warmup=-0.1: input should be greater than or equal to 0."),
    ("patience", 1.5, "patience=1.5: input should be a valid integer"),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD_VALUES)
def test_values_that_are_not_allowed(tmp_path, key, value, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        resolve_config({"data": "a.csv", key: value})
    path = write(tmp_path, f"data: a.csv\n{key}: {value}\n")
    with pytest.raises(ConfigError, match=rf"train\.yaml:2:1 {re.escape(message)}"):
        resolve_config({}, file=path)


def test_a_given_value_is_not_blamed_on_the_file(tmp_path):
    path = write(tmp_path, "data: a.csv\nepochs: 3\n")
    with pytest.raises(ConfigError, match=r"^epochs=0: "):
        resolve_config({"epochs": 0}, file=path)


@pytest.mark.parametrize("second", ["epochs: 4", "num_epochs: 4"])
def test_a_key_that_is_given_twice(tmp_path, second):
    path = write(tmp_path, f"data: a.csv\nepochs: 3\n{second}\n")
    with pytest.raises(ConfigError, match=r'train\.yaml:3:1 key "epochs" is given twice\.$'):
        resolve_config({}, file=path)


FILES = [
    ("- a\n- b\n", r"train\.yaml: expected `key: value` lines\.$"),
    ("data: [1, 2\n", r"train\.yaml is not YAML: "),
    ("data: !!python/object:os.system x\n", r"train\.yaml is not YAML: could not determine a"),
    ("", r"^no data: give a file, a folder or a name: `inlay train reviews\.csv`\.$"),
]


@pytest.mark.parametrize(("text", "message"), FILES)
def test_a_file_that_holds_no_settings(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        resolve_config({}, file=write(tmp_path, text))


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml cannot be read: No such file or directory"):
        resolve_config({}, file=tmp_path / "none.yaml")
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"data: caf\xe9.csv\n")
    with pytest.raises(ConfigError, match=r"latin\.yaml is not YAML: .*utf-8"):
        resolve_config({}, file=path)


def test_settings_cannot_be_changed_afterwards():
    config = TrainConfig(data="a.csv")
    with pytest.raises(ValueError, match="frozen"):
        config.epochs = 3
