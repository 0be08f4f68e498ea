"""Packed rows: every example learns what it learns alone, and bases that mix them are refused."""

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

import inlay
from inlay.errors import ConfigError
from inlay.tasks.base import Encoded
from inlay.tasks.packing import block_mask, check_apart, pack
from inlay.tasks.text_generation import TextGeneration
from inlay.tasks.writing import IGNORED
from tests.data.forms.files import write_jsonl
from tests.tasks import bases

TASK = TextGeneration(form="to-text", packing=True)


def encoded(ids, known):
    """A row of which all but the first `known` tokens are learnt."""
    return Encoded({"input_ids": ids}, [IGNORED] * known + ids[known:], extra={"cut": (0, 0)})


def some_rows(number=9, seed=3):
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for row in range(number):
        length = int(torch.randint(3, 14, (), generator=generator))
        ids = torch.randint(5, 250, (length,), generator=generator).tolist()
        rows.append(encoded(ids, known=row % 3))
    return rows


def llama(attention="sdpa"):
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
        attn_implementation=attention,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def trained(model, method="lora[rank=3, alpha=5]"):
    """Give the model an adapter that changes what it does."""
    inlay.attach(model)
    model.adapters.add("a", method)
    model.adapters.train("a")
    with torch.no_grad():
        for parameter in model.adapters.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def loss_and_gradients(model, batch):
    model.zero_grad()
    loss = TASK.loss(TASK.scores(model, None, batch), batch, label_smoothing=0.0)
    loss.backward()
    return loss.item(), [p.grad.clone() for p in model.adapters.parameters() if p.grad is not None]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("method", ["lora[rank=3, alpha=5]", "prefix[length=3]", "bottleneck"])
def test_losses_and_gradients_are_those_of_rows_of_their_own(attention, method):
    tokenizer, rows = bases.tokenizer(), some_rows()
    model = trained(llama(attention), method).train()
    packed = pack(rows, 31)
    assert len(packed) < len(rows) - 3
    check_apart(model, rows, tokenizer)
    assert model.training
    loss, gradients = loss_and_gradients(model, TASK.collate(packed, tokenizer))
    alone, alone_gradients = loss_and_gradients(model, TASK.collate(rows, tokenizer))
    assert loss == pytest.approx(alone, abs=1e-5)
    for found, expected in zip(gradients, alone_gradients, strict=True):
        assert torch.allclose(found, expected, atol=1e-5)


def test_nothing_is_lost_and_no_row_is_too_long():
    rows = some_rows(40)
    packed = pack(rows, 20)
    assert sorted(length for row in packed for length in row.extra["packed"]) == sorted(
        row.length for row in rows
    )
    assert max(row.length for row in packed) <= 20
    # No two rows would fit into one.
    shortest = sorted(row.length for row in packed)[:2]
    assert sum(shortest) > 20
    tokens = sorted(token for row in packed for token in row.features["input_ids"])
    assert tokens == sorted(token for row in rows for token in row.features["input_ids"])


def test_what_follows_another_example_is_not_learnt_from_it():
    (row,) = pack([encoded([7, 8, 9], known=0), encoded([5, 6], known=0)], 6)
    assert row.target == [IGNORED, 8, 9, IGNORED, 6]
    batch = TASK.collate([row], bases.tokenizer())
    assert batch.inputs["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0]]
    assert batch.inputs["segments"].tolist() == [[1, 1, 1, 2, 2, 0]]
    assert batch.inputs["input_ids"].tolist() == [[7, 8, 9, 5, 6, 0]]
    assert batch.targets.tolist() == [[IGNORED, 8, 9, IGNORED, 6, IGNORED]]


def test_the_mask_is_one_block_for_each_example():
    mask = block_mask(torch.tensor([[1, 1, 2, 0, 0]]), torch.float64)
    expected = torch.tensor(
        [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 1]]
    )
    assert torch.equal(mask[0, 0] == 0, expected.bool())
    assert mask.dtype == torch.float64
    assert mask.softmax(-1)[0, 0, 2].tolist() == [0, 0, 1, 0, 0]


@pytest.mark.parametrize("method", ["conv", "loreft[rank=2]", "prompt[length=3]"])
def test_an_adapter_that_reads_the_whole_sequence_is_refused(method):
    with pytest.raises(ConfigError, match=r"^task option packing=true: .*\. Leave it out\.$"):
        check_apart(trained(llama(), method), some_rows(), bases.tokenizer())


def test_a_base_with_a_running_state_is_refused():
    torch.manual_seed(5)
    model = MambaForCausalLM(
        MambaConfig(vocab_size=320, hidden_size=16, num_hidden_layers=2, state_size=4)
    )
    with pytest.raises(ConfigError, match=r"^task option packing=true: .*MambaForCausalLM"):
        check_apart(model, some_rows(), bases.tokenizer())


class Deaf(torch.nn.Module):
    """A base that takes the arguments and ignores some of them."""

    def __init__(self, inner, *ignored):
        super().__init__()
        self.inner, self.ignored = inner, ignored

    def get_input_embeddings(self):
        return self.inner.get_input_embeddings()

    def forward(self, **given):
        return self.inner(**{key: v for key, v in given.items() if key not in self.ignored})


def gpt2():
    torch.manual_seed(5)
    config = GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=2, n_positions=64)
    return GPT2LMHeadModel(config)


@pytest.mark.parametrize(
    ("ignored", "message"),
    [
        (("attention_mask", "position_ids"), "Deaf and this adapter an example sees the one bef"),
        (("position_ids",), "Deaf and this adapter an example gets another result than alone"),
    ],
)
def test_a_base_that_ignores_what_keeps_examples_apart_is_refused(ignored, message):
    check_apart(gpt2(), some_rows(), bases.tokenizer())
    with pytest.raises(ConfigError, match=message):
        check_apart(Deaf(gpt2(), *ignored), some_rows(), bases.tokenizer())


def test_a_run_of_packed_rows(tmp_path, monkeypatch):
    from inlay.training import finish

    monkeypatch.setattr(finish, "check_reload", lambda *given: {"rows": 0})
    rows = [
        {"prompt": f"{number} plus {number + 1} is", "completion": f"the sum {2 * number + 1}"}
        for number in range(60)
    ]
    data = write_jsonl(tmp_path / "sums.jsonl", rows)
    given = {
        "base": str(bases.write(tmp_path / "base", "decoder")), "epochs": 2, "batch_size": 8,
        "task": "text-generation", "max_length": 64, "precision": "float32",
    }  # fmt: skip
    notes = []

    class Listener:
        def on_plan(self, plan):
            notes.extend(plan.notes)

        def __getattr__(self, name):
            return lambda *given: None

    options = {"packing": True, "max_new_tokens": 4}
    run = inlay.train(
        data, out=str(tmp_path / "run"), reporter=Listener(), task_options=options, **given
    )
    assert any(note.startswith("train: 48 rows packed into ") for note in notes)
    assert run.metrics["test"]["n"] == 6
    assert run.predict([rows[0]["prompt"]])[0].answer is not None
