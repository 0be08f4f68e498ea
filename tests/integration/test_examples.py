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
NEED_MINILM = {"train_csv.py", "hugging_face_trainer.py"}


def test_every_example_is_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_example(name, tmp_path):
    if name in NEED_MINILM and "sentence-transformers/all-MiniLM-L6-v2" not in bases_on_disk():
        pytest.skip("the base minilm is not on this machine")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    for words in SAYS[name]:
        assert words in done.stdout
    assert list(tmp_path.iterdir()) == [], "an example leaves nothing behind"
