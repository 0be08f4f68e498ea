"""The map is plain data that refuses nonsense."""

import json

import pytest

from inlay.errors import FormatError, SiteError
from inlay.sites.sitemap import Site, SiteMap, sitemap_from_json

FFN = Site(name="0.ffn", kind="ffn", module="m", width=8, block=0)
UP = Site(name="0.ffn.up", kind="up", module="m.up", width=16, in_width=8, block=0, sublayer="ffn")


def test_what_it_knows():
    sites = SiteMap((FFN, UP))
    assert (len(sites), sites.kinds(), sites.submodels()) == (2, ("ffn", "up"), ("",))
    assert sites.num_blocks("") == 1
    assert sites["0.ffn"] is FFN
    assert FFN.is_residual
    assert not FFN.is_linear
    assert UP.is_linear


def test_plain_data_goes_both_ways():
    sites = SiteMap((FFN, UP))
    assert sitemap_from_json(json.loads(json.dumps(sites.to_json()))) == sites


def test_the_digest_tells_maps_apart():
    assert SiteMap((FFN,)).digest() == SiteMap((FFN,)).digest()
    assert SiteMap((FFN,)).digest() != SiteMap((FFN, UP)).digest()


def test_what_is_wrong():
    with pytest.raises(SiteError, match=r"unknown kind 'fnn'; .* Did you mean 'ffn'"):
        Site(name="a", kind="fnn", module="m", width=8)
    with pytest.raises(SiteError, match="width is 0; it must be at least 1"):
        Site(name="a", kind="ffn", module="m", width=0)
    with pytest.raises(SiteError, match=r"two sites are called '0.ffn'"):
        SiteMap((FFN, FFN))
    with pytest.raises(SiteError, match=r"no site '0.fnn' on this model. Did you mean '0.ffn'"):
        SiteMap((FFN,))["0.fnn"]
    with pytest.raises(FormatError, match=r"site 0: unknown field 'modul'; .* 'module'"):
        sitemap_from_json([{"modul": "x"}])
    with pytest.raises(FormatError, match=r"site 0: .*missing .* required"):
        sitemap_from_json([{"name": "x"}])
