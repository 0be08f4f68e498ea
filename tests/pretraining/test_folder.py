"""The folder of a pretraining: who may write it, and when it goes on."""

import dataclasses

import pytest

from inlay.errors import RunError
from inlay.pretraining.config import PretrainConfig
from inlay.pretraining.corpus import read_corpus
from inlay.pretraining.folder import Pretrained, keep_tokenizer, kept_tokenizer, take_folder
from inlay.pretraining.tokenizer import SPECIALS, train_tokenizer
from tests.pretraining import text


@pytest.fixture
def given(tmp_path):
    """Settings, and the corpus they name."""
    path = text.write_text(tmp_path / "walk.txt", 30)
    config = PretrainConfig(
        corpus=(str(path),), objective="mlm", size="tiny", out=str(tmp_path / "made" / "here")
    )
    return config, read_corpus([path])


def take(config, corpus, *, force=False):
    folder, goes_on, claim = take_folder(config, corpus, force=force)
    claim.release()
    return folder, goes_on


def test_the_same_settings_go_on(given):
    config, corpus = given
    folder, goes_on = take(config, corpus)
    assert not goes_on
    (folder.path / ".metrics.json.abcd1234").write_text("{")
    assert take(config, corpus)[1]
    assert [path.name for path in folder.path.iterdir()] == ["pretraining.json"]
    # Nothing was learnt yet, so other settings lose nothing.
    other = dataclasses.replace(config, seed=2)
    assert not take(other, corpus)[1]
    (folder.path / "checkpoints" / "step-000003").mkdir(parents=True)
    assert take(other, corpus)[1]
    with pytest.raises(RunError, match=r"holds an unfinished pretraining with other settings or o"):
        take(config, corpus)
    assert not take(config, corpus, force=True)[1]
    assert not (folder.path / "checkpoints").exists()


def test_a_finished_one_is_replaced_only_by_force(given):
    config, corpus = given
    folder, _ = take(config, corpus)
    for name in ("metrics.json", "model.safetensors", "config.json", "tokenizer.json", "mine.md"):
        (folder.path / name).write_text("{}")
    with pytest.raises(RunError, match=r"holds a finished pretraining; choose another --out, or u"):
        take(config, corpus)
    assert Pretrained(folder.path).metrics == {}
    assert take(config, corpus, force=True) is not None
    assert {path.name for path in folder.path.iterdir()} == {"pretraining.json", "mine.md"}


def test_a_folder_that_holds_something_else_is_left_alone(given, tmp_path):
    config, corpus = given
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    for name, message in (("full", "exists and holds no pretraining"), ("walk.txt", "is a file")):
        with pytest.raises(RunError, match=rf"{name} {message}; choose another --out"):
            take(dataclasses.replace(config, out=str(tmp_path / name)), corpus, force=True)
    assert (tmp_path / "full" / "thesis.txt").read_text() == "years of work"


def test_only_one_process_writes_it(given):
    config, corpus = given
    _, _, claim = take_folder(config, corpus, force=False)
    with pytest.raises(RunError, match=r"is being written by another process"):
        take(config, corpus)
    claim.release()
    assert take(config, corpus)[1]


def test_a_tokenizer_is_kept(given):
    config, corpus = given
    folder, _ = take(config, corpus)
    assert kept_tokenizer(folder) is None
    tokenizer = train_tokenizer(
        corpus.train, kind="bpe", specials=SPECIALS["mlm"], vocab_size=300, max_length=9
    )
    keep_tokenizer(folder, tokenizer)
    kept = kept_tokenizer(folder)
    assert kept("the old cat")["input_ids"] == tokenizer("the old cat")["input_ids"]
    assert kept.model_max_length == 9
