"""Check in a fresh process that a saved adapter answers as it did when it was trained.

Run as `python -m inlay.training.reload_check`; reads one JSON object on standard input and
writes one on standard output.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from inlay.data.rows import Example
from inlay.errors import TrainingError

ROWS = 64
"""Rows that are compared, at most."""


def check_reload(
    adapter: Path,
    rows: Sequence[Example],
    scores: Sequence[Tensor],
    answers: Sequence[str],
    device: str = "cpu",
) -> dict[str, Any]:
    """Load an adapter in a fresh process and compare its answers.

    Args:
        adapter: The saved adapter's folder.
        rows: What was answered.
        scores: What the task keeps of the scores in this process, over exactly these rows.
        answers: The answers in this process.
        device: Where this process has computed them; another one rounds otherwise.

    Returns:
        `rows`, `identical` (answers that agree) and `bitwise` (whether the scores do).

    Raises:
        TrainingError: If an answer differs, or the fresh process fails.
    """
    import torch

    request = {
        "adapter": str(adapter),
        "rows": [list(row) for row in rows],
        "threads": torch.get_num_threads(),
        "device": device,
    }
    torch.cuda.empty_cache()  # the fresh process needs room too
    done = subprocess.run(
        [sys.executable, "-m", "inlay.training.reload_check"],
        input=json.dumps(request), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise TrainingError(
            f"the saved adapter {adapter} could not be loaded in a fresh process: {last[0]}"
        )
    answer = json.loads(done.stdout)
    identical = sum(a == b for a, b in zip(answer["answers"], answers, strict=True))
    if identical < len(answers):
        raise TrainingError(
            f"the saved adapter {adapter} answers differently in a fresh process: only "
            f"{identical} of {len(answers)} answers agree. Do not use it."
        )
    bitwise = answer["digest"] == _digest(scores)
    return {"rows": len(answers), "identical": identical, "bitwise": bitwise}


def _digest(scores: Sequence[Tensor]) -> str:
    digest = hashlib.sha256()
    for own in scores:
        digest.update(own.contiguous().numpy().tobytes())
    return digest.hexdigest()


def main() -> None:
    """Answer the request on standard input."""
    request = json.loads(sys.stdin.read())
    import torch

    from inlay.evaluation.predictor import load_predictor

    torch.set_num_threads(request["threads"])
    predictor = load_predictor(request["adapter"], device=request["device"])
    rows = [Example(*row) for row in request["rows"]]
    encoded = predictor.encode(rows)
    scores = predictor.scores(encoded)
    found = predictor.answer(rows, encoded=encoded, kept=scores)
    answers = [prediction.answer for prediction in found]
    sys.stdout.write(json.dumps({"answers": answers, "digest": _digest(scores)}))


if __name__ == "__main__":
    main()
