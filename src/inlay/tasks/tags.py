"""The answer of a tagging: a tag for each word, and the entities that the tags make."""

from dataclasses import dataclass
from typing import Any, final

from typing_extensions import override

from inlay.data.forms.tagged import worded
from inlay.metrics.tagging import Span
from inlay.tasks.base import AbstractPrediction


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Tags(AbstractPrediction):
    """A tag for each token, how probable each is, and the entities they make.

    The confidence is the probability of the least sure tag, and that of an entity the same among
    its own tags.

    Args:
        text: What was asked: the raw text, or the tokens with spaces between.
        tokens: Its words.
        places: The first character of each token in `text` and the one after its last.
        tags: IOB2 for entities, one for each token.
        spans: Type, first token and the one after the last of each entity; `None` if the tags mark
            no entities, as those of parts of speech.
        probabilities: Of each tag.
        is_raw: Whether the text was split here.
    """

    text: str
    tokens: tuple[str, ...]
    places: tuple[tuple[int, int], ...]
    tags: tuple[str, ...]
    spans: tuple[Span, ...] | None
    probabilities: tuple[float, ...]
    is_raw: bool = False

    @property
    @override
    def answer(self) -> str:
        return worded(self.tokens, self.tags)

    @property
    @override
    def confidence(self) -> float:
        return min(self.probabilities, default=1.0)

    def entities(self) -> list[dict[str, Any]]:
        """Return type, text, characters in the text and probability of each entity."""
        found = []
        for kind, first, last in self.spans or ():
            start, end = self.places[first][0], self.places[last - 1][1]
            found.append(
                {
                    "type": kind, "text": self.text[start:end], "start": start, "end": end,
                    "probability": round(min(self.probabilities[first:last]), 6),
                }
            )  # fmt: skip
        return found

    @override
    def record(self, top: int) -> dict[str, Any]:
        own = {} if self.spans is None else {"entities": self.entities()}
        return {
            "tokens": list(self.tokens), "tags": list(self.tags), **own,
            "confidence": round(self.confidence, 6),
        }  # fmt: skip

    @override
    def line(self, top: int) -> str:
        if self.spans is None:
            return f"{self.answer}  {self.confidence:.2f}"
        found = ", ".join(
            f"{own['text']} ({own['type'] or 'entity'}) {own['probability']:.2f}"
            for own in self.entities()
        )
        return found or f"(nothing found)  {self.confidence:.2f}"

    @override
    def columns(self, top: int) -> dict[str, Any]:
        """Return the tags and entities; the words too where the text was split here."""
        own: dict[str, Any] = {"predicted_tokens": list(self.tokens)} if self.is_raw else {}
        own["predicted_tags"] = list(self.tags)
        return own if self.spans is None else {**own, "predicted_entities": self.entities()}
