"""Reading some rows of a site equals reading all and picking."""

import pytest
import torch
from torch import nn

from inlay.errors import SiteError
from inlay.sites.reading import Form, Reader
from inlay.sites.sitemap import Site

INDEX = torch.tensor([2, 0])


def forms():
    last = Site(name="a", kind="ffn", module="m", width=4, scale=0.5, norm="post", norm_module="n")
    first = Site(name="b", kind="ffn", module="m", width=4, channel_dim=1)
    return {
        "last": (last, Form(last, torch.Size((3, 5, 4))), (3, 5, 4)),
        "first": (first, Form(first, torch.Size((3, 4, 5, 2))), (3, 4, 5, 2)),
        "flat": (last, Form(last, torch.Size((15, 4)), torch.Size((3, 5))), (15, 4)),
    }


@pytest.mark.parametrize("kind", ["last", "first", "flat"])
def test_some_rows(kind):
    site, form, shape = forms()[kind]
    norm = nn.LayerNorm(4) if kind != "first" else None
    x, stream, linear = torch.randn(shape), torch.randn(shape), torch.randn(3, 5, 7)
    reader = Reader(site, x, form, stream=stream, norm=norm, map_input=linear)
    part = reader.rows(INDEX)
    for name in ("x", "r", "x+r", "norm(x+r)", "norm(x+r), r", "in"):
        torch.testing.assert_close(part(name), reader(name).index_select(0, INDEX))
    changed = torch.randn_like(part("x"))
    whole = reader("x").clone()
    whole[INDEX] = changed
    torch.testing.assert_close(part("x+r", changed), reader("x+r", whole).index_select(0, INDEX))


def test_two_side_by_side():
    site, form, shape = forms()["last"]
    reader = Reader(site, torch.randn(shape), form, stream=torch.randn(shape), norm=nn.Tanh())
    both = torch.cat([reader("norm(x+r)"), reader("r")], dim=-1)
    assert torch.equal(reader("norm(x+r), r"), both)
    assert both.shape == (3, 5, 8)


def test_there_and_back():
    for site, form, shape in forms().values():
        x = torch.randn(shape)
        assert torch.equal(form.back(form.given(x)), x)
        assert form.given(x).shape[-1] == site.width
        part = form.given(x).index_select(0, INDEX)
        assert torch.equal(form.rows(2).given(form.rows(2).back(part)), part)


def test_what_cannot_be_read():
    site, form, shape = forms()["last"]
    with pytest.raises(SiteError, match="'x\\+r' cannot be read at site 'a'"):
        Reader(site, torch.randn(shape), form)("x+r")
