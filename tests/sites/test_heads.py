"""The head of a task class is what its bare base does not have."""

import pytest
import transformers as hf
from torch import nn

from inlay.sites.heads import own_heads
from tests.contracts import tiny

SMALL = hf.BertConfig(**tiny.SMALL)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (hf.BertModel(SMALL), ()),
        (hf.BertForSequenceClassification(SMALL), ("classifier",)),
        (hf.BertForTokenClassification(SMALL), ("classifier",)),
        (hf.BertForQuestionAnswering(SMALL), ("qa_outputs",)),
        (hf.BertForMaskedLM(SMALL), ()),
        (tiny.decoder("llama"), ()),
        (tiny.decoder("gpt2"), ()),
        (hf.GPT2ForSequenceClassification(tiny.decoder("gpt2").config), ("score",)),
        (nn.Linear(2, 2), ()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_own_heads(model, expected):
    assert own_heads(model) == expected
