"""Answers from a saved adapter, and what is said when there is none."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from accelerate import PartialState

import inlay
from inlay.data.rows import Example
from inlay.errors import AdapterError, BaseError, ConfigError, DataError, FormatError
from inlay.evaluation import predictor as predictor_module
from inlay.evaluation.predictor import adapter_folder, load_predictor
from inlay.evaluation.records import read_records
from inlay.tasks.joint import Joint
from tests import tiny

TEXTS = ["my visa card expired", "what is the interest of a mortgage", "I lost my passport abroad"]


@pytest.fixture
def adapter(finished, tmp_path):
    """A copy of the adapter, away from its run, that may be changed."""
    return shutil.copytree(finished.folder / "adapter", tmp_path / "adapter")


def change(folder, edit):
    path = folder / "adapter.json"
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(manifest))


def test_run_folder_and_adapter_folder_give_the_same_answers(finished, adapter):
    answers = load_predictor(finished.folder).predict(TEXTS)
    assert load_predictor(finished.folder / "adapter").predict(TEXTS) == answers
    assert load_predictor(adapter).predict(TEXTS) == answers
    assert inlay.load_predictor(str(adapter)).predict(TEXTS) == answers
    for answer in answers:
        assert sum(answer.probabilities.values()) == pytest.approx(1)
        assert answer.confidence == max(answer.probabilities.values())


def test_answers_are_those_of_the_run(finished):
    records = read_records(finished.folder)
    answers = load_predictor(finished.folder).predict([record.text for record in records])
    assert [answer.label for answer in answers] == [record.predicted for record in records]
    for answer, record in zip(answers, records, strict=True):
        assert answer.confidence == pytest.approx(record.confidence, abs=1e-5)


def places_of(predictor):
    tensors = (*predictor.model.parameters(), *predictor.model.buffers())
    return {tensor.device.type for tensor in (*tensors, *predictor.head.parameters())}


def test_all_is_where_it_is_asked_to_be_or_where_training_would_be(finished, monkeypatch):
    assert places_of(load_predictor(finished.folder)) == {PartialState().device.type}
    assert places_of(load_predictor(finished.folder, device="meta")) == {"meta"}

    elsewhere = SimpleNamespace(device=torch.device("meta"))
    monkeypatch.setattr(predictor_module, "PartialState", lambda **given: elsewhere)
    assert places_of(load_predictor(finished.folder)) == {"meta"}
    assert places_of(load_predictor(finished.folder, device="cpu")) == {"cpu"}


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:x"])
def test_a_device_that_is_not_there_is_refused_before_anything_is_read(tmp_path, device):
    with pytest.raises(ConfigError, match=rf"^device='{device}': .*\. Leave it out, or take one"):
        load_predictor(tmp_path / "nowhere", device=device)


def test_no_text_gives_no_answer(finished):
    assert load_predictor(finished.folder).predict([]) == []


def test_pairs_are_read_as_pairs(finished, adapter):
    change(adapter, lambda manifest: manifest["card"]["data"].update(has_pairs=True))
    predictor = load_predictor(adapter)
    (one,) = predictor.predict([("my card", "my loan")])
    (other,) = predictor.predict([("my loan", "my card")])
    (text,) = load_predictor(finished.folder).predict(["my card my loan"])
    assert one.probabilities != other.probabilities
    assert one.probabilities != text.probabilities


def test_a_text_is_no_pair_and_a_pair_no_text(finished, adapter):
    change(adapter, lambda manifest: manifest["card"]["data"].update(has_pairs=True))
    for predictor, given, message in (
        (load_predictor(adapter), "my card", "input 0 is a single text, .* learnt from pairs of "),
        (load_predictor(finished.folder), ("a", "b"), "input 0 has a second text, .* single texts"),
    ):
        rows = [Example(*((given, None) if isinstance(given, str) else given), "", "", 0)]
        for ask in (lambda p=predictor, g=given: p.predict([g]),
                    lambda p=predictor, r=rows: p.answer(r),
                    lambda p=predictor, r=rows: p.encode(r)):  # fmt: skip
            with pytest.raises(DataError, match=message):
                ask()


def test_older_files_do_not_say_and_take_both(adapter):
    change(adapter, lambda manifest: manifest["card"]["data"].pop("has_pairs"))
    predictor = load_predictor(adapter)
    assert predictor.predict(["my card"])
    assert predictor.predict([("my card", "my loan")])


def test_texts_and_pairs_do_not_mix(finished):
    predictor = load_predictor(finished.folder)
    with pytest.raises(DataError, match="input 1 is a pair and input 0 is not"):
        predictor.predict(["my card", ("my loan", "my card")])
    with pytest.raises(DataError, match="input 0 is a pair and input 1 is not"):
        predictor.predict([("my loan", "my card"), "my card"])


def test_the_base_can_lie_elsewhere(root, finished, tmp_path):
    copy = shutil.copytree(tiny.shared_base(root), tmp_path / "copy")
    answers = load_predictor(finished.folder, base=str(copy)).predict(TEXTS)
    assert answers == load_predictor(finished.folder).predict(TEXTS)


def test_another_base_is_refused(finished, tmp_path):
    other = tiny.write_base(tmp_path / "other", seed=6)
    message = (
        r"the adapter was trained on '.*tiny-base' \(weights \w{8}\), but this model is "
        r"'.*other' \(weights \w{8}\)\. Load that base"
    )
    with pytest.raises(FormatError, match=message):
        load_predictor(finished.folder, base=str(other))


def test_a_base_that_is_gone(adapter):
    change(adapter, lambda manifest: manifest["card"].update(base="no/such-base"))
    with pytest.raises(BaseError, match="'no/such-base' is not on this machine and the network is"):
        load_predictor(adapter)


def test_an_adapter_without_a_task(adapter):
    change(adapter, lambda manifest: manifest.update(card={}))
    with pytest.raises(
        AdapterError, match="this adapter was saved without a task, so it has no an"
    ):
        load_predictor(adapter)


def test_an_adapter_of_an_unknown_task(adapter):
    change(adapter, lambda manifest: manifest["card"]["task"].update(task="juggling"))
    with pytest.raises(
        FormatError, match=r"adapter\.json: task 'juggling' is not known; there are"
    ):
        load_predictor(adapter)


def test_the_folder_of_an_adapter(finished, tmp_path):
    assert adapter_folder(finished.folder) == finished.folder / "adapter"
    assert adapter_folder(finished.folder / "adapter") == finished.folder / "adapter"
    with pytest.raises(FormatError, match=r"none does not exist\. `inlay list` shows the runs"):
        adapter_folder(tmp_path / "none")
    with pytest.raises(FormatError, match=r"holds no saved adapter \(adapter\.json\)\. Give a run"):
        adapter_folder(tmp_path)
    (tmp_path / "config.yaml").write_text("data: a.csv\n")
    message = rf"{tmp_path} is a run that has not finished\. Continue it with: inlay resume"
    with pytest.raises(FormatError, match=message):
        adapter_folder(tmp_path)


def test_the_model_is_ready_to_answer(finished):
    predictor = load_predictor(finished.folder)
    assert not predictor.model.training
    assert predictor.model.adapters.active == "topics"
    plain = predictor.predict(TEXTS)
    predictor.model.adapters.use(None)
    assert predictor.predict(TEXTS) == plain
    assert predictor.model.adapters.active is None


@pytest.fixture(scope="session")
def similar(root):
    """A finished run of task similarity on two of the three topics."""
    rows = [row for row in tiny.rows(120, seed=4) if row[1] != "travel"]
    run = inlay.train(
        tiny.write_csv(root / "two.csv", rows), base=str(tiny.shared_base(root)),
        task="similarity", out=str(root / "similar-run"), **tiny.SETTINGS | {"epochs": 1},
    )  # fmt: skip
    return run.folder


def test_other_labels_can_be_asked(similar):
    predictor = load_predictor(similar)
    asked = predictor.with_labels(["travel", "card", "home_loan"])
    before = predictor.predict(TEXTS)
    answers = asked.predict(TEXTS)
    assert [set(answer.probabilities) for answer in answers] == [
        {"travel", "card", "home_loan"}
    ] * 3
    assert len({answer.probabilities["travel"] for answer in answers}) == 3
    assert predictor.predict(TEXTS) == before, "the first one still asks its own"
    assert set(before[0].probabilities) == {"card", "loan"}
    assert asked.model is predictor.model


def test_order_and_company_of_labels_change_no_cosine(similar):
    predictor = load_predictor(similar)
    rows = [Example(text, None, "", "", 0) for text in TEXTS]

    def scores(asked):
        return torch.stack(asked.scores(asked.encode(rows)))

    some = scores(predictor.with_labels(["loan", "card"]))
    more = scores(predictor.with_labels(["card", "a trip abroad", "loan"]))
    assert torch.allclose(some, more[:, [2, 0]], atol=1e-5)
    assert torch.allclose(scores(predictor), more[:, [0, 2]], atol=1e-5)


def test_descriptions_stand_for_labels(similar):
    predictor = load_predictor(similar)
    (named,) = predictor.with_labels(["card", "loan"]).predict(TEXTS[:1])
    (described,) = predictor.with_labels(["x", "y"], ["card", "loan"]).predict(TEXTS[:1])
    assert described.probabilities == pytest.approx(
        dict(zip("xy", named.probabilities.values(), strict=True))
    )


def test_labels_of_other_tasks_are_fixed(finished):
    message = r"^the labels of task 'text-classification' are fixed; train with --task similarity "
    with pytest.raises(ConfigError, match=message):
        load_predictor(finished.folder).with_labels(["new"])


def test_many_pairs_of_adapter_and_head_answer_on_one_base_in_any_order(finished, adapter, root):
    other = inlay.train(
        str(tiny.shared_data(root)), base=str(tiny.shared_base(root)), method="lora", seed=3,
        precision="float32", epochs=1, out=str(adapter.parent / "other"), few_shot=2,
    )  # fmt: skip
    alone = [load_predictor(folder).predict(TEXTS) for folder in (adapter, other.folder)]
    first, second = inlay.load_predictors([adapter, other.folder])
    assert first.model is second.model
    assert first.name != second.name
    for predictor, expected in ((second, 1), (first, 0), (first, 0), (second, 1)):
        assert predictor.predict(TEXTS) == alone[expected]


def test_adapters_that_need_their_base_in_different_forms_do_not_share_it(adapter, tmp_path):
    other = shutil.copytree(adapter, tmp_path / "other")
    change(other, lambda manifest: manifest["card"]["numerics"].update(stored="bfloat16"))
    with pytest.raises(AdapterError, match="other needs its base as encoder, .* load them sep"):
        inlay.load_predictors([adapter, other])


def test_several_tasks_are_not_asked_as_one(finished):
    predictor = load_predictor(finished.folder)
    own = predictor.task.settings()
    predictor.task = Joint(names=("a", "b"), members=(own, own), weights=(1, 1))
    for ask in (lambda: predictor.predict(TEXTS), lambda: predictor.form):
        with pytest.raises(AdapterError, match="has several tasks: a, b. Name one: predictor.memb"):
            ask()
