"""One base answers for adapters of many tasks, in any order, as each does alone."""

import random

from inlay.evaluation.predictor import load_predictor, load_predictors
from tests.evaluation.many_tasks import INPUTS


def records(predictor, name):
    return [answer.record(5) for answer in predictor.predict(INPUTS[name])]


def test_each_answers_as_alone_in_any_order(trained):
    alone = {name: records(load_predictor(folder), name) for name, folder in trained.items()}
    draw = random.Random(5)
    names = draw.sample(list(trained), len(trained))
    together = dict(zip(names, load_predictors([trained[name] for name in names]), strict=True))
    assert len({id(predictor.model) for predictor in together.values()}) == 1
    # Beside one adapter for each run there is only the copy of what one of them is stacked on.
    assert len(together["topics"].model.adapters.names) <= len(trained) + 1
    for name in draw.choices(names, k=4 * len(names)):
        assert records(together[name], name) == alone[name]
