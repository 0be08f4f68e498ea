"""What the active composition puts in front of keys or of words: for all rows, or row by row."""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from inlay.adapters.entry import Entry
from inlay.adapters.programs import Around, mask_for
from inlay.adapters.rows import RowGroups
from inlay.compose.average import Average
from inlay.compose.nodes import names_in
from inlay.compose.plan import Plan, Program
from inlay.compose.stack import Stack
from inlay.methods.base import (
    AbstractAttentionLayer,
    AbstractLayer,
    AbstractPromptLayer,
    AbstractSiteMethod,
)
from inlay.methods.prefix import Prefix
from inlay.methods.prompt import Prompt
from inlay.sites.front_keys import FrontKeys, FrontPass, Moved
from inlay.sites.vectors import Vectors


def strands(program: Program, kept: Container[str]) -> dict[tuple[str, ...], float]:
    """Multiply a program out: adapters that act one after the other -> their share of an average.

    Args:
        program: The program. What is inside a `Fuse` or `Route` does not count.
        kept: The adapters that matter; strands that differ in others are one.
    """
    if isinstance(program, str):
        return {(program,) if program in kept else (): 1.0}
    found: dict[tuple[str, ...], float] = {}
    if isinstance(program, Average):
        for child, weight in zip(program.children, program.weights, strict=True):
            for names, share in strands(child, kept).items():
                found[names] = found.get(names, 0.0) + weight * share
        return found
    if not isinstance(program, Stack):
        return {(): 1.0}
    before: dict[tuple[str, ...], float] = {(): 1.0}
    for child in program.children:
        found = {}
        for names, share in before.items():
            for more, part in strands(child, kept).items():
                found[names + more] = found.get(names + more, 0.0) + share * part
        before = found
    return before


def shifts_of(program: Program, entry: Callable[[str], Entry]) -> set[int]:
    """Return by how many positions a program moves words back; several if its strands differ."""
    shifts: dict[str, int] = {}
    for name in names_in(program):
        method = entry(name).method
        members = method.members() if isinstance(method, AbstractSiteMethod) else ()
        own = [x.length for x in members if isinstance(x, Prefix) and x.takes_positions]
        if own:
            shifts[name] = sum(own)
    return {sum([shifts[name] for name in names]) for names in strands(program, shifts)}


def prompts_of(entry: Entry) -> list[Prompt]:
    """List what an adapter puts in front of the words."""
    method = entry.method
    members = method.members() if isinstance(method, AbstractSiteMethod) else ()
    return [member for member in members if isinstance(member, Prompt)]


def inserted_by(program: Program, entry: Callable[[str], Entry]) -> int:
    """Count the vectors that a program puts in front of the words."""
    prompts = [prompts_of(entry(name)) for name in names_in(program)]
    return sum([prompt.length for own in prompts for prompt in own])


def positions_before(program: Program, entry: Callable[[str], Entry]) -> int:
    """Count the base's positions that a program takes: of vectors, and by moving words back."""
    return inserted_by(program, entry) + max(shifts_of(program, entry))


@final
@dataclass(frozen=True, slots=True)
class Fronts:
    """What stands in front in one forward pass."""

    plan: Plan
    """Which rows run through what."""
    groups: Callable[[Tensor], RowGroups]
    """Groups the rows of a tensor by program."""
    around: Around
    """The forward pass."""

    def prefixes(self, site: str, query: Tensor, states: Tensor | None) -> list[FrontPass]:
        """Return the ways in which each row attends; see `PrefixSource`."""
        if not self.plan.only:
            return self._prefixes_by_row(site, query, states)
        program = self.plan.only[0]
        shift = min(shifts_of(program, self.around.entry))
        found = []
        for layers, share in self._attending(program, site):
            fronts = tuple(self._of_all(x, states) for x in layers)
            moved = Moved(
                length=sum(len(front.keys) for front in fronts), shift=shift,
                is_counted=any(x.counted for x in layers),
            )  # fmt: skip
            found.append(FrontPass(fronts=fronts, moved=(moved,), share=share))
        return found

    def prompts(self, site: str, words: Tensor) -> Vectors | None:
        """Return what is put in front of each row's words; see `PromptSource`."""
        if self.plan.only:
            layers = self._prompting(self.plan.only[0], site)
            return Vectors(torch.cat([x() for x in layers])) if layers else None
        groups = self.groups(words)
        own = [self._prompting(program, site) for program in groups.index]
        if not any(own):
            return None
        given = [[x() for x in layers] for layers in own]
        some = next(vectors for parts in given for vectors in parts)
        rows = [torch.cat([some[:0], *parts]) for parts in given]
        lengths = [len(vectors) for vectors in rows]
        vectors = pad_sequence(rows, batch_first=True)[groups.numbers]
        if len(set(lengths)) == 1:
            return Vectors(vectors)
        return Vectors(vectors, torch.tensor(lengths, device=words.device)[groups.numbers])

    def shift(self, words: Tensor) -> int | Tensor:
        """Return by how much words stand further back; see `ShiftSource`."""
        shifts = [min(shifts_of(program, self.around.entry)) for program in self.plan.programs]
        if len(set(shifts)) == 1:
            return shifts[0]
        groups = self.groups(words)
        own = [min(shifts_of(program, self.around.entry)) for program in groups.index]
        return torch.tensor(own, device=words.device)[groups.numbers].unsqueeze(1)

    def _prefixes_by_row(self, site: str, query: Tensor, states: Tensor | None) -> list[FrontPass]:
        groups = self.groups(query)
        found = [self._attending(p, site) for p in groups.index]
        passes = []
        for number in range(max(map(len, found))):
            # A row with fewer strands than another has no share in the passes that are left.
            none: tuple[list[AbstractAttentionLayer], float] = ([], 0.0)
            chosen = [own[number] if number < len(own) else none for own in found]
            layers = [own for own, _ in chosen]
            given = [[x() for x in own] for own in layers]
            exact = torch.promote_types(query.dtype, torch.float32)
            shares = torch.tensor([share for _, share in chosen], device=query.device, dtype=exact)
            passes.append(
                FrontPass(
                    fronts=self._side_by_side(layers, given, groups, states),
                    moved=tuple(
                        Moved(
                            index=index, length=sum(len(keys) for keys, _ in pairs),
                            shift=min(shifts_of(program, self.around.entry)),
                            is_counted=any(x.counted for x in own),
                        )
                        for (program, index), own, pairs in zip(
                            groups.index.items(), layers, given, strict=True
                        )
                    ),
                    share=shares[groups.numbers],
                )
            )  # fmt: skip
        return passes

    def _side_by_side(
        self,
        layers: Sequence[Sequence[AbstractAttentionLayer]],
        given: Sequence[Sequence[tuple[Tensor, Tensor]]],
        groups: RowGroups,
        states: Tensor | None,
    ) -> tuple[FrontKeys, ...]:
        """Give each row the keys and values of its own program; what a row lacks is hidden.

        Args:
            layers: For each program, what it puts in front.
            given: The keys and values of each of them.
            groups: The rows of each program.
            states: What the attention is given.
        """
        gates = [
            [self._gates(x, states, index) for x in own]
            for own, index in zip(layers, groups.index.values(), strict=True)
        ]
        some = next((pair for own in given for pair in own), None)
        if some is None:
            return ()
        if all(gate is None for own in gates for gate in own):  # what has no gate can be one
            given = [[_end_to_end(own)] if own else [] for own in given]
            gates = [[None] if own else [] for own in given]
        fronts = []
        for place in range(max(map(len, given))):
            pairs = [
                own[place] if place < len(own) else (some[0][:0], some[1][:0]) for own in given
            ]
            keys, values = (
                pad_sequence(list(rows), batch_first=True)[groups.numbers]
                for rows in zip(*pairs, strict=True)
            )
            lengths = [len(pair[0]) for pair in pairs]
            seen = None
            if len(set(lengths)) > 1:
                own_length = torch.tensor(lengths, device=keys.device)[groups.numbers]
                seen = torch.arange(max(lengths), device=keys.device) < own_length.unsqueeze(1)
            own_gates = [own[place] if place < len(own) else None for own in gates]
            joined = _joined_gates(own_gates, groups)
            fronts.append(FrontKeys(keys, values, joined, seen))
        return tuple(fronts)

    def _gates(
        self, layer: AbstractAttentionLayer, states: Tensor | None, index: Tensor | None
    ) -> Tensor | None:
        """Return the gates of all rows, or of some of them."""
        if states is None:
            return None
        call = self.around.call
        if index is not None:
            call = call.rows(index, len(states))
            states = states.index_select(0, index)
        return layer.gates(states, mask_for(layer, states, call))

    def _of_all(self, layer: AbstractAttentionLayer, states: Tensor | None) -> FrontKeys:
        keys, values = layer()
        return FrontKeys(keys, values, self._gates(layer, states, None))

    def _attending(
        self, program: Program, site: str
    ) -> list[tuple[list[AbstractAttentionLayer], float]]:
        """Return what a program puts in front of an attention, with the share of each strand."""
        layers: dict[str, AbstractAttentionLayer] = {}
        for name in names_in(program):  # in loops, as closures are not traced by torch.compile
            layer = self._layer(name, site)
            if isinstance(layer, AbstractAttentionLayer):
                layers[name] = layer
        found = []
        for names, share in strands(program, layers).items():
            found.append(([layers[name] for name in names], share))
        return found

    def _prompting(self, program: Program, site: str) -> list[AbstractPromptLayer]:
        """Return what a program puts in front of the words; averages have none of it."""
        layers: dict[str, AbstractPromptLayer] = {}
        for name in names_in(program):
            layer = self._layer(name, site)
            if isinstance(layer, AbstractPromptLayer):
                layers[name] = layer
        (names,) = strands(program, layers)
        return [layers[name] for name in names]

    def _layer(self, name: str, site: str) -> AbstractLayer | None:
        """Return an adapter's layer at a site, if it has one that is not left out."""
        around = self.around
        layer = None if name == around.merged else around.entry(name).layer_at(site)
        return None if layer is None or around.drops(site, layer.training) else layer


def _end_to_end(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    keys, values = zip(*pairs, strict=True)
    return torch.cat(keys), torch.cat(values)


def _joined_gates(gates: Sequence[Tensor | None], groups: RowGroups) -> Tensor | None:
    """Join the gates of each program's rows to those of all rows; 1 where there is none."""
    some = [gate for gate in gates if gate is not None]
    if not some:
        return None
    positions = max(gate.shape[1] for gate in some)
    parts = []
    for gate, index in zip(gates, groups.index.values(), strict=True):
        shape = (len(index), positions, 2)
        parts.append(some[0].new_ones(shape) if gate is None else gate.expand(shape))
    return groups.joined(parts)
