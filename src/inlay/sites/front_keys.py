"""Join an attention's keys and values with those that adapters put in front, gated or not."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional as F

from inlay.errors import SiteError


@final
@dataclass(frozen=True, slots=True)
class FrontKeys:
    """Keys and values that an adapter puts in front of an attention's own."""

    keys: Tensor
    """`(length, width)`, or `(batch, length, width)`."""
    values: Tensor
    """As the keys."""
    gates: Tensor | None = None
    """What they are multiplied by, `(batch, positions or 1, 1 or 2)`: for each query, or for all of
    a row; both by one, or keys by the first and values by the second."""
    seen: Tensor | None = None
    """`(batch, length)`, which of them a row sees; `None` if all rows see all."""

    @property
    def length(self) -> int:
        """How many they are."""
        return self.keys.shape[-2]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Where some rows' words are, for a base that weighs keys by their distance."""

    index: Tensor | None = None
    """Which rows; `None` for all."""
    length: int
    """How many keys of adapters they see."""
    shift: int = 0
    """How many places further back their queries are."""
    is_counted: bool = False
    """Whether their own keys are `length` places further back, though the queries are not."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPass:
    """One way in which all rows attend; of several the outputs are averaged."""

    fronts: tuple[FrontKeys, ...]
    """What is put in front."""
    moved: tuple[Moved, ...]
    """Where the words are; each row once."""
    share: float | Tensor
    """How much its output counts in the average: for all rows, or `(batch,)`."""

    @property
    def length(self) -> int:
        """By how much there are more keys."""
        return sum(front.length for front in self.fronts)

    def seen(self, batch: int, device: torch.device) -> Tensor | None:
        """Return which of them each row sees, `(batch, length)`; `None` if all rows see all."""
        if all(front.seen is None for front in self.fronts):
            return None
        parts = [
            torch.ones(batch, front.length, dtype=torch.bool, device=device)
            if front.seen is None
            else front.seen
            for front in self.fronts
        ]
        return torch.cat(parts, dim=1)


@final
class Joined:
    """Queries, keys and values with those of adapters in front, gated.

    A gate for all of a row multiplies its keys and values. One for each query, of a prefix, cannot:
    so its keys stand in channels of their own, against a copy of the queries that is multiplied,
    and its values come out in channels of their own, which are multiplied then. The scores, and
    with them the softmax over all keys, are those of gated keys.

    Args:
        query: `(batch, heads, n, d)`.
        key: `(batch, heads, m, d)`.
        value: `(batch, heads, m, e)`.
        fronts: What is put in front.
        site: For messages.
    """

    def __init__(
        self, query: Tensor, key: Tensor, value: Tensor, fronts: Sequence[FrontKeys], site: str
    ) -> None:
        # One gate is one for all of a row, also where there is one query.
        gates = [f.gates for f in fronts if f.gates is not None and f.gates.shape[1] != 1]
        for gate in gates:
            if gate.shape[1] != query.shape[2]:
                raise SiteError(
                    f"site {site!r}: the attention is given {gate.shape[1]} positions and has "
                    f"{query.shape[2]} queries, so that a gate for each cannot act; use another "
                    "gate than 'token'."
                )
        self.site = site
        self.gates, self.width, self.size = gates, value.shape[-1], query.shape[-1]
        keys, values, apart = [], [], 0
        for front in fronts:
            own = [_in_heads(front.keys, key, site), _in_heads(front.values, value, site)]
            place = 0
            if front.gates is not None and front.gates.shape[1] == 1:
                own = [
                    rows * gate.unsqueeze(1).to(rows.dtype)
                    for rows, gate in zip(own, _each(front.gates), strict=True)
                ]
            elif front.gates is not None:
                apart += 1
                place = apart
            keys.append(self._at(own[0], place))
            values.append(self._at(own[1], place))
        self.keys = torch.cat([*keys, self._at(key, 0)], dim=2)
        self.values = torch.cat([*values, self._at(value, 0)], dim=2)
        gated = [query * _each(gate)[0].unsqueeze(1).to(query.dtype) for gate in gates]
        self.query = torch.cat([query, *gated], dim=-1) if gates else query

    def _at(self, rows: Tensor, place: int) -> Tensor:
        """Put rows into the channels of a place, among those of all gates and the base's own."""
        if not self.gates:
            return rows
        width = rows.shape[-1]
        return F.pad(rows, (width * place, width * (len(self.gates) - place)))

    def scaled(self, settings: dict[str, Any], function: Callable[..., Any]) -> dict[str, Any]:
        """Name the scale of the scores, which would else follow from the number of channels.

        Raises:
            SiteError: If the function that computes them takes no scale.
        """
        if not self.gates:
            return settings
        if "scaling" not in inspect.signature(function).parameters:
            raise SiteError(
                f"site {self.site!r}: this attention's function takes no scale, so that a gate for "
                "each query cannot act; use another gate than 'token', or "
                "model.set_attn_implementation('sdpa')."
            )
        given = settings.get("scaling")
        return settings | {"scaling": self.size**-0.5 if given is None else given}

    def gated(self, output: Tensor) -> Tensor:
        """Return `(batch, n, heads, e)` from what came out in channels of their own."""
        if not self.gates:
            return output
        own, *parts = torch.split(output, self.width, dim=-1)
        for gate, part in zip(self.gates, parts, strict=True):
            own = own + part * _each(gate)[1].unsqueeze(2).to(part.dtype)
        return own


def _each(gates: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gates of keys and those of values."""
    return gates[..., :1], gates[..., -1:]


def _in_heads(rows: Tensor, like: Tensor, site: str) -> Tensor:
    """Split `(batch, length, width)` or, for every row alike, `(length, width)` into heads.

    Args:
        rows: Keys or values.
        like: The base's, `(batch, heads, n, d)`.
        site: For messages.
    """
    batch, heads, _, size = like.shape
    if rows.shape[-1] != heads * size:
        raise SiteError(
            f"site {site!r}: the adapter's keys or values have {rows.shape[-1]} channels, but the "
            f"attention has {heads} heads of {size}; its maps were misread, use another method."
        )
    split = rows.to(like.dtype).view(*rows.shape[:-1], heads, size).transpose(-3, -2)
    return split.expand(batch, -1, -1, -1)
