"""What is missing, left over or of the wrong size is named by the peer's own name."""

import pytest
import torch

import inlay
from inlay.errors import FormatError
from inlay.exchange.adapterhub_files import ADAPTER, read_checkpoint
from inlay.exchange.adapterhub_parts import by_place, check_blocks, source_of
from tests.contracts import tiny
from tests.exchange import hub


@pytest.fixture(scope="module")
def model():
    model = tiny.encoder()
    inlay.attach(model)
    return model


def source(model, folder, tensors):
    hub.write(folder, hub.DEFAULTS, tensors)
    return source_of(read_checkpoint(folder, ADAPTER), model, model.adapters.sites)


def test_tensors_by_place(model, tmp_path):
    tensors = hub.bottleneck("encoder.layer.2.output") | hub.bottleneck("encoder.layer.0.output")
    own = source(model, tmp_path, tensors)
    placed = [(own.finder.residual(n, "f"), n) for n in own.under("adapters")]
    tails = by_place(own, placed)
    assert list(tails) == ["0.ffn", "2.ffn"]
    assert "adapter_up.bias" in tails["2.ffn"]
    assert tails["2.ffn"].take("adapter_up.bias", 24).shape == (24,)
    with pytest.raises(FormatError, match="'encoder.layer.2.output.adapters.a.scale' is missing"):
        tails["2.ffn"].take("scale")
    with pytest.raises(FormatError, match="a.adapter_up.weight' is 24 x 5, but .* be any x 7"):
        tails["2.ffn"].take("adapter_up.weight", None, 7)
    with pytest.raises(FormatError, match="'encoder.layer.[02].output.*' has no place in an"):
        own.check_all_used()
    for name in own.names:
        own.take(name.key)
    own.check_all_used()


def test_two_tensors_for_one_place(model, tmp_path):
    tensors = {"encoder.layer.2.output.adapters.a.x": torch.ones(1)}
    tensors["encoder.layer.2.output_adapters.adapters.a.x"] = torch.ones(1)
    own = source(model, tmp_path, tensors)
    placed = [(own.finder.residual(n, "f"), n) for n in own.under("adapters")]
    with pytest.raises(FormatError, match="are for one place, '2.ffn'"):
        by_place(own, placed)


@pytest.mark.parametrize(
    ("found", "leave_out", "is_whole"),
    [
        (["0.ffn", "1.ffn", "2.ffn"], [], True),
        (["0.ffn", "2.ffn"], [1], True),
        (["0.ffn", "2.ffn"], [], False),
        (["0.ffn", "2.ffn"], [0], False),
        (["0.ffn", "1.ffn", "2.ffn"], [0], True),
        ([], [1], False),
    ],
)
def test_blocks_that_are_missing(model, tmp_path, found, leave_out, is_whole):
    own = source(model, tmp_path, hub.bottleneck("encoder.layer.2.output"))
    wanted = [site for site in own.sites if site.kind == "ffn"]
    if is_whole:
        check_blocks(own, wanted, found, leave_out)
    else:
        with pytest.raises(FormatError, match="there are no tensors for '[01].ffn', where"):
            check_blocks(own, wanted, found, leave_out)


def test_half_a_block_is_no_block_left_out(model, tmp_path):
    own = source(model, tmp_path, hub.bottleneck("encoder.layer.2.output"))
    wanted = [site for site in own.sites if site.kind in ("attention", "ffn")]
    there = [site.name for site in wanted if site.name != "1.ffn"]
    with pytest.raises(FormatError, match="no tensors for '1.ffn'"):
        check_blocks(own, wanted, there, [1])
