def test_a_finished_run_is_shown_again(call, run):
    code, out, err = call("resume", run)
    assert code == 0
    assert out.startswith("test   accuracy ")
    assert "step" not in err


def test_a_folder_without_a_run(call, tmp_path):
    code, out, err = call("resume", tmp_path)
    assert (code, out) == (2, "")
    assert err == (
        f"inlay: {tmp_path} is no run's folder: it has no config.yaml. "
        "`inlay list` shows the runs there are.\n"
    )
