"""The activations that methods share, by the names the field uses."""

from collections.abc import Callable

from torch import nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "gelu_new": lambda: nn.GELU(approximate="tanh"),
    "swish": nn.SiLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
    "relu6": nn.ReLU6,
    "mish": nn.Mish,
    "identity": nn.Identity,
}
"""Name -> a maker of the activation as a module. `gelu_new` is the tanh approximation."""
