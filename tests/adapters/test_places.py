"""Hooks change only when a place comes or goes."""

import inlay
from inlay.adapters.places import Places
from tests.contracts import tiny


def test_only_the_first_and_the_last_change_anything():
    model = tiny.classifier()
    adapters = inlay.attach(model)
    one = adapters.add("one", inlay.Bottleneck(input="x"), at="ffn")
    two = adapters.add("two", inlay.Bottleneck(input="r"), at="ffn", layers=[0])
    places = Places()
    assert places.change(one, 1)
    assert places.change(two, 1), "the first to read the stream"
    assert not places.change(one, 1)
    assert places.sites == {"0.ffn": 3, "1.ffn": 2, "2.ffn": 2}
    assert places.streams == {"0.ffn": 1}
    assert places.heads == {"classifier": 3}
    assert not places.change(one, -1, heads=False)
    assert places.heads == {"classifier": 3}
    assert places.change(two, -1)
    assert places.streams == {}


def test_places_of_each_kind():
    adapters = inlay.attach(tiny.encoder())
    for name in "ab":
        adapters.add(name, "lora", at="q", layers=[1])
    places = Places()
    assert places.change(adapters.add("prefix", "prefix", layers=[0]), 1)
    assert places.change(adapters.add("prompt", "prompt"), 1)
    assert places.change(adapters.add("conv", inlay.ConvAdapter(), at="0.ffn"), 1)
    assert places.change(adapters.add_combiner(inlay.Route("a", "b")), 1)
    assert places.attentions == {"0.attention": 1}
    assert places.prompts == {"embedding": 1}
    assert places.sites == {"0.ffn": 1}
    assert places.padding == {"0.ffn": 1, "1.attention.q": 1}


def test_a_second_adapter_changes_no_hook(monkeypatch):
    model = tiny.encoder()
    adapters = inlay.attach(model)
    adapters.add("first", "lora")
    installed, walked = [], []
    walk = type(model).named_modules

    def counted(self, *args, **kwargs):
        for item in walk(self, *args, **kwargs):
            walked.append(item)
            yield item

    monkeypatch.setattr(adapters._hooks, "install", lambda *a, **k: installed.append(a))
    monkeypatch.setattr(type(model), "named_modules", counted)
    for number in range(20):
        adapters.add(f"a{number}", "lora")
        adapters.use(f"a{number}")
    adapters.use(None)
    adapters.remove("a3")
    assert installed == []
    assert len(walked) < 10 * 20, "nothing walks over all modules, which all adapters are among"
    adapters.add("elsewhere", "bottleneck")
    assert len(installed) == 1
