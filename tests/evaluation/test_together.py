"""Many saved adapters answer the same texts at once, as each does alone."""

import pytest

import inlay
from inlay.errors import ConfigError, DataError
from inlay.evaluation.predictor import load_predictors
from inlay.evaluation.scoring import BATCH_SIZE
from inlay.training import finish as finish_module
from tests import tiny
from tests.evaluation.many_tasks import INPUTS, SETS, TOPICS, write

TEXTS, PAIRS = INPUTS["topics"], INPUTS["sides"]


@pytest.mark.parametrize(
    ("names", "inputs", "expected"),
    [
        (["topics", "sets", "names"], TEXTS, 2),
        # Tasks on pairs have adapters in all blocks.
        (["sides", "lengths"], PAIRS, 4),
        (["names", "topics"], [f"my visa card{' expired' * (n % 9)}" for n in range(150)], 150),
    ],
)
def test_many_answer_the_same_texts_in_one_pass(trained, names, inputs, expected):
    predictors = load_predictors([trained[name] for name in names])
    alone = [[one.record(5) for one in own.predict(inputs)] for own in predictors]
    model = predictors[0].model
    lowest = next(s.module for s in model.adapters.sites if s.kind == "block")
    seen = []
    model.get_submodule(lowest).register_forward_hook(
        lambda module, args, output: seen.append(len(args[0]))
    )
    active = model.adapters.active
    together = inlay.predict_together(predictors, inputs)
    labels = -(-len(inputs) // BATCH_SIZE) * len(TOPICS) if "names" in names else 0
    assert sum(seen) == expected + labels
    assert [[rounded(one.record(5)) for one in own] for own in together] == [
        [rounded(one) for one in own] for own in alone
    ]
    assert model.adapters.active == active


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(own) for own in value]
    return pytest.approx(value, abs=1e-5) if isinstance(value, float) else value


def test_those_that_read_other_tokens_or_exchange_weights_are_asked_alone(
    trained, tmp_path, root, monkeypatch
):
    monkeypatch.setattr(finish_module, "check_reload", lambda *given: {"rows": 0})
    full = inlay.train(
        write(tmp_path / "full.jsonl", SETS["topics"][1]), base=str(tiny.shared_base(root)),
        out=str(tmp_path / "full"), **{**tiny.SETTINGS, "epochs": 1, "method": "full"},
    )  # fmt: skip
    short = inlay.train(
        write(tmp_path / "short.jsonl", SETS["topics"][1]), base=str(tiny.shared_base(root)),
        out=str(tmp_path / "short"), **{**tiny.SETTINGS, "epochs": 1, "max_length": 4},
    )  # fmt: skip
    predictors = load_predictors([trained["topics"], full.folder, short.folder, trained["sets"]])
    alone = [[one.record(5) for one in own.predict(TEXTS)] for own in predictors]
    together = inlay.predict_together(predictors, TEXTS)
    assert [[rounded(one.record(5)) for one in own] for own in together] == [
        [rounded(one) for one in own] for own in alone
    ]
    assert inlay.predict_together(predictors, []) == [[], [], [], []]


def test_what_cannot_be_asked_together_is_refused(trained):
    (one,), (other,) = (load_predictors([trained[name]]) for name in ("topics", "sets"))
    with pytest.raises(ConfigError, match="2 predictors on 2 copies of a base"):
        inlay.predict_together([one, other], ["a text"])
    with pytest.raises(ConfigError, match="give at least one"):
        inlay.predict_together([], ["a text"])
    with pytest.raises(DataError, match="has learnt from pairs of texts"):
        inlay.predict_together(load_predictors([trained["topics"], trained["sides"]]), ["a text"])
