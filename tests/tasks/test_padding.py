"""Padding without a padding token is what it would be with one, but for what is masked."""

import pytest
import torch
from transformers import AutoModel

import inlay
from inlay.tasks.padding import padded
from tests import tiny
from tests.tasks import bases

ROWS = [{"input_ids": [5, 6, 7], "token_type_ids": [0, 1, 1]},
        {"input_ids": [8], "token_type_ids": [1]}]  # fmt: skip


@pytest.mark.parametrize("side", ["left", "right", None])
def test_a_tokenizer_without_a_padding_token_pads_alike(side):
    with_token, without = bases.tokenizer(), bases.tokenizer(has_padding=False)
    own = [{"input_ids": row["input_ids"]} for row in ROWS]
    one, two = padded(own, with_token, side=side), padded(own, without, side=side)
    assert one.keys() == two.keys()
    assert torch.equal(one["attention_mask"], two["attention_mask"])
    mask = one["attention_mask"] == 1
    assert torch.equal(one["input_ids"][mask], two["input_ids"][mask])
    assert int(two["input_ids"].max()) < len(without)


def test_every_feature_is_padded():
    found = padded(ROWS, bases.tokenizer(has_padding=False))
    assert found["token_type_ids"].tolist() == [[0, 1, 1], [1, 0, 0]]
    assert found["input_ids"].tolist() == [[5, 6, 7], [8, 1, 1]]
    assert found["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize("task", ["text-classification", "similarity"])
def test_a_base_without_a_padding_token_is_trained_and_answers(tmp_path, task, monkeypatch):
    from inlay.training import finish

    monkeypatch.setattr(finish, "check_reload", lambda *given: {"rows": 0})
    base = bases.write(tmp_path / "base", "decoder", has_padding=False)
    assert AutoModel.from_pretrained(base).config.model_type
    data = tiny.write_csv(tmp_path / "few.csv", tiny.rows(45))
    run = inlay.train(
        data, base=str(base), task=task, out=str(tmp_path / "run"), **{**tiny.SETTINGS, "epochs": 1}
    )
    alone = [run.predict([text])[0].confidence for text in ("my card", "a longer text of mine")]
    both = [answer.confidence for answer in run.predict(["my card", "a longer text of mine"])]
    assert both == pytest.approx(alone, abs=1e-4)
