"""The two ends of a model."""

import torch

import inlay
from tests.contracts import tiny
from tests.contracts.families import FAMILIES


def ends(name):
    sites = FAMILIES[name].sites
    kinds = ("embedding", "start", "output")
    return {s.name: (s.module, s.point, s.width) for s in sites if s.kind in kinds}


def test_word_vectors_and_not_those_of_positions():
    assert ends("bert") == {
        "embedding": ("embeddings.word_embeddings", "out", 32),
        "start": ("encoder.layer.0", "in", 32),
        "output": ("encoder.layer.1", "out", 32),
    }
    assert ends("gpt2")["embedding"] == ("wte", "out", 32)
    assert ends("electra")["embedding"][2] == 16, "narrower than the stream"


def test_the_norm_behind_the_last_block():
    assert ends("llama")["output"] == ("norm", "out", 32)
    assert ends("t5")["decoder.output"] == ("decoder.final_layer_norm", "out", 32)


def test_the_start_is_behind_the_word_vectors_and_only_where_it_is_run_once():
    assert ends("t5")["encoder.start"] == ("encoder.block.0", "in", 32)
    assert "start" in ends("electra")
    assert set(ends("albert")) == {"embedding", "output"}


def test_without_words_the_first_blocks_input():
    assert ends("vit")["embedding"] == ("layers.0", "in", 32)
    assert ends("convnext")["embedding"] == ("encoder.stages.0.layers.0", "in", 8)


def test_each_submodel_has_its_own():
    assert ends("whisper") == {
        "encoder.embedding": ("encoder.layers.0", "in", 32),
        "encoder.output": ("encoder.layer_norm", "out", 32),
        "decoder.embedding": ("decoder.embed_tokens", "out", 32),
        "decoder.start": ("decoder.layers.0", "in", 32),
        "decoder.output": ("decoder.layer_norm", "out", 32),
    }


def test_adapters_at_both_ends_of_a_model_without_words():
    model = FAMILIES["vit"].build()
    inlay.attach(model)
    tiny.stir(model.adapters.add("in", inlay.EmbeddingAdapter(rank=2)))
    tiny.stir(model.adapters.add("out", inlay.OutputAdapter(inner_width=3)))
    x = {"pixel_values": torch.randn(2, 3, 32, 32)}
    outputs = []
    for composition in (None, "in", "out", inlay.Stack("in", "out")):
        with model.adapters.using(composition):
            outputs.append(tiny.hidden(model, x))
    assert all(not torch.equal(outputs[0], other) for other in outputs[1:])
    assert not torch.equal(outputs[3], outputs[1])
