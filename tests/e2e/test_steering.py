"""Pause, step, resume and cancel from the page; the wish is the page's, the state is the worker's."""

import time

SLOW = {"method": "finetune", "seeds": 1, "epochs": 150, "option.tasks": 5}


def test_pause_step_resume_and_cancel(server, new_page):
    lab = new_page(server, **SLOW)
    experiment = lab.run()
    [run] = server.wait(experiment, "running")
    lab.first_point()
    lab.button("pause").click()
    server.wait(experiment, "paused", seconds=10)
    held = server.store.run(run.id).position
    lab.shows("paused")
    lab.button("resume").wait_for()
    lab.page.wait_for_timeout(600)
    assert server.store.run(run.id).position == held

    lab.button("step").click()
    done = server.until(
        lambda: (row := server.store.run(run.id)).state == "paused" and row.position > held and row, seconds=60
    )
    assert done.position == int(held) + 1  # the end of the task that was under way
    lab.until(lambda: f"after {int(done.position)} of 5 tasks" in lab.key(f"panel-{run.id}").inner_text())

    lab.button("resume").click()
    server.wait(experiment, "running", seconds=10)
    lab.page.locator(".st-key-pause button:enabled").wait_for()
    clicked = time.perf_counter()
    lab.button("cancel").click()
    server.wait(experiment, "cancelled", seconds=20)
    took = time.perf_counter() - clicked
    print(f"click -> cancelled: {took:.2f} s")
    assert took < 3, f"click → cancelled took {took:.2f} s"  # about 0.5 s where nothing else runs
    lab.shows("cancelled")
    assert server.store.run(run.id).result["status"] == "cancelled"


def test_the_shortcut_runs_what_was_just_chosen(server, new_page):
    lab = new_page(server, method="finetune", seeds=1, epochs=1, **{"option.tasks": 2})
    pill = lab.page.locator(".st-key-method-rows button", has_text="L2 anchor").first
    pill.click()
    lab.until(lambda: "l2" in lab.query["method"])
    lab.page.locator(".st-key-run button:enabled").wait_for()
    lab.page.keyboard.press("Control+Enter")
    lab.until(lambda: "x" in lab.query)
    assert {run.method for run in server.rows(lab.experiment)} == {"finetune", "l2"}


def test_a_failed_run_says_why(server, new_page):
    lab = new_page(server, **{"method": "finetune", "option.train_per_task": 60000})
    experiment = lab.run()
    [row] = server.wait(experiment)
    assert row.state == "failed" and "train_per_task = 60000" in row.error
    lab.shows("failed")
    lab.until(lambda: row.error in lab.page.locator('[data-testid="stAlert"]').first.inner_text())
