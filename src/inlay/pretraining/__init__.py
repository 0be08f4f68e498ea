"""Train a base from nothing, or train one on, with a text's own words as the answers."""
