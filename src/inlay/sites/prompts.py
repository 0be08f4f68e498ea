"""Put vectors in front of the word vectors, and take their positions out again at the end.

The stack that looks up the words runs on a longer sequence; everything before and behind it sees
the caller's positions. A cache that is filled this way holds the vectors' positions too.
"""

import inspect
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from inlay.errors import AdapterError, SiteError
from inlay.sites.filled import Filled, seen_by
from inlay.sites.sitemap import Site, SiteMap
from inlay.sites.tensors import first_float_argument, replace_first_argument
from inlay.sites.vectors import Vectors

_STATES, _MASK = "encoder_hidden_states", "encoder_attention_mask"
"""What a stack is given of the one whose positions it reads."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PromptPlace:
    """Where vectors go in front of the word vectors, and where their positions are taken out."""

    site: str
    stack: str
    """Path of the module that takes `input_ids` or `inputs_embeds`, looks up and runs blocks."""
    table: str
    """Path of the table of word vectors."""
    output: str
    """Path of the module that gives the last hidden state."""
    rest: tuple[str, ...]
    """Paths of the stack's further parts; one that runs behind the output, such as a pooler, is
    to see the caller's positions."""
    readers: tuple[str, ...] = ()
    """Paths of other stacks that read this one's positions, with a mask of them."""


class PromptSource(Protocol):
    """What has vectors to put in front."""

    def prompts(self, site: str, words: Tensor) -> Vectors | None:
        """Return the vectors of all rows, in the order in which they are put, if there are any.

        Args:
            site: Where words enter.
            words: Anything with one entry for each row of the batch.
        """

    def returns_prompts(self, site: str) -> bool:
        """Tell whether what the model returns shall have the vectors' positions too."""


def prompt_place(
    site: Site, sites: SiteMap, model: nn.Module, *, is_cut: bool = True
) -> PromptPlace:
    """Find the stack that a prompt can be given to.

    Args:
        site: Where words enter.
        sites: The model's sites.
        model: The model.
        is_cut: Whether the vectors' positions are taken out again behind the blocks. In a pair of
            encoder and decoder they cannot be, as the decoder reads the encoder's positions.

    Raises:
        SiteError: If the model cannot run on a longer sequence than it was given.
    """
    blocks = [s for s in sites if s.kind == "block" and s.submodel == site.submodel]
    ends = [s for s in sites if s.kind == "output" and s.submodel == site.submodel]
    refusal = f"site {site.name!r}: no vectors can be put in front of the word vectors, because "
    stacks = sites.submodels()
    if len(stacks) > 1 and (is_cut or site.submodel != stacks[0]):
        raise SiteError(
            f"{refusal}this model has several stacks ({', '.join(stacks)}), which read one "
            f"another's positions. Use Prompt(returned=True) with submodel={stacks[0]!r}, which "
            "lets them be read, or prefix."
        )
    if site.point != "out" or not ends:
        raise SiteError(f"{refusal}this model does not look words up in a table. Use prefix.")
    inside = [ends[0].module, *(block.module for block in blocks)]
    if len(stacks) == 1:  # the stacks of a pair may share a table that lies beside them
        inside.insert(0, site.module)
    needed = {"inputs_embeds", "attention_mask"}
    if any(block.causal for block in blocks):
        needed.add("past_key_values")
    around = _around(model, inside, needed)
    if not around:
        raise SiteError(
            f"{refusal}no module around its blocks takes {', '.join(sorted(needed))}. Use prefix "
            "instead."
        )
    stack = max(around, key=len)
    children = {
        f"{stack}.{name}" if stack else name: child
        for name, child in model.get_submodule(stack).named_children()
    }
    rest = tuple(
        path
        for path, child in children.items()
        if next(child.parameters(), None) is not None
        and not any(name == path or name.startswith(f"{path}.") for name in [site.module, *inside])
    )
    return PromptPlace(
        site=site.name, stack=stack, table=site.module, output=ends[0].module, rest=rest,
        readers=_readers(site, sites, model, refusal),
    )  # fmt: skip


def _around(model: nn.Module, inside: list[str], needed: set[str]) -> list[str]:
    """List the modules that hold all of these and take these arguments."""
    return [
        path
        for path, module in model.named_modules()
        if all(path == "" or name.startswith(f"{path}.") for name in inside)
        and needed <= set(inspect.signature(module.forward).parameters)
    ]


def _readers(site: Site, sites: SiteMap, model: nn.Module, refusal: str) -> tuple[str, ...]:
    """Find the stacks that read the positions of the one where words enter."""
    readers = []
    for other in sites.submodels()[1:]:
        blocks = [s.module for s in sites if s.kind == "block" and s.submodel == other]
        around = _around(model, blocks, {_STATES, _MASK})
        if not around:
            raise SiteError(
                f"{refusal}no module around the blocks of {other!r} takes {_MASK}. Use prefix."
            )
        readers.append(max(around, key=len))
    return tuple(readers)


@final
class _Pass:
    """What a forward pass began with, and whether it is behind the blocks."""

    def __init__(self) -> None:
        self.vectors: Vectors | None = None
        """What is to be taken out again."""
        self.words = 0
        """How many words the vectors were put in front of."""
        self.is_behind = False


@final
class _ThreadState(threading.local):
    """This thread's forward pass, in an object: what compiled code sets here itself is lost."""

    def __init__(self) -> None:
        self.now = _Pass()

    def __reduce__(self) -> tuple[type["_ThreadState"], tuple[()]]:
        return _ThreadState, ()


@final
class PromptHooks:
    """The hooks that insert and take out, for one model.

    Args:
        place: Where.
        source: Gives the vectors at each forward pass.
    """

    def __init__(self, place: PromptPlace, source: PromptSource) -> None:
        self.place, self.source = place, source
        self.local = _ThreadState()
        self.filled = Filled()

    @property
    def thread(self) -> _Pass:
        """The forward pass that runs in this thread."""
        return self.local.now

    def insert(self, model: nn.Module) -> list[RemovableHandle]:
        """Hook the start of the stack; call it before hooks that read the stack's arguments."""
        stack, table = model.get_submodule(self.place.stack), model.get_submodule(self.place.table)
        hook = _Insert(self, table, _names(stack))
        handles = [stack.register_forward_pre_hook(hook, with_kwargs=True)]
        for path in self.place.readers:
            reader = model.get_submodule(path)
            lengthen = _LengthenMask(self, _names(reader))
            handles.append(reader.register_forward_pre_hook(lengthen, with_kwargs=True))
        return handles

    def take_out(self, model: nn.Module) -> list[RemovableHandle]:
        """Hook the end of the stack; call it behind hooks that act on what comes out."""
        output = model.get_submodule(self.place.output)
        stack = model.get_submodule(self.place.stack)
        handles = [
            model.get_submodule(path).register_forward_pre_hook(_TakeOut(self), with_kwargs=True)
            for path in self.place.rest
        ]
        handles.append(output.register_forward_hook(_NoteEnd(self)))
        return [*handles, stack.register_forward_hook(_TakeOutAll(self))]


def _names(module: nn.Module) -> list[str]:
    return list(inspect.signature(module.forward).parameters)


@final
class _LengthenMask:
    """Lets a stack that reads another's positions see the vectors' too."""

    def __init__(self, hooks: PromptHooks, names: list[str]) -> None:
        self.hooks, self.names = hooks, names

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        given = dict(zip(self.names, args, strict=False)) | kwargs
        states, mask = given.get(_STATES), given.get(_MASK)
        if states is None:
            return None
        vectors = self.hooks.source.prompts(self.hooks.place.site, states)
        if vectors is None or (mask is None and vectors.lengths is None):
            return None
        length = vectors.length
        if mask is None:
            mask = states.new_ones(len(states), states.shape[1] - length, dtype=torch.long)
        if mask.ndim != 2 or mask.shape[1] + length != states.shape[1]:
            raise AdapterError(
                f"a prompt of {length} vectors stands before what this pair's encoder reads, but "
                f"the decoder is given {states.shape[1]} of its positions and a mask of "
                f"{list(mask.shape)}; let the encoder run with the adapter, and pass its own mask."
            )
        given[_MASK] = vectors.mask(mask, mask.shape[1])
        return (), given


@final
class _Insert:
    """Lengthens the arguments of the stack."""

    def __init__(self, hooks: PromptHooks, table: nn.Module, names: list[str]) -> None:
        self.hooks, self.table, self.names = hooks, [table], names

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        hooks, thread = self.hooks, self.hooks.thread
        thread.vectors, thread.is_behind = None, False
        given = dict(zip(self.names, args, strict=False)) | kwargs
        cache = given.get("past_key_values")
        past = seen_by(cache)
        hooks.filled.start(cache)
        ids, embeds = given.get("input_ids"), given.get("inputs_embeds")
        words: Any = ids if embeds is None else embeds
        vectors = hooks.source.prompts(hooks.place.site, words)
        if past:
            hooks.filled.check(cache, vectors)
        if vectors is None:
            return None
        if embeds is None:
            embeds = self.table[0](ids)
        batch, positions = embeds.shape[:2]
        _check_arguments(given, batch, positions)
        first = hooks.filled.first_words(cache, positions) if past else positions
        mask = given.get("attention_mask")
        if mask is None and vectors.lengths is not None:
            earlier = past - vectors.length if past else 0
            mask = torch.ones(batch, earlier + positions, dtype=torch.long, device=embeds.device)
        if mask is not None:
            given["attention_mask"] = vectors.mask(mask, first)
        if given.get("position_ids") is not None:
            given["position_ids"] = vectors.positions(
                given["position_ids"], mask, is_first=not past
            )
        elif past and vectors.lengths is not None:
            raise AdapterError(
                "a cache behind prompts of different lengths does not tell where words are; pass "
                "position_ids, the numbers that they have without the prompts, or generate with "
                "use_cache=False."
            )
        if not past:
            if given.get("token_type_ids") is not None:
                given["token_type_ids"] = vectors.types(given["token_type_ids"])
            given["inputs_embeds"], given["input_ids"] = vectors.before(embeds), None
            thread.words = positions
            if not hooks.source.returns_prompts(hooks.place.site):
                thread.vectors = vectors
            hooks.filled.begin(vectors, positions)
        return (), given


def _check_arguments(given: Mapping[str, Any], batch: int, positions: int) -> None:
    """Refuse arguments of the sequence's length that would no longer fit it."""
    mask, places = given.get("attention_mask"), given.get("position_ids")
    if mask is not None and not (isinstance(mask, Tensor) and mask.ndim == 2):
        raise AdapterError(
            "a prompt lengthens the sequence, and attention_mask is not of the form (batch, "
            "positions); pass such a mask, or generate with a dynamic cache."
        )
    known = {"input_ids", "attention_mask", "position_ids", "token_type_ids"}
    for name, value in given.items():
        shape = value.shape[:2] if isinstance(value, Tensor) else None
        is_odd = name not in known and isinstance(value, Tensor) and value.ndim == 2
        if (is_odd and shape == (batch, positions)) or (
            name == "position_ids" and places is not None and places.ndim != 2
        ):
            raise AdapterError(
                f"a prompt lengthens the sequence, and it is not known what {name} would be at "
                "its positions; leave it out, or use a prefix."
            )


@final
class _NoteEnd:
    """Notes that the last hidden state is there."""

    def __init__(self, hooks: PromptHooks) -> None:
        self.hooks = hooks

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        self.hooks.thread.is_behind = True


@final
class _TakeOut:
    """Leaves the caller's positions of what a part behind the last hidden state is given."""

    def __init__(self, hooks: PromptHooks) -> None:
        self.hooks = hooks

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        thread, x = self.hooks.thread, first_float_argument(args, kwargs)
        vectors = thread.vectors
        if vectors is None or not thread.is_behind or x is None:
            return None
        if x.ndim < 3 or x.shape[1] != vectors.length + thread.words:
            raise AdapterError(
                f"{type(module).__name__} behind the last block is given a position that the base "
                "picked itself, which is one of the prompt's; build the base without it "
                "(add_pooling_layer=False), or use a prefix."
            )
        return replace_first_argument(args, kwargs, vectors.without(x, 1, thread.words))


@final
class _TakeOutAll:
    """Leaves the caller's positions of what else the stack returns: states and attentions."""

    def __init__(self, hooks: PromptHooks) -> None:
        self.hooks = hooks

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        self.hooks.filled.note(output)
        vectors = self.hooks.thread.vectors
        if vectors is None:
            return None
        if isinstance(output, Mapping):
            for name in ("last_hidden_state", "hidden_states", "attentions"):
                if output.get(name) is not None:
                    output[name] = self._cut(output[name], vectors)  # type: ignore[index]
            return output
        return self._cut(output, vectors)

    def _cut(self, value: Any, vectors: Vectors) -> Any:
        words = self.hooks.thread.words
        total = vectors.length + words
        if isinstance(value, tuple | list):
            return type(value)(self._cut(item, vectors) for item in value)
        if not isinstance(value, Tensor):
            return value
        if value.ndim == 3 and value.shape[1] == total:
            return vectors.without(value, 1, words)
        if value.ndim == 4 and value.shape[2] == value.shape[3] == total:
            return vectors.without(vectors.without(value, 2, words), 3, words)
        return value
