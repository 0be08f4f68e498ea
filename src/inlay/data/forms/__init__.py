"""One file for each form that rows can have: a label, tags, answers, choices, a target text."""
