"""Rows of token ids as a model is given them."""

import torch


def ids(*rows, length=8):
    padded = [[*row, *[0] * (length - len(row))] for row in rows]
    mask = [[1] * len(row) + [0] * (length - len(row)) for row in rows]
    return {"input_ids": torch.tensor(padded), "attention_mask": torch.tensor(mask)}
