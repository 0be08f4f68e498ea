"""Other people's code on a model with adapters: Trainer, generate, and threads."""

import threading

import pytest
import torch
import transformers as hf

import inlay
from tests.contracts import tiny
from tests.contracts.methods import PREFIX_METHODS, SITE_METHODS

METHODS = SITE_METHODS | PREFIX_METHODS
DECODER_METHODS = [name for name in METHODS if name not in ("conv", "loreft-ends")]
"""`conv` refuses a cache; what is last moves along where there is none."""


def decoder_with(method, at, kind):
    model = tiny.decoder(kind)
    inlay.attach(model)
    if kind == "gpt2":  # its q, k and v are one map
        other = {
            "linear": "qkv, o, up, down", "k, v, down": "qkv, down",
            "q, up, down": "qkv, up, down",
        }  # fmt: skip
        at = other.get(at, at)
    entry = model.adapters.add("a", method, at=at)
    tiny.stir(entry)
    model.adapters.use("a")
    return model


def left_padded():
    ids = torch.tensor([[0, 0, 5, 9, 14], [3, 8, 21, 40, 7]])
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("name", DECODER_METHODS)
def test_generating_with_a_cache_equals_without(name, kind):
    model = decoder_with(*METHODS[name], kind)
    how = {"max_new_tokens": 6, "do_sample": False, "output_logits": True,
           "return_dict_in_generate": True}  # fmt: skip
    cached = model.generate(**left_padded(), **how, use_cache=True)
    uncached = model.generate(**left_padded(), **how, use_cache=False)
    assert torch.equal(cached.sequences, uncached.sequences)
    for one, two in zip(cached.logits, uncached.logits, strict=True):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-3)
    alone = {key: value[:1, 2:] for key, value in left_padded().items()}
    single = model.generate(**alone, **how, use_cache=True)
    torch.testing.assert_close(single.logits[0], cached.logits[0][:1], atol=1e-4, rtol=1e-3)
    model.adapters.use(None)
    base = model.generate(**left_padded(), **how, use_cache=True)
    assert not torch.equal(base.logits[0], cached.logits[0])


def test_a_method_that_a_cache_cannot_serve_is_refused():
    model = decoder_with(*SITE_METHODS["conv"], "llama")
    how = {"max_new_tokens": 3, "do_sample": False}
    assert model.generate(**left_padded(), **how, use_cache=False).shape == (2, 8)
    with pytest.raises(inlay.errors.AdapterError, match="use_cache=False"):
        model.generate(**left_padded(), **how, use_cache=True)


def test_a_causal_model_never_sees_later_positions():
    for method, at in METHODS.values():
        model = decoder_with(method, at, "llama")
        ids = torch.tensor([[5, 9, 14, 22, 31]])
        mask = torch.ones_like(ids)
        changed = ids.clone()
        changed[0, -1] = 60
        one = tiny.hidden(model, {"input_ids": ids, "attention_mask": mask})
        two = tiny.hidden(model, {"input_ids": changed, "attention_mask": mask})
        torch.testing.assert_close(one[:, :-1], two[:, :-1])


class Rows(torch.utils.data.Dataset):
    """A few rows whose label is told by one token."""

    def __len__(self):
        return 24

    def __getitem__(self, row):
        label = row % 3
        generator = torch.Generator().manual_seed(row)
        ids = torch.randint(10, 60, (6,), generator=generator)
        ids[row % 5] = 70 + label
        return {"input_ids": ids, "attention_mask": torch.ones(6, dtype=torch.long),
                "labels": torch.tensor(label)}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_trainer_trains_the_adapter_and_its_head(tmp_path):
    model = tiny.classifier()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    inlay.attach(model)
    entry = model.adapters.add("sst2", inlay.Bottleneck(reduction=3), at="attention, ffn")
    model.adapters.train("sst2")
    arguments = hf.TrainingArguments(
        output_dir=str(tmp_path / "out"), num_train_epochs=12, learning_rate=2e-2, report_to="none",
        per_device_train_batch_size=8, save_strategy="no", use_cpu=True, disable_tqdm=True, seed=1,
        logging_strategy="no", dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = hf.Trainer(model=model, args=arguments, train_dataset=Rows())
    losses = [trainer.evaluate(Rows())["eval_loss"]]
    trainer.train()
    losses.append(trainer.evaluate(Rows())["eval_loss"])
    assert losses[1] < 0.8 * losses[0]
    assert set(entry.own_heads) == {"classifier"}
    inlay.save(model, "sst2", tmp_path / "sst2")
    trained = tiny.hidden(model, tiny.batch())
    fresh = tiny.classifier()
    inlay.load(fresh, tmp_path / "sst2")
    fresh.adapters.use("sst2")
    assert torch.equal(tiny.hidden(fresh, tiny.batch()), trained)
    inlay.detach(model)
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())


def test_an_adapter_moves_between_task_classes_of_one_base(tmp_path):
    bare = tiny.encoder()
    inlay.attach(bare)
    entry = bare.adapters.add("a", inlay.Bottleneck(reduction=3))
    tiny.stir(entry)
    inlay.save(bare, "a", tmp_path / "a")
    model = tiny.classifier()
    model.bert.load_state_dict(bare_state(bare))
    inlay.load(model, tmp_path / "a")
    assert not model.adapters.entry("a").own_heads, "the file brings no head, so none is copied"
    model.adapters.use("a")
    bare.adapters.use("a")
    inputs = tiny.batch()
    with torch.no_grad():
        inner = model.bert(**inputs).last_hidden_state
    assert torch.equal(inner, tiny.hidden(bare, inputs))
    model.adapters.add("b", "lora")
    inlay.save(model, "b", tmp_path / "b")
    with pytest.raises(inlay.errors.FormatError, match=r"head 'classifier'.*without_head"):
        inlay.load(bare, tmp_path / "b")
    inlay.load(bare, tmp_path / "b", without_head=True)


def bare_state(model):
    return {k: v for k, v in model.state_dict().items() if not k.startswith("adapters.")}


def test_threads_do_not_disturb_each_other():
    model = tiny.encoder()
    inlay.attach(model)
    for number, name in enumerate(("one", "two")):
        tiny.stir(model.adapters.add(name, inlay.Bottleneck(reduction=3)), seed=number)
    inputs, expected, wrong = tiny.batch(), {}, []
    for name in ("one", "two"):
        with model.adapters.using(name):
            expected[name] = tiny.hidden(model, inputs)

    def work(name):
        for _ in range(15):
            with model.adapters.using(name):
                if not torch.equal(tiny.hidden(model, inputs), expected[name]):
                    wrong.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_plain_transformer_of_pytorch_works_in_evaluation_mode():
    """PyTorch's own encoder has a fused path that calls no submodule; hooks must switch it off."""
    torch.manual_seed(2)
    layer = torch.nn.TransformerEncoderLayer(24, 4, 40, dropout=0.0, batch_first=True)
    model = tiny.perturbed(torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))
    x = torch.randn(2, 5, 24)
    with torch.no_grad():
        before = model(x)
    inlay.attach(model, example=(x,))
    entry = model.adapters.add("a", inlay.Bottleneck(reduction=4), at="attention, ffn")
    tiny.stir(entry)
    model.adapters.use("a")
    with torch.no_grad():
        fused = model(x)
    model.train()
    slow = model(x).detach()
    torch.testing.assert_close(fused, slow)
    assert not torch.allclose(fused, before)
