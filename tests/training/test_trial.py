"""A training that is closed and opened again between its turns goes on as if it had not been."""

import pytest

from inlay.training.interrupt import StopRequest
from inlay.training.reporter import SilentReporter
from inlay.training.shelf import Shelf
from inlay.training.trial import Trained, Trial
from tests import tiny

pytestmark = pytest.mark.usefixtures("no_reload")


@pytest.fixture
def trial(root, tmp_path):
    def make(name, shelf, **settings):
        given = {
            "data": str(tiny.shared_data(root)), "base": str(tiny.shared_base(root)),
            **tiny.SETTINGS, "out": str(tmp_path / name), **settings,
        }  # fmt: skip
        return Trial(
            result=Trained(number=0, settings=given), reporter=SilentReporter(),
            stop=StopRequest(), shelf=shelf, force=False, on_opened=lambda *told: None,
        )  # fmt: skip

    return make


def test_closing_frees_the_adapter_and_opening_goes_on(trial):
    shelf = Shelf()
    whole, parts = trial("whole", shelf), trial("parts", shelf)
    for one in (whole, parts):
        one.open()
        adapters = one.opened.prepared.adapters
        one.advance(1)
        if one is parts:
            one.close()
            assert one.opened is None
            assert adapters.names == (whole.opened.prepared.name,)
            one.open()
            assert one.fitting.progress.epoch == 1
        one.advance(3)
        assert one.is_at_end
    assert parts.result.score == whole.result.score
    for one in (whole, parts):
        one.end(measured=True)
    assert parts.result.run.metrics["test"] == whole.result.run.metrics["test"]
    again = trial("parts", shelf)
    again.open()
    assert again.opened is None, "a finished run is taken as it is"
    assert (again.result.score, again.result.epochs) == (parts.result.score, 3)
    assert again.result.num_adapter_parameters == parts.result.num_adapter_parameters > 0
    again.end(measured=False)
    assert again.result.state == "finished"


def test_one_that_is_left_off_is_stopped(trial):
    one = trial("left", Shelf())
    one.open()
    one.advance(1)
    one.end(measured=False)
    assert (one.result.state, one.opened) == ("stopped", None)
