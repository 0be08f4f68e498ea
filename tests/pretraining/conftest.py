"""One finished pretraining for each objective, shared by many tests."""

import functools

import pytest

import inlay
from tests.pretraining import text
from tests.tiny import Listener


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A text file of 150 documents."""
    return text.write_text(tmp_path_factory.mktemp("corpus") / "walk.txt")


@pytest.fixture(scope="session")
def finished(tmp_path_factory, corpus):
    """Return a function from an objective to its finished pretraining and what it told."""

    @functools.cache
    def make(objective):
        root = tmp_path_factory.mktemp(objective)
        listener = Listener()
        made = inlay.pretrain(
            corpus, objective=objective, size=text.write_shape(root, objective),
            out=root / "model", steps=60, eval_every=20, reporter=listener, **text.SETTINGS,
        )  # fmt: skip
        return made, listener

    return make
