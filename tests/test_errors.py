"""The error tree."""

import pytest

from inlay import errors


def test_every_error_is_ours_and_a_builtin():
    leaves = errors.InlayError.__subclasses__()
    builtin = [e for e in leaves if e.__module__ == "inlay.errors"]
    assert len(builtin) == 11
    for error in builtin:
        assert len(error.__bases__) == 2
        assert error.__bases__[1].__module__ == "builtins"
        with pytest.raises(errors.InlayError, match="said"):
            raise error("said")


def test_exit_codes_are_those_of_the_command_line():
    codes = {e.__name__: e.exit_code for e in errors.InlayError.__subclasses__()}
    assert codes["ConfigError"] == 2
    assert codes["DataError"] == 3
    assert codes["ResourceError"] == 5


def test_the_nearest_word():
    assert errors.did_you_mean("botleneck", ["lora", "bottleneck"]) == (
        " Did you mean 'bottleneck'?"
    )
    assert errors.did_you_mean("zzz", ["lora", "bottleneck"]) == ""


def test_counted():
    assert [errors.counted(number, "row") for number in (0, 1, 2, 13083)] == [
        "0 rows", "1 row", "2 rows", "13 083 rows"
    ]  # fmt: skip
