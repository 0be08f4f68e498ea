"""The reporter that listens to nothing can be told everything."""

from inlay.training.reporter import Evaluation, Plan, Reporter, SilentReporter
from tests import tiny


def test_silent_reporter_takes_every_event_and_says_nothing(capsys):
    reporter = SilentReporter()
    events = [name for name in vars(Reporter) if name.startswith("on_")]
    given = {
        "on_note": ("text",),
        "on_plan": (None,),
        "on_step": (1, 2, 0.5),
        "on_evaluation": (None,),
        "on_end": ({},),
    }
    assert set(events) == set(given)
    for name in events:
        assert getattr(reporter, name)(*given[name]) is None
    assert capsys.readouterr() == ("", "")


def test_a_training_tells_everything_in_order(root):
    _, told = tiny.shared_run(root)
    assert [type(plan) for plan in told.plans] == [Plan]
    assert told.steps == list(range(1, 46))
    assert [type(row) for row in told.evaluations] == [Evaluation] * 3
    assert [(row.epoch, row.step) for row in told.evaluations] == [(1, 15), (2, 30), (3, 45)]
    assert len(told.ends) == 1


def test_the_plan_is_what_happens(root):
    run, told = tiny.shared_run(root)
    (plan,) = told.plans
    metrics = run.metrics
    assert plan.num_adapter_parameters + plan.num_head_parameters == metrics["trainable_parameters"]
    assert plan.num_base_parameters == metrics["total_parameters"]
    assert plan.rows == {"train": 240, "validation": 30, "test": 30}
    assert (plan.num_labels, plan.num_steps, plan.run) == (3, 45, str(run.folder))
    assert plan.where == "at attention, ffn, layers upper (2 sites)"
    assert plan.settings == (
        "adamw, learning rate 0.02 linear, batch 16, up to 3 epochs, seed 1, float32, "
        "at most 64 tokens, trunk dropout off"
    )
    assert plan.seconds > 0
    assert any(note.startswith("test split made: 10 %") for note in plan.notes)
