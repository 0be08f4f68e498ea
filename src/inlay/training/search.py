"""What searches have in common: one setting over several seeds, and a folder of their runs."""

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from inlay.training.trial import Trained


@dataclass(frozen=True, kw_only=True, slots=True)
class AbstractTried(ABC):
    """Something that was tried, over its seeds."""

    trained: tuple[Trained, ...]

    @property
    def is_whole(self) -> bool:
        """Whether every seed trained to the end."""
        return all(one.score is not None and one.state != "failed" for one in self.trained)

    @property
    def scores(self) -> list[float]:
        """Validation scores of the seeds that have one."""
        return [one.score for one in self.trained if one.score is not None]

    @property
    def mean(self) -> float:
        """Mean of the scores, over as many epochs as each got; below all others without any."""
        return fmean(self.scores) if self.scores else -math.inf

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """Return what was tried, and what it cost, as plain data."""

    def record(self) -> dict[str, Any]:
        """Return all that is known of it as plain data."""
        return {
            **self.about(),
            "mean": self.mean if self.scores else None,
            "scores": self.scores,
            "states": [one.state for one in self.trained],
            "errors": [str(one.error) for one in self.trained if one.error is not None],
            "runs": [str(one.folder) for one in self.trained],
        }


def folder_for(what: str, data: str | Path, about: Any) -> Path:
    """Name a folder by what is done, so that the same call finds it again."""
    text = json.dumps([str(data), about], sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Path("runs") / f"{what}-{Path(data).stem}-{digest[:8]}"


def metric_of(trained: Iterable[Trained]) -> str:
    """Return the metric by which trainings were compared; empty if none got so far."""
    return next((one.metric for one in trained if one.metric), "")
