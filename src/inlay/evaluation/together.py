"""Answer the same texts by many saved adapters, the blocks that they share computed once."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from inlay.adapters.attach import adapters_of
from inlay.compose.parallel import Parallel
from inlay.data.forms.base import Given
from inlay.data.rows import Example
from inlay.errors import CompositionError, ConfigError
from inlay.evaluation.predictor import Predictor
from inlay.evaluation.scoring import BATCH_SIZE, POSITIONS, score_rows
from inlay.tasks.base import Encoded


def predict_together(predictors: Sequence[Predictor], inputs: Sequence[Given]) -> list[list[Any]]:
    """Answer raw inputs by each of several predictors on one base.

    Answers are those of each alone. Those that read the same tokens are computed in one pass
    (`Parallel`), in which blocks below the first that their adapters change are computed once:
    for side networks the whole base. A task that writes, or whose adapter cannot run beside the
    others, is asked by itself.

    Args:
        predictors: What `load_predictors` gave.
        inputs: As `Predictor.predict` takes them.

    Returns:
        For each predictor its answers, in the order of the inputs.

    Raises:
        ConfigError: If there is no predictor, or they are not on one base.
        DataError: If an input is not what one of them reads.
        AdapterError: If an adapter has several tasks and none was named.
    """
    number = len({id(own.model) for own in predictors})
    if number != 1:
        raise ConfigError(
            f"predict_together: {len(predictors)} predictors on {number} copies of a base; give "
            "at least one, and all from one call of load_predictors."
        )
    rows = [own.examples(inputs) for own in predictors]
    if not inputs:
        return [[] for _ in predictors]
    encoded = [
        own.encode(examples) if _reads_hidden_states(own) else None
        for own, examples in zip(predictors, rows, strict=True)
    ]
    groups: dict[Any, list[int]] = {}
    for place, tokens in enumerate(encoded):
        key = place if tokens is None else str([row.features for row in tokens])
        groups.setdefault(key, []).append(place)
    found: dict[int, list[Any]] = {}
    for group in groups.values():
        if _is_one_pass([predictors[place] for place in group]):
            asked = [(predictors[place], rows[place], encoded[place] or []) for place in group]
            found |= dict(zip(group, _ask(asked), strict=True))
        else:
            found |= {place: predictors[place].ask(rows[place]) for place in group}
    return [found[place] for place in range(len(predictors))]


def _reads_hidden_states(predictor: Predictor) -> bool:
    """Tell whether a predictor's head reads what its base gives with weights as they are."""
    entry = adapters_of(predictor.model).entry(predictor.name)
    return predictor.task.needs == "encoder" and not entry.weights


def _is_one_pass(group: Sequence[Predictor]) -> bool:
    """Tell whether there are several adapters, which can run beside one another."""
    try:
        with adapters_of(group[0].model).using(Parallel(*(own.name for own in group))):
            return len(group) > 1
    except CompositionError:  # as where adapters number the words in several ways
        return False


def _ask(
    asked: Sequence[tuple[Predictor, Sequence[Example], Sequence[Encoded]]],
) -> list[list[Any]]:
    """Let predictors that read the same tokens answer, so many rows at a time."""
    shared = _Shared(asked[0][0].model, [own.name for own, _, _ in asked])
    kept: list[list[Tensor]] = [[] for _ in asked]
    first = asked[0][2]
    longest = max(row.length for row in first)
    size = min(BATCH_SIZE, max(1, POSITIONS // (len(asked) * longest)))
    for start in range(0, len(first), size):
        shared.outputs.clear()
        for number, (own, _, tokens) in enumerate(asked):
            shared.number = number
            with adapters_of(own.model).using(own.name):
                kept[number] += score_rows(
                    own.task, shared, own.head, tokens[start : start + size], own.tokenizer,
                    autocast=own.autocast,
                )  # fmt: skip
    return [
        own.task.decode(scores, tokens, examples)
        for (own, examples, tokens), scores in zip(asked, kept, strict=True)
    ]


@final
class _Shared(nn.Module):
    """Stands for the base: the first adapter's passes are computed for all of them.

    Args:
        model: The base.
        names: The adapters on it.
    """

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, tuple(names)
        self.number = 0
        """Which adapter asks."""
        self.outputs: dict[str, Sequence[Tensor]] = {}
        """What the model was given -> the last hidden state of each adapter."""

    @override
    def forward(self, **inputs: Tensor) -> Any:
        """Return what has the last hidden state of the adapter that asks."""
        key = str({name: value.tolist() for name, value in inputs.items()})
        if key not in self.outputs:
            if self.number:  # something of its own, such as the names of labels
                return self.model(**inputs)
            with adapters_of(self.model).using(Parallel(*self.names)):
                whole = self.model(**inputs).last_hidden_state
            self.outputs[key] = torch.chunk(whole, len(self.names))
        return SimpleNamespace(last_hidden_state=self.outputs[key][self.number])
