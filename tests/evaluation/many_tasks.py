"""Small sets of many tasks, an adapter trained on each, and what they are asked."""

import json

import pytest

import inlay
from inlay.training import finish as finish_module
from tests import tiny

TOPICS = list(tiny.TOPICS)
WORDS = tiny.rows(48, seed=11)
"""Texts with their topics."""


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def tagged(text):
    words = text.split()
    of = {word: topic for topic, own in tiny.TOPICS.items() for word in own}
    return {"tokens": words, "tags": [f"B-{of[word]}" if word in of else "O" for word in words]}


def asked(text, topic):
    """A question with its answer: the first word of the topic."""
    word = next(word for word in text.split() if word in tiny.TOPICS[topic])
    answers = {"text": [word], "answer_start": [f" {text} ".index(f" {word} ")]}
    return {"question": f"what {topic}", "context": text, "answers": answers}


def chosen(text, topic):
    return {"question": text, "choices": TOPICS, "label": TOPICS.index(topic)}


def scored(text, topic):
    return {"text": text, "text_pair": topic, "score": len(text.split()) + 0.25}


SETS = {
    "topics": ("text-classification", [{"text": t, "label": topic} for t, topic in WORDS]),
    "sides": (
        "text-classification",
        [{"text": t, "text_pair": topic, "label": "ab"[len(t) % 2]} for t, topic in WORDS],
    ),
    "sets": ("multi-label", [{"text": t, "labels": [topic, "any"]} for t, topic in WORDS]),
    "tags": ("tagging", [tagged(text) for text, _ in WORDS]),
    "questions": ("question-answering", [asked(*row) for row in WORDS]),
    "choices": ("multiple-choice", [chosen(*row) for row in WORDS]),
    "lengths": ("regression", [scored(*row) for row in WORDS]),
    "names": ("similarity", [{"text": t, "label": topic} for t, topic in WORDS]),
}
"""Name -> task and rows; heads of 1, 2, 3 and more outputs, single texts, pairs, words."""

INPUTS = {
    "topics": ["my visa card expired", "the interest of a mortgage"],
    "sides": [("my visa card", "expired"), ("a mortgage", "interest")],
    "sets": ["my visa card expired"],
    "tags": ["my visa card expired today", ["two", "words"]],
    "questions": [("what card", "my visa card expired today")],
    "choices": [{"question": "my visa card", "choices": ["loan", "card"]}],
    "lengths": [("a text", "and another one")],
    "names": ["my visa card expired"],
}


def train_all(folder, root):
    """Return name -> folder of a run; the last one is stacked on the first."""
    settings = {**tiny.SETTINGS, "epochs": 1, "base": str(tiny.shared_base(root)), "replay": False}
    runs = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finish_module, "check_reload", lambda *given: {"rows": 0})
        for name, (task, rows) in SETS.items():
            data = write(folder / f"{name}.jsonl", rows)
            below = {"stack_on": str(runs["topics"])} if name == "names" else {}
            out = folder / f"run-{name}"
            runs[name] = inlay.train(data, task=task, out=str(out), **settings, **below).folder
    return runs
