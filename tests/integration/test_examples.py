"""The examples run and say what their readers are told."""

import subprocess
import sys
from pathlib import Path

import pytest

from inlay.store.bases import bases_on_disk

EXAMPLES = Path(__file__).parents[2] / "examples"
SAYS = {
    "train_csv.py": ["test accuracy", "good", "bad"],
    "hugging_face_trainer.py": [
        "the loaded adapter gives the same logits: True",
        "the base is bitwise as it was: True",
    ],
    "plain_pytorch.py": ["2.ffn", "accuracy 1.00"],
}
TINY = ["--tiny", "--seeds", "1", "--epochs", "1"]
LITERATURE = {
    "adapter_fusion.py": ["head over cards", "new adapter", "fusion of the three"],
    "knowledge_adapter.py": ["fusion of knowledge and task", "fusion of random and task"],
    "mad_x.py": ["ne: English left in", "ne: swapped for its own"],
}
SHARED = {"frozen_base.py"}
"""What examples import."""
NEED_MINILM = {
    "train_csv.py", "hugging_face_trainer.py", "adapter_fusion.py", "knowledge_adapter.py",
}  # fmt: skip


def test_every_example_is_run():
    there = {path.name for path in EXAMPLES.glob("*.py")}
    assert there == {*SAYS, *LITERATURE, *SHARED}


@pytest.mark.parametrize("name", [*SAYS, *LITERATURE])
def test_example(name, tmp_path):
    if name in NEED_MINILM and "sentence-transformers/all-MiniLM-L6-v2" not in bases_on_disk():
        pytest.skip("the base minilm is not on this machine")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *(TINY if name in LITERATURE else [])],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    for words in {**SAYS, **LITERATURE}[name]:
        assert words in done.stdout
    assert list(tmp_path.iterdir()) == [], "an example leaves nothing behind"


def test_the_literature_says_how_it_is_used():
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "mad_x.py"), "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "--tiny" in done.stdout
    assert "../shared/data" in done.stdout
