"""Listen to one forward pass: what goes in and out of each module, window by window.

A window is one call of one candidate block. Only the modules that are not themselves inside a
deeper candidate write to it, so that a window stays as small as a block, whatever the model.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from inlay.sites.tensors import first_float, first_float_argument, is_float


@final
@dataclass(slots=True)
class Event:
    """A tensor that went into or came out of a module."""

    order: int
    point: Literal["in", "out"]
    module: str
    tensor: Tensor
    """The tensor itself, with its autograd graph."""
    value: Tensor
    """A copy made at once, still in the graph: the model may write over the tensor later."""


@final
@dataclass(slots=True)
class Window:
    """What one call of one candidate block did."""

    block: str
    container: str
    order: int
    events: list[Event] = field(default_factory=list)
    others: list[Tensor] = field(default_factory=list)
    """Floating-point arguments of the block besides the stream, such as the encoder's states."""
    calls: int = 1


@final
@dataclass(slots=True)
class Lookup:
    """An embedding table that was read: integer indices in, vectors out."""

    module: str
    order: int
    indices: Tensor
    width: int


@final
@dataclass(slots=True)
class Recording:
    """All that one forward pass showed outside of the windows."""

    root: list[Event]
    lookups: list[Lookup]
    order_of_block: dict[str, int]
    calls: dict[str, int]


def candidate_blocks(model: nn.Module) -> dict[str, str]:
    """Name the modules that may be blocks: path -> path of the container that repeats them.

    A container is a candidate when its elements are all of one class, or when no other candidate
    is above it (a hybrid may alternate two classes of block). Containers of different parts
    inside a block, such as attention followed by feed-forward, are thus no blocks.
    """
    found: dict[str, str] = {}
    for path, module in model.named_modules():
        if not isinstance(module, nn.ModuleList | nn.Sequential) or len(module) == 0:
            continue
        same_class = len({type(element) for element in module}) == 1
        if same_class or not any(path.startswith(f"{block}.") for block in found):
            for name, _ in module.named_children():
                found[f"{path}.{name}" if path else name] = path
    return found


def listen(
    model: nn.Module,
    inputs: Mapping[str, Any] | tuple[Any, ...],
    on_window: Callable[[Window], None],
) -> Recording:
    """Run one forward pass with hooks on every module and hand over each block's window.

    Args:
        model: Left in the mode and with the hooks it had.
        inputs: Keyword arguments, or a tuple of positional ones.
        on_window: Called with each block's first window as soon as it is complete, while the
            autograd graph from the block's inputs is alive.
    """
    ear = _Ear(model, on_window)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    handles = list(ear.install())
    try:
        with torch.enable_grad():
            if isinstance(inputs, Mapping):
                model(**inputs)
            else:
                model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
    return Recording(ear.root, ear.lookups, ear.order_of_block, ear.calls)


@final
class _Ear:
    """The hooks of `listen` and what they write."""

    def __init__(self, model: nn.Module, on_window: Callable[[Window], None]) -> None:
        self.model = model
        self.on_window = on_window
        self.containers = candidate_blocks(model)
        self.root: list[Event] = []
        self.lookups: list[Lookup] = []
        self.order_of_block: dict[str, int] = {}
        self.calls: dict[str, int] = {}
        self.stack: list[Window] = []
        self.clock = 0

    def install(self) -> Iterator[Any]:
        for path, module in self.model.named_modules():
            if path:
                yield module.register_forward_pre_hook(self.before(path), with_kwargs=True)
                yield module.register_forward_hook(self.after(path))

    def before(self, path: str) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            self.note_lookup(path, module, args)
            if path not in self.containers:
                self.write("in", path, first_float_argument(args, kwargs))
                return None
            self.write("in", path, first_float_argument(args, kwargs))
            self.calls[path] = self.calls.get(path, 0) + 1
            self.order_of_block.setdefault(path, self.clock)
            window = Window(path, self.containers[path], self.clock)
            self.stack.append(window)
            args, kwargs, floats = _fresh(args, kwargs)
            if floats:
                self.write("in", path, floats[0])
                window.others = floats[1:]
            return args, kwargs

        return hook

    def after(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: object) -> None:
            tensor = first_float(output)
            self.write("out", path, tensor)
            if self.lookups and self.lookups[-1].module == path and tensor is not None:
                self.lookups[-1].width = tensor.shape[-1]
            if path in self.containers:
                window = self.stack.pop()
                if self.calls[path] == 1:
                    self.on_window(window)
                self.write("out", path, tensor)

        return hook

    def write(self, point: Literal["in", "out"], path: str, tensor: Tensor | None) -> None:
        if tensor is None:
            return
        self.clock += 1
        events = self.stack[-1].events if self.stack else self.root
        if not self.stack:  # outside of blocks nothing is differentiated
            tensor = tensor.detach()
        events.append(Event(self.clock, point, path, tensor, tensor.clone()))

    def note_lookup(self, path: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        weight = getattr(module, "weight", None)
        is_table = isinstance(weight, nn.Parameter) and weight.ndim == 2
        if is_table and args and isinstance(args[0], Tensor) and not is_float(args[0]):
            self.clock += 1
            self.lookups.append(Lookup(path, self.clock, args[0].detach().clone(), 0))


def _fresh(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], list[Tensor]]:
    """Cut a block's floating-point arguments off the graph and make them differentiable.

    The copies are not leaves, because a model may write to its input in place.
    """
    floats: list[Tensor] = []

    def fresh(value: Any) -> Any:
        if not is_float(value):
            return value
        floats.append(value.detach().requires_grad_().clone())
        return floats[-1]

    args = tuple(fresh(value) for value in args)
    kwargs = {key: fresh(value) for key, value in kwargs.items()}
    return args, kwargs, floats
