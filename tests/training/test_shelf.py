"""What several trainings share is made once."""

import pytest
import torch

from inlay.errors import BaseError, SiteError
from inlay.store.bases import resolve_base
from inlay.tasks.registry import task_for
from inlay.training.attention import Attention
from inlay.training.config import resolve_config
from inlay.training.precision import Numerics
from inlay.training.shelf import Shelf
from tests import tiny

NUMERICS = Numerics("float32", autocast=False, attention="eager")


def test_everything_is_made_once(root):
    shelf = Shelf()
    config = resolve_config({"data": str(tiny.shared_data(root))}).config
    dataset = shelf.dataset(config)
    assert shelf.dataset(config.model_copy(update={"seed": 5})) is dataset
    assert shelf.dataset(config.model_copy(update={"split_seed": 5})) is not dataset
    base = resolve_base(str(tiny.shared_base(root)))
    held = shelf.base(base, NUMERICS, "encoder", torch.device("cpu"))
    assert shelf.base(base, NUMERICS, "encoder", torch.device("cpu")) is held
    adapters, tokenizer = held.adapters, held.tokenizer
    task = task_for(None, dataset, base_kind="encoder")
    rows = shelf.encoded(dataset, task, tokenizer, 16)
    assert shelf.encoded(dataset, task, tokenizer, 16) is rows
    assert shelf.encoded(dataset, task, tokenizer, 8) is not rows
    one, two = (adapters.add(name, "bottleneck", layers="upper") for name in "ab")
    replay = shelf.replay(adapters, one, gigabytes=1, seed=1)
    assert shelf.replay(adapters, two, gigabytes=1, seed=1) is replay
    with pytest.raises(SiteError, match="acts from the first block on"):
        shelf.replay(adapters, adapters.add("c", "bottleneck"), gigabytes=1, seed=1)


def test_one_attention_is_good_for_all_on_a_base_but_those_that_began_with_another(root):
    shelf, base = Shelf(), resolve_base(str(tiny.shared_base(root)))
    chosen = []

    def choose(adapters, tokenizer):
        chosen.append(adapters)
        adapters.model.set_attn_implementation("sdpa")
        return Attention("sdpa", "faster")

    def ask(**given):
        return shelf.base(base, NUMERICS, "encoder", torch.device("cpu"), **given)

    first = ask(choose=choose)
    assert ask(choose=choose) is first
    assert ask(attention=Attention("sdpa", "as asked")) is first
    assert len(chosen) == 1
    other = ask(attention=Attention("eager", "as this run began"))
    assert other.adapters is not first.adapters
    assert other.adapters.model.config._attn_implementation == "eager"
    assert first.adapters.model.config._attn_implementation == "sdpa"


def test_a_base_without_tokenizer(root, tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((tiny.shared_base(root) / name).read_bytes())
    with pytest.raises(BaseError, match="has no tokenizer"):
        Shelf().base(resolve_base(str(folder)), NUMERICS, "encoder", torch.device("cpu"))
