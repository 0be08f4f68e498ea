"""One fingerprint for one set of weights, whatever is around them."""

import torch
import transformers as hf

import inlay
from inlay.sites.fingerprint import fingerprint
from tests.contracts import tiny


def mark(model):
    return fingerprint(model, inlay.probe(model))


def test_the_same_under_every_task_class_and_precision():
    base = tiny.encoder()
    classifier = tiny.classifier()
    classifier.bert.load_state_dict(base.state_dict())
    tagger = hf.BertForTokenClassification(classifier.config).eval()
    tagger.bert.load_state_dict(base.state_dict(), strict=False)
    assert mark(base) == mark(classifier) == mark(tagger)
    assert mark(base) == mark(tiny.encoder().to(torch.bfloat16))


def test_another_weight_is_another_base():
    first, second = tiny.encoder(), tiny.encoder()
    second.encoder.layer[2].output.dense.bias.data[0] += 0.1
    assert mark(first) != mark(second)


def test_heads_and_poolers_do_not_count():
    first, second = tiny.classifier(), tiny.classifier()
    tiny.stir(second.classifier)
    tiny.stir(second.bert.pooler)
    assert mark(first) == mark(second)
