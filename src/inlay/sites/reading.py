"""Read a site's tensors in one forward pass, in the one form that methods see."""

import copy
from typing import Protocol, final

import torch
from torch import Tensor, nn

from inlay.errors import SiteError
from inlay.sites.sitemap import Site
from inlay.sites.tensors import Index, entries, num_entries


class Read(Protocol):
    """Gives what a method asks for at a site in one forward pass."""

    def __call__(self, name: str, changed: Tensor | None = None) -> Tensor:
        """Return `x`, `r`, `x+r`, `norm(x+r)`, `norm(x+r), r` or `in`; channels last.

        Args:
            name: Which of them.
            changed: `x` as other adapters have changed it, or `None` for the base's own.
        """

    def rows(self, index: Index) -> "Read":
        """Return the same for some entries of the first dimension only."""


@final
class Form:
    """The shape in which methods see a site's tensors: batch first, channels last.

    Args:
        site: The site.
        base: The shape of `x` in the base.
        outer: Batch and positions, where the base has flattened them into one.
    """

    def __init__(self, site: Site, base: torch.Size, outer: torch.Size | None = None) -> None:
        self.channel_dim, self.base, self.outer = site.channel_dim, base, outer

    def given(self, tensor: Tensor) -> Tensor:
        """Turn a tensor of the base (`x`, or the stream in any view) into the methods' form."""
        if self.outer is not None:
            return tensor.reshape(*self.outer, tensor.shape[-1])
        # Where nothing changes there is no operation: an adapter that is switched off costs none.
        shaped = tensor if tensor.shape == self.base else tensor.reshape(self.base)
        return shaped if self.channel_dim == -1 else shaped.movedim(self.channel_dim, -1)

    def back(self, tensor: Tensor) -> Tensor:
        """Turn a method's tensor into the form that the base uses for `x`."""
        if self.outer is not None:
            return tensor.reshape(self.base)
        return tensor if self.channel_dim == -1 else tensor.movedim(-1, self.channel_dim)

    def rows(self, number: int) -> "Form":
        """Return the form of a part of the first dimension."""
        form = copy.copy(self)
        leading = self.base[0] if self.outer is None else self.outer[0]
        form.base = torch.Size((number * self.base[0] // leading, *self.base[1:]))
        form.outer = None if self.outer is None else torch.Size((number, *self.outer[1:]))
        return form


@final
class Reader:
    """Gives the tensors of one site in one forward pass."""

    def __init__(
        self,
        site: Site,
        x: Tensor,
        form: Form,
        *,
        stream: Tensor | None = None,
        norm: nn.Module | None = None,
        map_input: Tensor | None = None,
    ) -> None:
        self.site, self.x, self.form, self.norm = site, x, form, norm
        self.stream, self.map_input = stream, map_input

    def __call__(self, name: str, changed: Tensor | None = None) -> Tensor:
        """Return one of the site's tensors, see `Read`."""
        x = self.x if changed is None else self.form.back(changed)
        if name == "x":
            return self.form.given(x)
        if name == "in" and self.map_input is not None:
            return self.map_input
        if self.stream is None:
            raise SiteError(f"{name!r} cannot be read at site {self.site.name!r}.")
        stream = self.stream.reshape(x.shape)
        if name == "r":
            return self.form.given(stream)
        total = stream + x if self.site.scale == 1 else stream + x * self.site.scale
        if name.startswith("norm(x+r)") and self.norm is not None:
            total = self.norm.forward(total)  # `forward`: the norm's own hooks are not meant
        if name == "norm(x+r), r":
            return torch.cat([self.form.given(total), self.form.given(stream)], dim=-1)
        return self.form.given(total)

    def rows(self, index: Index) -> "Reader":
        """Return the reader of some entries of the first dimension."""
        form = self.form.rows(num_entries(index))

        def picked(tensor: Tensor) -> Tensor:
            return form.back(entries(self.form.given(tensor), index))

        given = self.map_input
        return Reader(
            self.site,
            picked(self.x),
            form,
            stream=None if self.stream is None else picked(self.stream),
            norm=self.norm,
            map_input=None if given is None else entries(given, index),
        )
