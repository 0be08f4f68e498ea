"""A gate on an adapter's own update, learned from what the adapter reads (UniPELT, Mao 2022)."""

from typing import Literal, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from inlay.errors import AdapterError, ConfigError
from inlay.methods.base import Place, check_choice

Gating = bool | Literal["token", "sequence", "padded"]
"""How many gates there are. `"sequence"` is one for each sequence, averaged over its words, as in
the paper; `"token"` is one for each position; `"padded"` averages over all positions, padding and
later ones too, as AdapterHub does. `True` is `"token"` in a causal base, whose words must not see
later ones, and else `"sequence"`; `False` is none."""

_DEVIATION = 0.02
"""Of the weights at the start, so that every gate is about a half open."""


def check_gating(owner: str, gate: Gating) -> None:
    """Refuse a word that is no kind of gate.

    Raises:
        ConfigError: If it is none.
    """
    check_choice(owner, "gate", gate, (True, False, "token", "sequence", "padded"))


def made_gate(
    owner: str, gate: Gating, place: Place, width: int, number: int = 1
) -> "InputGate | None":
    """Make the gate for one place; `None` if there is none.

    Args:
        owner: The method's name, for messages.
        gate: The setting.
        place: The place.
        width: Channels of what the gate reads.
        number: Gates side by side.

    Raises:
        ConfigError: If one gate for a whole sequence would let words see later ones.
    """
    if gate is False:
        return None
    if gate is True:
        gate = "token" if place.causal else "sequence"
    if gate == "sequence" and place.causal:
        raise ConfigError(
            f"{owner}(gate='sequence'): in a causal base a gate for a whole sequence would let "
            "words see later ones; use gate='token', or gate=True, which is that there."
        )
    return InputGate(width, number, kind=gate)


@final
class InputGate(nn.Module):
    """`sigmoid(W h + b)` for each position, or its mean over those of a sequence.

    Mao et al. 2022 (arXiv:2110.07577), section 3.2. Parameters: `number * (width + 1)`.

    Args:
        width: Channels of `h`.
        number: Gates side by side.
        kind: A `Gating` that is a word.
    """

    def __init__(
        self, width: int, number: int, *, kind: Literal["token", "sequence", "padded"]
    ) -> None:
        super().__init__()
        self.kind = kind
        self.linear = nn.Linear(width, number)
        nn.init.normal_(self.linear.weight, std=_DEVIATION)
        nn.init.zeros_(self.linear.bias)

    @property
    def sees_neighbours(self) -> bool:
        """Whether a position's gate depends on other positions."""
        return self.kind != "token"

    @override
    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the gates, `(batch, positions or 1, number)`.

        Args:
            inputs: `h`, `(batch, positions, width)`.
            mask: `(batch, positions)`, not zero where there is no padding.

        Raises:
            AdapterError: If sequences cannot be told apart in `inputs`.
        """
        gates = torch.sigmoid(self.linear(inputs.to(self.linear.weight.dtype)))
        if self.kind == "token":
            return gates
        if inputs.ndim < 3:
            raise AdapterError(
                "a gate for each sequence cannot act here, where the base has the positions of "
                "all sequences in one dimension; use gate='token'."
            )
        if mask is None or self.kind == "padded" or inputs.ndim > 3:
            return gates.mean(dim=tuple(range(1, inputs.ndim - 1)), keepdim=True)
        words = (mask != 0).unsqueeze(-1).to(gates.dtype)
        return (gates * words).sum(1, keepdim=True) / words.sum(1, keepdim=True).clamp_min(1)
