"""Replay in training: the same numbers, fewer computations, and refusals with their reasons."""

import pytest
import torch
from safetensors.torch import load_file

import inlay
from inlay.errors import ConfigError, TrainingError
from inlay.sites.probe import probe
from inlay.sites.tensors import first_float, replace_first_float
from inlay.store.activations import cache_root
from inlay.training import replay as replay_module
from inlay.training.replay import open_replay, replayable
from inlay.training.row_keys import row_keys
from tests import tiny
from tests.contracts import tiny as models
from tests.contracts.families import FAMILIES
from tests.training.padded_ids import ids

LIMIT = 2**30


def opened(model, name="a", root=None):
    return open_replay(
        model, replayable([model.adapters.entry(name)], model.adapters.sites),
        model.adapters.sites, root or cache_root(), limit=LIMIT, seed=1,
    )  # fmt: skip


def adapted(family="bert", **placed):
    model = FAMILIES[family].build()
    inlay.attach(model)
    entry = model.adapters.add("a", inlay.Bottleneck(inner_width=4), **placed)
    models.stir(entry, seed=3)
    model.adapters.use("a")
    return model


@pytest.mark.parametrize("family", ["bert", "roberta", "llama", "gpt2", "modernbert"])
def test_other_batches_give_what_computing_gives(family):
    model = adapted(family, layers="1")
    rows = [[5, 6, 7, 8, 9], [11, 12], [13, 14, 15], [16, 17, 18, 19]]
    replay = opened(model)
    batches = [ids(*rows), ids(rows[2], rows[0], length=5), ids(rows[1], rows[3], length=4)]
    with torch.no_grad():
        expected = [model(**batch).last_hidden_state for batch in batches]
        with replay.active():
            found = [model(**batch).last_hidden_state for batch in batches]
    assert (replay.num_computed, replay.num_replayed) == (4, 4)
    for batch, one, two in zip(batches, expected, found, strict=True):
        inside = batch["attention_mask"].bool()
        torch.testing.assert_close(one[inside], two[inside], atol=1e-6, rtol=1e-5)
    assert not any("forward" in vars(module) for module in model.modules())
    assert opened(model).num_reused == 4


def test_gradients_are_the_same():
    model = adapted(layers="upper")
    model.adapters.train("a")
    batch = ids([5, 6, 7], [8, 9])
    replay = opened(model)
    gradients = []
    with replay.active():
        for _ in range(2):
            model.adapters.zero_grad()
            states = model(**batch).last_hidden_state
            states[batch["attention_mask"].bool()].square().sum().backward()
            gradients.append([p.grad.clone() for p in model.adapters.entry("a").parameters()])
    assert replay.num_replayed == 2
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-4)


def test_a_ladder_is_fed_from_the_cache_alone():
    model = FAMILIES["bert"].build()
    inlay.attach(model)
    models.stir(model.adapters.add("a", "side"), seed=2)
    model.adapters.use("a")
    ran = []
    for site in probe(FAMILIES["bert"].build()):
        if site.kind == "attention":
            hook = lambda *_: ran.append(1)  # noqa: E731
            model.get_submodule(site.module).register_forward_hook(hook)
    batch = ids([5, 6, 7], [8, 9])
    with torch.no_grad():
        expected = model(**batch).last_hidden_state
        with opened(model).active():
            model(**batch)
            before = len(ran)
            found = model(**batch).last_hidden_state
    assert len(ran) == before
    inside = batch["attention_mask"].bool()
    assert torch.equal(expected[inside], found[inside])


def lead_of(model, name):
    (trunk,) = replayable([model.adapters.entry(name)], model.adapters.sites)
    return trunk.lead_in


def test_what_is_kept_in_front_of_an_adapter():
    model = adapted(layers="upper")
    (trunk,) = replayable([model.adapters.entry("a")], model.adapters.sites)
    block = f"encoder.layer.{len(trunk.blocks)}"
    model.adapters.add("ffn", "pfeiffer", layers="upper")
    dropout, dense = f"{block}.attention.output.dropout", f"{block}.attention.output.dense"
    (attention,) = lead_of(model, "a")
    assert (attention.kept, attention.around) == (dropout, (f"{block}.attention.self",))
    assert dense in attention.maps
    assert [one.kept for one in lead_of(model, "ffn")] == [dropout, f"{block}.output.dropout"]
    for name, method, at in [("lora", "lora", "q"), ("prefix", "prefix", None)]:
        model.adapters.add(name, method, layers="upper", **({"at": at} if at else {}))
        assert lead_of(model, name) == (), "the attention itself computes something else"
    model.adapters.add("down", "lora", layers="upper", at="down")
    assert [one.kept for one in lead_of(model, "down")] == [dropout]


def test_the_maps_in_front_of_an_adapter_do_not_run_again():
    model = adapted(layers="upper")
    batch = ids([5, 6, 7], [8, 9])
    with torch.no_grad():
        expected = model(**batch).last_hidden_state
        with opened(model).active():
            model(**batch)
            for path in lead_of(model, "a")[0].maps:
                model.get_submodule(path).weight.fill_(torch.nan)
            found = model(**batch).last_hidden_state
    inside = batch["attention_mask"].bool()
    assert torch.equal(expected[inside], found[inside])


def test_what_cannot_be_kept_in_front_is_computed_and_the_blocks_are_kept(monkeypatch):
    monkeypatch.setattr("inlay.sites.replay._can_pass", lambda *given: False)
    model = adapted(layers="upper")
    replay = opened(model)
    with torch.no_grad(), replay.active():
        expected = model(**ids([5, 6, 7])).last_hidden_state
        found = model(**ids([5, 6, 7])).last_hidden_state
    assert replay.num_replayed == 1
    assert [store.names for store in replay.stores] == [t.kept for t in replay.replay.trunks]
    assert torch.equal(expected[0, :3], found[0, :3])


def test_caches_feed_only_those_whose_states_they_see_unchanged():
    model = adapted(layers="upper")
    model.adapters.use(None)
    models.stir(model.adapters.add("ffn", "pfeiffer", layers="upper"), seed=4)
    both, ffn = opened(model), opened(model, "ffn")
    both.feed(ffn)
    ffn.feed(both)
    batch = ids([5, 6, 7], [8, 9])
    with torch.no_grad():
        model.adapters.use("a")
        with both.active():
            model(**batch)
        assert len(ffn.stores[0]) == 0, "behind an adapter the update is another"
        model.adapters.use("ffn")
        expected = model(**batch).last_hidden_state
        with ffn.active():
            model(**ids([9, 8]))
            model.adapters.use("a")
        assert len(both.stores[0]) == 3
        model.adapters.use("ffn")
        with ffn.active():
            model(**batch)
            found = model(**batch).last_hidden_state
    inside = batch["attention_mask"].bool()
    assert torch.equal(expected[inside], found[inside])


def test_training_mode_and_calls_with_a_cache_are_computed():
    model = adapted(layers="1")
    replay = opened(model)
    with torch.no_grad(), replay.active():
        model.train()
        model(**ids([5, 6]))
        model.eval()
        model(torch.tensor([[5, 6]]))
    assert replay.num_computed == replay.num_replayed == 0


def test_a_full_cache_is_told_once_and_its_rows_are_replayed():
    model = adapted(layers="1")
    replay, told = opened(model), []
    replay.tell(told.append)
    with torch.no_grad(), replay.active():
        model(**ids([5, 6]))
        for store in replay.stores:
            store.is_full = True
        expected = model(**ids([7, 8], [9, 5])).last_hidden_state
        assert replay.num_computed == 1, "nothing is recorded that nobody keeps"
        assert torch.equal(model(**ids([7, 8], [9, 5])).last_hidden_state, expected)
        model(**ids([5, 6]))
    assert replay.num_replayed == 1

    model = adapted(layers="1")
    replay = opened(model)
    replay.tell(told.append)
    (store,) = replay.stores
    store._new_chunk = lambda size: False
    with torch.no_grad(), replay.active():
        model(**ids([9, 9]))
        model(**ids([9, 9, 9]))
    assert len(told) == 1
    assert "no more room in" in told[0]
    assert "--set replay_gb=N" in told[0]


def test_rows_that_another_has_kept_are_replayed_though_there_is_no_more_room():
    model = adapted(layers="all")
    models.stir(model.adapters.add("side", "side[reduction=3]"), seed=4)
    models.stir(model.adapters.add("upper", "pfeiffer", layers="upper"), seed=5)
    deep, shallow = opened(model, "side"), opened(model, "upper")
    deep.feed(shallow)
    batch = ids([5, 6, 7], [8, 9])
    with torch.no_grad():
        model.adapters.use("side")
        with deep.active():
            model(**batch)
        for store in shallow.stores:
            store.is_full = True
        model.adapters.use("upper")
        with shallow.active():
            model(**batch)
            model(**batch)
    assert shallow.num_replayed == 2


def test_what_is_known_before_somebody_listens_is_told_when_he_does():
    model = adapted(layers="1")
    replay, told = opened(model), []
    (store,) = replay.stores
    store._new_chunk = lambda size: False
    with torch.no_grad(), replay.active():
        model(**ids([9, 9]))
    replay.tell(told.append)
    replay.tell(told.append)
    assert ["no more room in" in text for text in told] == [True]


def test_a_base_whose_blocks_give_other_numbers_is_told():
    model = adapted(layers="1")
    block = model.get_submodule(model.adapters.sites["0.block"].module)
    real = block.forward
    block.forward = lambda *args, **kwargs: as_double(real(*args, **kwargs))
    replay, told = opened(model), []
    replay.tell(told.append)
    behind = model.get_submodule(model.adapters.sites["1.block"].module)
    behind.register_forward_pre_hook(lambda module, args: (args[0].float(), *args[1:]))
    with torch.no_grad(), replay.active():
        model(**ids([5, 6]))
        model(**ids([5, 6]))
    assert replay.refused is not None
    assert told == [f"replay: no, {replay.refused}"]
    assert "torch.float64 where the base has others" in told[0]


def as_double(output):
    return replace_first_float(output, first_float(output).double())


def test_a_wrong_state_is_found_and_the_cache_removed(monkeypatch):
    monkeypatch.setattr(replay_module, "VERIFIED", 1.0)
    model = adapted(layers="1")
    replay = opened(model)
    (store,) = replay.stores
    with torch.no_grad(), replay.active():
        model(**ids([5, 6]))
        model(**ids([5, 6]))
        store.get(row_keys(ids([5, 6]), "all").keys[0])[0].mul_(3)
        with pytest.raises(TrainingError, match="are not what the base computes now"):
            model(**ids([5, 6]))
    assert not store.folder.exists()


def test_other_weights_have_another_cache():
    model = adapted(layers="1")
    with torch.no_grad(), opened(model).active():
        model(**ids([5, 6]))
    assert opened(model).num_reused == 1
    model.embeddings.word_embeddings.weight.data[5, 0] += 0.5
    assert opened(model).num_reused == 0


def test_what_an_adapter_leaves_as_it_is():
    model = adapted(layers="upper")
    assert len(replayable([model.adapters.entry("a")], model.adapters.sites)) == 1
    model.adapters.add("all", "bottleneck")
    assert replayable([model.adapters.entry("all")], model.adapters.sites) == []
    model.adapters.add("full", "full")
    assert replayable([model.adapters.entry("full")], model.adapters.sites) == []
    moving = inlay.Prefix(length=2, inner_width=None, takes_positions=True)
    model.adapters.add("moving", moving, layers="upper")
    assert replayable([model.adapters.entry("moving")], model.adapters.sites) == []
    model.adapters.add("pooled", "lora", at="pooler.dense")
    assert replayable([model.adapters.entry("pooled")], model.adapters.sites) == []


def run(root, out, **settings):
    given = {"base": str(tiny.shared_base(root)), **tiny.SETTINGS, **settings}
    return inlay.train(tiny.shared_data(root), out=str(out), **given)


def test_a_run_with_replay_gives_the_same_adapter(root, tmp_path):
    given = {"layers": "upper", "epochs": 3, "precision": "float32", "patience": 9}
    runs = [
        run(root, tmp_path / "without", replay=False, **given),
        run(root, tmp_path / "first", replay=True, **given),
        run(root, tmp_path / "warm", replay=True, **given),
    ]
    weights = [load_file(r.folder / "adapter" / "adapter.safetensors") for r in runs]
    for other in weights[1:]:
        for key, value in weights[0].items():
            torch.testing.assert_close(value, other[key], atol=2e-5, rtol=1e-4)
    scores = {r.metrics["test"]["accuracy"] for r in runs}
    assert len(scores) == 1
    assert list((cache_root() / "trunk").iterdir())


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"layers": "all"}, "acts from the first block on"),
        ({"method": "full"}, "weights of the base are trained"),
    ],
)
def test_replay_that_cannot_be_is_refused(root, tmp_path, settings, reason):
    with pytest.raises(ConfigError, match=reason):
        run(root, tmp_path / "run", replay=True, **settings)
