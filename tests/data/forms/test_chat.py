"""Conversations: who may speak when, and what is learnt."""

import json
from collections import Counter

import pytest

from inlay.data.forms.base import Place
from inlay.data.forms.chat import Chat

USER = {"role": "user", "content": "hello"}
BOT = {"role": "assistant", "content": "hi"}
SYSTEM = {"role": "system", "content": "be kind"}


def read(messages, *, has_target=True):
    return Chat().example(
        {"messages": messages}, Place("f", 1), Counter(), has_target=has_target
    )  # fmt: skip


def test_the_last_answer_is_what_is_learnt():
    row = read([SYSTEM, USER, BOT, USER, {"role": "assistant", "content": "bye"}])
    assert row.label == "bye"
    assert row.parts == {"messages": [SYSTEM, USER, BOT, USER]}
    assert row.text.splitlines()[0] == "system: be kind"


def test_names_of_other_tools_are_understood():
    row = read([{"from": "human", "value": "hello"}, {"from": "gpt", "value": "hi"}])
    assert (row.parts["messages"], row.label) == ([USER], "hi")


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([USER, USER, BOT], "user follows user: user and assistant speak in turn, user first"),
        ([BOT, USER], "assistant follows the start: user and assistant speak in turn, user first"),
        ([USER], "the last message is not the assistant's, so there is nothing to learn"),
        ([], "messages are empty"),
        ("hello", "messages are a text, not a list"),
        (None, "messages are missing"),
        (["hello"], "message 0 is a text, not an object"),
        ([USER, {"role": "tool", "content": "x"}], "message 1 has the role 'tool'"),
        ([USER, SYSTEM, BOT], "message 1 has the role 'system'"),
        ([USER, {"role": "assistant", "content": " "}], "message 1: content is empty"),
        ([USER, {"role": "assistant"}], "message 1: content is missing"),
    ],
)
def test_what_cannot_be_used_says_why(messages, reason):
    assert read(messages).startswith(reason)


def test_a_question_ends_with_the_user():
    assert read([USER], has_target=False).parts == {"messages": [USER]}
    assert read([SYSTEM], has_target=False).startswith("the last message is not the user's")
    assert Chat().cells_of("hello") == {"messages": [USER]}
    assert Chat().cells_of([USER, BOT, USER]) == {"messages": [USER, BOT, USER]}


def test_messages_in_a_table_are_json():
    row = read(json.dumps([USER, BOT]))
    assert (row.parts["messages"], row.label) == ([USER], "hi")
    assert read("[hello]") == "messages are a text, not a list"


def test_what_was_answered_is_asked_anew_and_counted():
    counts = Counter()
    cells = {"messages": [USER, BOT]}
    row = Chat().example(cells, Place("f", 1), counts, has_target=False)
    assert (row.parts["messages"], row.label) == ([USER], "")
    assert counts == {"answer of the assistant at the end left out, to be written anew": 1}
