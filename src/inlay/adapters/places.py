"""Count which places need hooks, so that one more adapter costs the same beside any number."""

from collections import Counter
from typing import TypeVar, final

from inlay.adapters.entry import Entry, needs_calls, reads_stream
from inlay.methods.base import AbstractAdapterLayer, AbstractAttentionLayer, AbstractPromptLayer
from inlay.sites.positions import Numbering

Key = TypeVar("Key", str, Numbering)


@final
class Places:
    """For each place, how many adapters need a hook there."""

    def __init__(self) -> None:
        self.sites: Counter[str] = Counter()
        self.streams: Counter[str] = Counter()
        self.heads: Counter[str] = Counter()
        self.attentions: Counter[str] = Counter()
        self.prompts: Counter[str] = Counter()
        self.numberings: Counter[Numbering] = Counter()
        """How words are numbered, of what moves them; one at most, as it is the base's way."""
        self.padding: Counter[str] = Counter()
        """Sites of what must know the padding."""

    def change(self, entry: Entry, by: int, *, heads: bool = True) -> bool:
        """Count an adapter in or out.

        Args:
            entry: The adapter.
            by: 1 or -1.
            heads: Whether its heads come or go with it; a merged adapter keeps them.

        Returns:
            Whether a place got its first adapter or lost its last.
        """
        layers = entry.layers.items()
        kinds = (
            (self.sites, AbstractAdapterLayer),
            (self.attentions, AbstractAttentionLayer),
            (self.prompts, AbstractPromptLayer),
        )
        parts = [(c, [site for site, x in layers if isinstance(x, kind)]) for c, kind in kinds]
        streams = [site for site, layer in layers if reads_stream(layer)]
        streams += [site for site, layer in entry.combiners.items() if reads_stream(layer)]
        parts.append((self.streams, streams))
        padding = [site for site, layer in layers if needs_calls(layer)]
        parts.append((self.padding, [*padding, *entry.combiners]))
        if heads:
            parts.append((self.heads, list(entry.own_heads)))
        changed = [_counted(counter, place, by) for counter, places in parts for place in places]
        if entry.numbering is not None:
            changed.append(_counted(self.numberings, entry.numbering, by))
        return any(changed)


def _counted(counter: Counter[Key], place: Key, by: int) -> bool:
    """Count a place in or out, and tell whether it came or went."""
    was = counter[place]
    counter[place] += by
    if not counter[place]:
        del counter[place]
    return not was or was + by == 0
