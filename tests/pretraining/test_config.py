"""Settings: what is refused, and what decides a result."""

import dataclasses

import pytest

from inlay.errors import ConfigError
from inlay.pretraining.config import PretrainConfig
from inlay.pretraining.corpus import read_corpus
from tests.pretraining import text

GOOD = PretrainConfig(corpus=("a.txt",), objective="mlm", size="tiny", out="x")


@pytest.mark.parametrize(
    "values, message",
    [
        ({"objective": "mlmm"}, r"objective='mlmm' is not known. Known: mlm, clm, .* mean 'mlm'"),
        ({"tokenizer": "wordpiece"}, r"tokenizer='wordpiece' is not known. Known: bpe, unigram"),
        ({"documents": "page"}, r"documents='page' is not known. Known: paragraph, line, file"),
        ({"precision": "half"}, r"precision='half' is not known"),
        ({"steps": 0}, r"steps=0: 1 or more is needed"),
        ({"batch_size": -3}, r"batch_size=-3: 1 or more"),
        ({"max_length": 4}, r"max_length=4: 8 or more"),
        ({"learning_rate": 0.0}, r"learning_rate=0.0: it must be above 0"),
        ({"learning_rate": float("nan")}, r"learning_rate=nan: it must be above 0"),
        ({"steps": "many"}, r"steps='many': a whole number is needed"),
        ({"seed": 1.5}, r"seed=1.5: a whole number is needed"),
        ({"warmup": "x"}, r"warmup='x': a number is needed"),
        ({"steps": 3, "epochs": 1}, r"steps=3 and epochs=1: give one of them"),
        ({"base": "b", "vocab_size": 99}, r"vocab_size=99: a base keeps its tokenizer"),
    ],
)
def test_what_cannot_be_used_is_refused(values, message):
    GOOD.check()
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(GOOD, **values).check()


def test_the_digest_is_of_what_decides_the_result(tmp_path):
    one = read_corpus([text.write_text(tmp_path / "one.txt", 30)])
    same = read_corpus([text.write_text(tmp_path / "same.txt", 30)])
    other = read_corpus([text.write_text(tmp_path / "other.txt", 30, seed=1)])
    digest = GOOD.digest(one)
    assert GOOD.digest(same) == digest
    assert GOOD.digest(other) != digest
    assert dataclasses.replace(GOOD, out="y", checkpoint_seconds=1).digest(one) == digest
    assert dataclasses.replace(GOOD, seed=2).digest(one) != digest
    path = text.write_shape(tmp_path, "mlm")
    shaped = dataclasses.replace(GOOD, size=str(path))
    before = shaped.digest(one)
    path.write_text("{}")
    assert shaped.digest(one) != before
