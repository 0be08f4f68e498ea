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
    found: dict[int, list[Any]] = {}
    for group in _groups(predictors, rows):
        asked = [(predictors[number], rows[number]) for number in group]
        found |= dict(zip(group, _ask(asked), strict=True))
    return [found[number] for number in range(len(predictors))]


def _groups(predictors: Sequence[Predictor], rows: Sequence[Sequence[Example]]) -> list[list[int]]:
    """Return the numbers of predictors that can be asked in one pass, group by group."""
    groups: dict[Any, list[int]] = {}
    for number, (own, examples) in enumerate(zip(predictors, rows, strict=True)):
        entry = adapters_of(own.model).entry(own.name)
        is_alone = own.task.needs != "encoder" or entry.weights
        key = number if is_alone else (str([row.features for row in own.encode(examples)]),)
        groups.setdefault(key, []).append(number)
    return list(groups.values())


def _ask(asked: Sequence[tuple[Predictor, Sequence[Example]]]) -> list[list[Any]]:
    """Let predictors that read the same tokens answer, so many rows at a time."""
    bank = adapters_of(asked[0][0].model)
    try:
        with bank.using(Parallel(*(own.name for own, _ in asked))):
            is_one_pass = len(asked) > 1
    except CompositionError:  # as where adapters number the words in several ways
        is_one_pass = False
    if not is_one_pass:
        return [own.ask(examples) for own, examples in asked]
    shared = _Shared(asked[0][0].model, [own.name for own, _ in asked])
    encoded = [own.encode(examples) for own, examples in asked]
    kept: list[list[Tensor]] = [[] for _ in asked]
    longest = max(row.length for row in encoded[0])
    size = min(BATCH_SIZE, max(1, POSITIONS // (len(asked) * longest)))
    for start in range(0, len(encoded[0]), size):
        shared.outputs.clear()
        for number, (own, _) in enumerate(asked):
            shared.number = number
            rows = encoded[number][start : start + size]
            with bank.using(own.name):
                kept[number] += score_rows(
                    own.task, shared, own.head, rows, own.tokenizer, autocast=own.autocast
                )
    return [
        own.task.decode(scores, tokens, examples)
        for (own, examples), scores, tokens in zip(asked, kept, encoded, strict=True)
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
