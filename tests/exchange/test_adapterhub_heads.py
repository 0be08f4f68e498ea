"""Heads come along with adapters, and never touch the base."""

import pytest
import torch
from torch.nn import functional as F

import inlay
from inlay.errors import FormatError
from inlay.exchange.adapterhub import load_adapterhub, read_adapterhub
from tests.contracts import tiny
from tests.exchange import hub

CONFIG = {
    "head_type": "classification", "num_labels": 3, "layers": 2, "activation_function": "tanh",
    "label2id": {"no": 1, "yes": 0, "maybe": 2}, "use_pooler": False, "bias": True,
    "dropout_prob": None,
}  # fmt: skip


def adapter(folder):
    tensors = {}
    for block in range(3):
        tensors |= hub.bottleneck(f"encoder.layer.{block}.output", seed=block)
    return hub.write(folder, hub.DEFAULTS, tensors)


def layers(*sizes, name="a", numbers=(1, 4)):
    tensors = {}
    for number, size in zip(numbers, sizes, strict=True):
        tensors[f"heads.{name}.{number}.weight"] = torch.randn(size, 24)
        tensors[f"heads.{name}.{number}.bias"] = torch.randn(size)
    return tensors


def with_head(folder, config, tensors, **facts):
    """Write an adapter and a head; the peer's heads of task classes have no name."""
    adapter(folder)
    facts = {"hidden_size": 24, "model_class": "BertAdapterModel"} | facts
    return hub.write(folder, config, tensors, kind="head", pickled=True, **facts)


@pytest.mark.parametrize("kind", ["classification", "tagging", "multiple_choice"])
def test_a_head_made_by_its_config(tmp_path, kind):
    config, sizes = CONFIG | {"head_type": kind}, (24, 3)
    if kind == "multiple_choice":
        config = {k: v for k, v in config.items() if k != "num_labels"} | {"num_choices": 3}
        sizes = (24, 1)
    tensors = layers(*sizes)
    with_head(tmp_path, config, tensors)
    model, inputs = tiny.encoder(), tiny.batch()
    inlay.attach(model)
    loaded = read_adapterhub(model, tmp_path)
    assert loaded.card["labels"] == ["yes", "no", "maybe"]
    with model.adapters.using(loaded.composition):
        hidden = tiny.hidden(model, inputs)
        (answer,) = model.adapters.answers(hidden, inputs["attention_mask"])
    x = hidden if kind == "tagging" else hidden[:, 0]
    x = torch.tanh(F.linear(x, tensors["heads.a.1.weight"], tensors["heads.a.1.bias"]))
    expected = F.linear(x, tensors["heads.a.4.weight"], tensors["heads.a.4.bias"])
    if kind == "multiple_choice":
        expected = expected.view(1, 3)
    torch.testing.assert_close(answer.output, expected)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_decoders_head_reads_the_last_word(tmp_path, family):
    tensors = layers(24, 3)
    with_head(tmp_path, CONFIG, tensors, model_type=family)
    model, inputs = tiny.encoder(), tiny.batch()
    inlay.attach(model)
    loaded = read_adapterhub(model, tmp_path)
    assert "only where padding is on the right" in " ".join(loaded.card["notes"])
    with model.adapters.using(loaded.composition):
        hidden = tiny.hidden(model, inputs)
        (answer,) = model.adapters.answers(hidden, inputs["attention_mask"])
        (plain,) = model.adapters.answers(hidden)
    words = inputs["attention_mask"].sum(1).tolist()
    for found, at in ((answer, [n - 1 for n in words]), (plain, [-1] * 3)):
        x = torch.stack([row[n] for row, n in zip(hidden, at, strict=True)])
        x = torch.tanh(F.linear(x, tensors["heads.a.1.weight"], tensors["heads.a.1.bias"]))
        expected = F.linear(x, tensors["heads.a.4.weight"], tensors["heads.a.4.bias"])
        torch.testing.assert_close(found.output, expected)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_a_state_that_is_scaled_for_tied_words(tmp_path, family):
    tensors = layers(3, numbers=(1,))
    config = CONFIG | {"head_type": "question_answering", "layers": 1}
    with_head(tmp_path, config, tensors, model_type=family)
    model, inputs = tiny.encoder(), tiny.batch()
    inlay.attach(model)
    loaded = read_adapterhub(model, tmp_path)
    with model.adapters.using(loaded.composition):
        hidden = tiny.hidden(model, inputs)
        (answer,) = model.adapters.answers(hidden)
    assert model.config.tie_word_embeddings
    x = hidden * (24**-0.5 if family == "t5" else 1)
    expected = F.linear(x, tensors["heads.a.1.weight"], tensors["heads.a.1.bias"])
    torch.testing.assert_close(answer.output, expected)


def test_heads_of_pictures(tmp_path):
    config = CONFIG | {"head_type": "image_classification", "multilabel": False}
    with_head(tmp_path, config, layers(24, 3), model_type="vit")
    model = tiny.encoder()
    inlay.attach(model)
    assert read_adapterhub(model, tmp_path).card["labels"] == ["yes", "no", "maybe"]
    with_head(tmp_path, config, layers(24, 3), model_type="beit")
    with pytest.raises(FormatError, match="reads what the base has pooled .* beit"):
        read_adapterhub(model, tmp_path, "other")


def test_the_head_of_a_task_class(tmp_path):
    weights = {"classifier.weight": torch.randn(3, 24), "classifier.bias": torch.randn(3)}
    with_head(tmp_path, None, weights, label2id={"a": 0, "b": 1, "c": 2}, name=None)
    model, inputs = tiny.classifier(), tiny.batch()
    inlay.attach(model)
    base = tiny.hidden(model, inputs)
    loaded = read_adapterhub(model, tmp_path)
    assert loaded.card["labels"] == ["a", "b", "c"]
    with model.adapters.using(loaded.composition), torch.no_grad():
        pooled = model.bert(**inputs).pooler_output
        expected = F.linear(pooled, weights["classifier.weight"], weights["classifier.bias"])
        torch.testing.assert_close(tiny.hidden(model, inputs), expected)
    assert torch.equal(tiny.hidden(model, inputs), base)


def test_a_weight_of_the_base_may_be_repeated_but_not_changed(tmp_path):
    model = tiny.encoder()
    inlay.attach(model)
    own = {"pooler.dense.bias": model.pooler.dense.bias.detach().clone()}
    key = "encoder.layer.1.output.adapters.a.adapter_up.bias"
    again = {key: hub.bottleneck("encoder.layer.1.output", seed=1)[key]}
    with_head(tmp_path, None, own | again)
    loaded = read_adapterhub(model, tmp_path)
    assert "'pooler.dense.bias' is the base's own weight" in " ".join(loaded.card["notes"])
    model.adapters.remove("a")
    with_head(tmp_path, None, own | {key: again[key] + 1})
    with pytest.raises(FormatError, match="adapter_up.bias' of the head has no place"):
        load_adapterhub(model, tmp_path)
    with_head(tmp_path, None, {"pooler.dense.bias": own["pooler.dense.bias"] + 1})
    with pytest.raises(FormatError, match="'pooler.dense.bias' of the head is a weight of this"):
        load_adapterhub(model, tmp_path)
    assert torch.equal(model.pooler.dense.bias, own["pooler.dense.bias"])
    assert load_adapterhub(model, tmp_path, without_head=True) == "a"


@pytest.mark.parametrize(
    ("config", "tensors", "message"),
    [
        (None, {"score.weight": torch.ones(3, 24)}, "'score.weight' of the head has no place on"),
        (None, {"classifier.weight": torch.ones(3, 24)}, "'own_head/classifier/bias' is missing"),
        (
            None, {"classifier.weight": torch.ones(4, 24), "classifier.bias": torch.ones(4)},
            "own_head/classifier/.* is .*, but this model needs",
        ),
        (3, {}, "'config' is 3, not settings"),
        (CONFIG | {"head_type": "causal_lm"}, {}, "heads of type 'causal_lm' are not supported"),
        (CONFIG | {"use_pooler": True}, {}, "what the base has pooled .use_pooler=True"),
        (CONFIG | {"colour": 1}, {}, "unknown option 'colour'"),
        (CONFIG, layers(24, 4), "'heads.a.4.weight' .* has no place in a head"),
        (CONFIG, layers(24, numbers=(1,)), "'heads.a.4.weight' is missing"),
        (CONFIG, layers(24, 3, name="b"), "'heads.b.1.weight' .* has no place"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(tmp_path, config, tensors, message):
    with_head(tmp_path, config, tensors)
    model = tiny.classifier()
    inlay.attach(model)
    with pytest.raises(FormatError, match=message):
        load_adapterhub(model, tmp_path)
    assert model.adapters.names == ()
    assert load_adapterhub(model, tmp_path, without_head=True) == "a"
