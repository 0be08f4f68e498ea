"""Loading is strict: every fault of a file has its own message, and nothing is left behind."""

import json
import pickle
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

import inlay
from inlay.errors import AdapterError, FormatError
from inlay.store.load import read_tensors
from inlay.store.manifest import read_manifest
from tests.contracts import tiny
from tests.forks import Fork


@pytest.fixture
def saved(tmp_path):
    """A saved bottleneck with its model's classifier, and the model."""
    model = tiny.classifier()
    inlay.attach(model)
    tiny.stir(model.adapters.add("a", inlay.Bottleneck(reduction=3), layers="upper"))
    inlay.save(model, "a", tmp_path / "a", card={"task": "none"})
    return tmp_path / "a", model


def change_tensors(folder, change):
    tensors = load_file(folder / "adapter.safetensors")
    change(tensors)
    save_file(tensors, folder / "adapter.safetensors")


def change_manifest(folder, **values):
    path = folder / "adapter.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refuses(folder, message, model=None, **options):
    model = tiny.classifier() if model is None else model
    before = tiny.hidden(model, tiny.batch())
    had_adapters = hasattr(model, "adapters")
    with pytest.raises(FormatError, match=message):
        inlay.load(model, folder, **options)
    assert hasattr(model, "adapters") == had_adapters
    assert torch.equal(tiny.hidden(model, tiny.batch()), before)


def test_a_missing_tensor(saved):
    folder, _ = saved
    change_tensors(folder, lambda tensors: tensors.pop("site/1.ffn/up.bias"))
    refuses(folder, "tensor 'site/1.ffn/up.bias' is missing; the file is incomplete")


def test_an_unexpected_tensor(saved):
    folder, _ = saved
    change_tensors(folder, lambda t: t.update({"site/9.ffn/up.bias": torch.ones(2)}))
    refuses(folder, "'site/9.ffn/up.bias' is not listed in adapter.json; the file was changed")


def test_a_weight_of_the_base(saved):
    folder, _ = saved
    key = "bert.encoder.layer.0.output.dense.weight"
    change_tensors(folder, lambda t: t.update({key: torch.ones(24, 40)}))
    refuses(folder, "weights of a base are never loaded")


def test_a_wrong_shape_in_the_file(saved):
    folder, _ = saved
    change_tensors(folder, lambda t: t.update({"site/1.ffn/up.bias": torch.ones(23)}))
    refuses(folder, r"has shape \[23\], but adapter.json says \[24\]")


def test_shapes_that_this_model_does_not_have(saved):
    folder, _ = saved
    shapes = json.loads((folder / "adapter.json").read_text())["tensors"]
    change_tensors(folder, lambda t: t.update({"own_head/classifier/bias": torch.ones(5)}))
    change_manifest(folder, tensors=shapes | {"own_head/classifier/bias": [5]})
    refuses(folder, "'own_head/classifier/bias' is 5, but this model needs 3")


def test_another_base(saved):
    folder, _ = saved
    other = tiny.classifier()
    other.bert.encoder.layer[1].output.dense.weight.data.mul_(1.5)
    refuses(folder, "trained on .* Load that base, or pass other_base=True", model=other)
    assert inlay.load(other, folder, other_base=True) == "a"


def test_a_base_of_another_shape(saved):
    folder, _ = saved
    config = tiny.SMALL | {"hidden_size": 32, "num_hidden_layers": 2}
    import transformers as hf

    other = tiny.perturbed(hf.BertForSequenceClassification(hf.BertConfig(**config, num_labels=3)))
    refuses(
        folder,
        "the adapter does not fit this model: at='2.attention'",
        model=other,
        other_base=True,
    )


def test_a_truncated_file(saved):
    folder, _ = saved
    path = folder / "adapter.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    refuses(folder, "is damaged or no safetensors file")


def test_an_empty_file(saved):
    folder, _ = saved
    (folder / "adapter.safetensors").write_bytes(b"")
    refuses(folder, "is damaged or no safetensors file")


def test_a_newer_format(saved):
    folder, _ = saved
    change_manifest(folder, format_version=2)
    refuses(folder, "format version 2 is newer than 1, the newest this library reads")


def test_a_foreign_manifest(saved):
    folder, _ = saved
    change_manifest(folder, format="something-else")
    refuses(folder, "format is 'something-else'; expected 'inlay-adapter'")


def test_a_damaged_manifest(saved):
    folder, _ = saved
    (folder / "adapter.json").write_text("{")
    refuses(folder, "adapter.json: Invalid JSON")


def test_a_manifest_with_an_unknown_field(saved):
    folder, _ = saved
    change_manifest(folder, surprise=1)
    refuses(folder, "surprise: Extra inputs are not permitted")


def test_an_unknown_method(saved):
    folder, model = saved
    change_manifest(folder, method={"method": "bottelneck"})
    with pytest.raises(inlay.errors.ConfigError, match="Did you mean 'bottleneck'"):
        inlay.load(tiny.classifier(), folder)
    assert model.adapters.names == ("a",)


def test_a_pickled_file_is_never_read(saved):
    folder, _ = saved

    class Bomb:
        def __reduce__(self):
            return exec, ("raise SystemExit('the pickle was run')",)

    (folder / "adapter.safetensors").unlink()
    (folder / "pytorch_adapter.bin").write_bytes(pickle.dumps(Bomb()))
    refuses(folder, "Pickled weights are never read")
    (folder / "adapter.safetensors").write_bytes(pickle.dumps(Bomb()))
    refuses(folder, "is damaged or no safetensors file")


def test_a_folder_that_is_no_adapter(tmp_path):
    refuses(tmp_path, "it has no adapter.json")


def test_a_name_that_is_taken(saved):
    folder, model = saved
    with pytest.raises(AdapterError, match="there is an adapter 'a' already"):
        inlay.load(model, folder)
    assert inlay.load(model, folder, name="b") == "b"
    assert model.adapters.names == ("a", "b")


def test_a_task_head_needs_its_module(tmp_path):
    model = tiny.encoder()
    inlay.attach(model)
    head = torch.nn.Linear(24, 2)
    tiny.stir(model.adapters.add("a", "lora", head=head))
    inlay.save(model, "a", tmp_path / "a", card={"task": "my-task"})
    with pytest.raises(AdapterError, match="has a head for task 'my-task'"):
        inlay.load(tiny.encoder(), tmp_path / "a")
    again = torch.nn.Linear(24, 2)
    inlay.load(tiny.encoder(), tmp_path / "a", head=again)
    assert torch.equal(again.weight, head.weight)
    refuses(
        tmp_path / "a",
        "'head/bias' is 2, but this model needs 3",
        model=tiny.encoder(),
        head=torch.nn.Linear(24, 3),
    )


def test_the_query_of_the_placement_is_kept(saved):
    folder, _ = saved
    model = tiny.classifier()
    inlay.load(model, folder)
    entry = model.adapters.entry("a")
    assert (entry.placement.at, entry.placement.layers) == ("attention, ffn", "upper")
    assert list(entry.layers) == ["1.attention", "1.ffn", "2.attention", "2.ffn"]


def test_what_is_read_is_what_was_written(saved):
    folder, model = saved
    tensors = read_tensors(folder, read_manifest(folder))
    own = model.adapters.entry("a").tensors()
    assert set(tensors) == set(own)
    assert all(torch.equal(tensors[key], own[key]) for key in own)


def outputs_of_another_process(folder, output):
    model = tiny.classifier()
    inlay.load(model, folder)
    model.adapters.use("a")
    torch.save(tiny.hidden(model, tiny.batch()), output)
    return "peft" in sys.modules


def test_equal_outputs_in_a_fresh_process(saved, tmp_path):
    """The adapter, read by another process, gives bitwise the same outputs."""
    folder, model = saved
    model.adapters.use("a")
    process = Fork(outputs_of_another_process, folder, tmp_path / "output.pt")
    assert process.end() == 0, process.err.read_text()
    found = torch.load(tmp_path / "output.pt", weights_only=True)
    assert torch.equal(found, tiny.hidden(model, tiny.batch()))


def stacked(folder, below="shared"):
    """Two adapters of which one is stacked on the other, saved; gives the model."""
    model = tiny.classifier()
    inlay.attach(model)
    tiny.stir(model.adapters.add(below, "lora", copy_heads=False))
    for seed, name in enumerate(("a", "b")):
        entry = model.adapters.add(name, inlay.Bottleneck(reduction=3), stack_on=below)
        tiny.stir(entry, seed=seed)
        inlay.save(model, name, folder / name)
    return model


def test_what_is_below_comes_along_and_is_there_once(tmp_path):
    trained, model, batch = stacked(tmp_path), tiny.classifier(), tiny.batch()
    assert inlay.load(model, tmp_path / "a") == "a"
    assert inlay.load(model, tmp_path / "b") == "b"
    assert model.adapters.names == ("shared", "a", "b")
    for name in ("b", "a"):
        with trained.adapters.using(name), model.adapters.using(name):
            assert torch.equal(trained(**batch).logits, model(**batch).logits)
    inlay.save(model, "b", tmp_path / "again")
    for file in ("adapter.safetensors", "below/adapter.safetensors", "below/adapter.json"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_what_is_below_has_no_head(tmp_path):
    model = tiny.classifier()
    inlay.attach(model)
    tiny.stir(model.adapters.add("shared", "lora"))
    tiny.stir(model.adapters.add("a", "lora", at="o", stack_on="shared"))
    inlay.save(model, "a", tmp_path / "a")
    below = read_manifest(tmp_path / "a" / "below")
    assert below.own_heads == []
    assert all(key.startswith("site/") for key in below.tensors)
    assert read_manifest(tmp_path / "a").own_heads == ["classifier"]


def test_another_adapter_of_the_same_name_is_not_taken_for_it(tmp_path):
    stacked(tmp_path)
    model = tiny.classifier()
    inlay.attach(model)
    model.adapters.add("shared", "lora", copy_heads=False)
    inlay.load(model, tmp_path / "a")
    assert model.adapters.names == ("shared", "shared-2", "a")
    assert model.adapters.entry("a").stack_on == "shared-2"


def test_a_stack_of_three(tmp_path):
    model, batch = stacked(tmp_path), tiny.batch()
    tiny.stir(model.adapters.add("top", "lora", at="q", stack_on="b"), seed=8)
    inlay.save(model, "top", tmp_path / "top")
    other = tiny.classifier()
    inlay.load(other, tmp_path / "top")
    inlay.load(other, tmp_path / "a")
    assert other.adapters.names == ("shared", "b", "top", "a")
    with model.adapters.using("top"), other.adapters.using("top"):
        assert torch.equal(model(**batch).logits, other(**batch).logits)


def test_a_stack_that_is_not_whole_leaves_nothing(tmp_path):
    stacked(tmp_path)
    below = tmp_path / "a" / "below"
    change_tensors(below, lambda tensors: tensors.update({k: v + 1 for k, v in tensors.items()}))
    refuses(tmp_path / "a", "holds another adapter than the 'shared' that 'a' was trained on top")
    change_manifest(tmp_path / "b", tensors={})
    refuses(tmp_path / "b", "is not listed in adapter.json")
    (below / "adapter.json").unlink()
    refuses(tmp_path / "a", "stacked on 'shared', whose files should be in .*below and are not")
