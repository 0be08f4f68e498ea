"""Conversations: messages with a role and a content each."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar, final

from typing_extensions import override

from inlay.data.forms.base import AbstractForm, Given, Place, Role, kind_of, parsed, text_of
from inlay.data.rows import Example
from inlay.data.table import MISSING, Table

_ROLES = ("system", "user", "assistant")
_NAMES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}


@final
class Chat(AbstractForm):
    """`messages`: an optional system message, then user and assistant in turn.

    The last message of the assistant is the target; `parts` holds `messages` without it.
    """

    name: ClassVar[str] = "chat"
    roles: ClassVar[tuple[Role, ...]] = (
        Role("messages", ("messages", "conversations", "conversation", "dialogue")),
    )

    @override
    def fits(self, table: Table, columns: Mapping[str, str]) -> bool:
        return True

    @override
    def example(
        self, cells: Mapping[str, Any], place: Place, counts: Counter[str], *, has_target: bool
    ) -> Example | str:
        messages = _messages(parsed(cells.get("messages", MISSING)))
        if isinstance(messages, str):
            return messages
        roles = [message["role"] for message in messages]
        turns = roles[1:] if roles[0] == "system" else roles
        for number, role in enumerate(turns):
            if role != ("user", "assistant")[number % 2]:
                before = turns[number - 1] if number else "the start"
                return f"{role} follows {before}: user and assistant speak in turn, user first"
        target = ""
        if has_target:
            if not turns or turns[-1] != "assistant":
                return "the last message is not the assistant's, so there is nothing to learn"
            target = messages.pop()["content"]
        elif turns and turns[-1] == "assistant":
            messages.pop()
            counts["answer of the assistant at the end left out, to be written anew"] += 1
        elif not turns:
            return "the last message is not the user's, so there is nothing to answer"
        text = "\n".join(f"{message['role']}: {message['content']}" for message in messages)
        return Example(text, None, target, place.file, place.line, {"messages": messages})

    @override
    def asked(self, row: Example) -> dict[str, Any]:
        return {"messages": (row.parts or {})["messages"]}

    @override
    def cells_of(self, given: Given) -> dict[str, Any]:
        if isinstance(given, str):
            return {"messages": [{"role": "user", "content": given}]}
        if isinstance(given, Mapping):
            return super().cells_of(given)
        return {"messages": list(given)}


def _messages(value: Any) -> list[dict[str, str]] | str:
    """Return messages with the two keys that every chat template knows, or what is wrong."""
    if not isinstance(value, list):
        absent = value is MISSING or value is None
        return "messages are missing" if absent else f"messages are {kind_of(value)}, not a list"
    if not value:
        return "messages are empty"
    messages = []
    for number, message in enumerate(value):
        if not isinstance(message, dict):
            return f"message {number} is {kind_of(message)}, not an object"
        role = message.get("role", message.get("from"))
        role = _NAMES.get(str(role), role)
        if role not in _ROLES or (role == "system" and number):
            return (
                f"message {number} has the role {role!r}; there are user and assistant, and "
                "system as the first"
            )
        content, fault = text_of(message.get("content", message.get("value", MISSING)), "content")
        if fault:
            return f"message {number}: {fault}"
        messages.append({"role": str(role), "content": content})
    return messages
