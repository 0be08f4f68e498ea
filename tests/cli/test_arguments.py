import pytest

from inlay.cli.arguments import rewrite, settings

OPTIONS = {"train": {"--learning-rate", "--epochs", "--batch-size", "--base", "--force", "--set"}}


def rewritten(*arguments):
    return rewrite(arguments, OPTIONS)


def test_underscores_are_dashes():
    assert rewritten("train", "--learning_rate", "1").arguments[1] == "--learning-rate"
    assert rewritten("train", "--batch_size=4").arguments == ["train", "--batch-size=4"]
    assert rewritten("show", "--some_thing=a_b").arguments == ["show", "--some-thing=a_b"]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("--lr", "--learning-rate"),
        ("--num_train_epochs", "--epochs"),
        ("--per-device-train-batch-size", "--batch-size"),
        ("--model-name-or-path", "--base"),
        ("--model", "--base"),
    ],
)
def test_names_of_other_tools_are_understood_and_noted(theirs, ours):
    result = rewritten("train", "d.csv", theirs, "3")
    assert result.arguments == ["train", "d.csv", ours, "3"]
    assert result.notes == [f"{theirs.replace('_', '-')} is called {ours} here"]


def test_a_setting_without_an_option_of_its_own_goes_through_set():
    assert rewritten("train", "--weight-decay", "0.1").arguments == [
        "train", "--set", "weight_decay=0.1",
    ]  # fmt: skip
    result = rewritten("train", "--lr_scheduler_type=cosine")
    assert result.arguments == ["train", "--set", "schedule=cosine"]
    assert result.notes == ["--lr-scheduler-type is called --schedule here"]


def test_the_flag_to_overwrite_is_force():
    assert rewritten("train", "--overwrite_output_dir").arguments == ["train", "--force"]


def test_what_is_unknown_stays_as_it_is():
    assert rewritten("train", "--lerning-rate", "1").arguments == ["train", "--lerning-rate", "1"]
    assert rewritten("predict", "--lr", "1") == (["predict", "--lr", "1"], [])


def test_nothing_after_two_dashes_is_touched():
    words = ["predict", "run", "--", "--a_b", "--lr"]
    assert rewritten(*words).arguments == words


def test_a_setting_without_value_is_left_to_the_parser():
    assert rewritten("train", "--weight-decay").arguments == ["train", "--weight-decay"]


def test_settings_lists_ours_and_theirs():
    assert {"--learning-rate", "--weight-decay", "--lr"} <= set(settings())
