"""The Learn page in a browser: deep links on a fresh server, a lesson taken to its end, pictures that move in place."""

from tests.pages.recorded import play

FIGURE = ".lab-plot.js-plotly-plot"
TRACE = """name => { const plot = document.querySelector('.lab-plot.js-plotly-plot');
    const trace = plot && plot.data && plot.data.filter(t => t.name === name).at(-1);
    return trace ? [trace.x, trace.y] : null; }"""
CELLS = "() => [...document.querySelectorAll('[data-testid=stDataFrame] table tbody tr')].map(row => row.innerText)"
WIDTHS = "() => [...document.querySelectorAll('.katex-display')].map(e => [e.scrollWidth, e.clientWidth])"


def test_a_deep_link_opens_a_card_on_a_fresh_server(fresh_server, new_page):
    lab = new_page(fresh_server, "/learn", method="ewc")
    lab.page.get_by_role("heading", name="EWC", exact=True).wait_for()
    lab.until(lambda: lab.page.locator(".katex-display").count() == 2)
    assert not lab.page.locator(".katex-error").count()
    lab.page.get_by_role("link", name="Try it in the Lab").click()
    lab.key("method-regularization").wait_for()
    lab.until(lambda: lab.controls().get("method-regularization") == "EWC")
    assert lab.controls()["method-baseline"] == "Fine-tuning"
    assert not lab.errors


def test_a_card_opened_from_far_down_begins_at_its_title(server, new_page):
    lab = new_page(server, "/learn", show="methods")
    lab.key("open-hat").get_by_role("button").click()
    title = lab.page.get_by_role("heading", name="HAT", exact=True)
    title.wait_for()
    lab.until(lambda: 0 < title.bounding_box()["y"] < 300)
    assert not lab.errors


def test_a_lesson_from_prediction_to_verdict(server, new_page):
    from clcore.ui.learn.lessons import lessons

    for run in lessons()["forget"].steps[0].runs():
        play(server.store, run)
    lab = new_page(server, "/learn", lesson="forget")
    assert not lab.key("run-forget-task-one").count()
    second = lab.page.get_by_label("T2, %")
    second.fill("70")
    second.press("Tab")
    lab.until(lambda: (lab.page.evaluate(TRACE, "your prediction") or [0, [0, 0]])[1][1] == 70)
    lab.button("lock-forget-task-one").click()
    lab.button("run-forget-task-one").click()
    lab.key("verdict").get_by_text("points off on average").wait_for()
    assert server.store.count_runs() == 2
    x, y = lab.until(lambda: (found := lab.page.evaluate(TRACE, "Fine-tuning")) and found[0] and found)
    assert x == [1, 2, 3, 4, 5]
    lab.page.get_by_text("Show as table").first.click()
    rows = lab.until(lambda: lab.page.evaluate(CELLS))
    assert all(f"{value:g}" in row for value, row in zip(y, rows, strict=True))

    again = new_page(server, lab.page.url.removeprefix(server.url))
    again.key("verdict").get_by_text("points off on average").wait_for()
    restored = again.page.get_by_label("T2, %")
    again.until(lambda: restored.input_value() == "70")
    assert restored.is_disabled()


def test_a_prediction_is_drawn_with_the_pointer_or_the_keyboard_and_then_locked(server, new_page):
    lab = new_page(server, "/learn", lesson="springs")
    lab.page.locator(".lab-board input").nth(4).wait_for(state="attached")
    lab.settle()
    places = []

    def at_rest() -> bool:
        places.append(tuple(lab.page.locator(".lab-board").bounding_box().values()))
        return len(places) > 10 and len(set(places[-10:])) == 1

    lab.until(at_rest)  # a page that is still being laid out would move from under the pointer
    box = lab.page.locator(".lab-board").bounding_box()
    columns = lab.page.locator(".lab-board label").evaluate_all("all => all.map(one => one.getBoundingClientRect().x + 14)")
    heights = [0.05, 0.3, 0.5, 0.7, 0.9]  # from the top
    lab.page.mouse.move(columns[0], box["y"] + heights[0] * box["height"])
    lab.page.mouse.down()
    for x, share in zip(columns[1:], heights[1:], strict=True):
        lab.page.mouse.move(x, box["y"] + share * box["height"])
    lab.page.mouse.up()
    fields = [lab.page.get_by_label(f"T{k}, %", exact=True) for k in range(1, 6)]
    wanted = [104 * (1 - share) for share in heights]

    def as_drawn() -> list[float] | None:
        found = [float(field.input_value()) for field in fields]
        return found if all(abs(value - wish) <= 2 for value, wish in zip(found, wanted, strict=True)) else None

    drawn = lab.until(as_drawn)
    slider = lab.page.locator(".lab-board input").nth(2)
    slider.focus()
    slider.press("ArrowUp")
    slider.press("ArrowUp")
    lab.until(lambda: float(fields[2].input_value()) == drawn[2] + 2)
    assert slider.get_attribute("aria-label") == "T3"
    lab.button("lock-springs/ewc".replace("/", "-")).click()
    lab.page.locator(".lab-board").wait_for(state="detached")
    x, y = lab.page.evaluate(TRACE, "your prediction")
    assert y == [*drawn[:2], drawn[2] + 2, *drawn[3:]] and not lab.errors


def test_a_picture_moves_in_place(server, new_page):
    lab = new_page(server, "/learn", show="pictures", g="60")
    lab.page.locator(f"{FIGURE} .main-svg").first.wait_for()
    lab.page.evaluate("selector => { document.querySelector(selector).mark = 'same'; }", FIGURE)
    before = lab.page.evaluate(TRACE, "GEM")
    assert before == lab.page.evaluate(TRACE, "g, the step as it is")  # harmless: left as it is
    slider = lab.key("learn-g").get_by_role("slider")
    slider.focus()
    for _press in range(8):
        slider.press("ArrowLeft")
    lab.until(lambda: lab.query.get("g") == ["52"] and lab.page.evaluate(TRACE, "GEM") != before)
    assert lab.page.evaluate("selector => document.querySelector(selector).mark", FIGURE) == "same"


def test_a_phone_shows_whole_formulas_and_the_chart_above_its_inputs(server, new_page):
    lab = new_page(server, "/learn", width=390, show="metrics")
    lab.page.locator(".katex-display").nth(5).wait_for()
    lab.until(lambda: (widths := lab.page.evaluate(WIDTHS)) and len(widths) == 6 and all(n <= there for n, there in widths))
    lesson = new_page(server, "/learn", width=390, lesson="forget")
    lesson.page.locator(f"{FIGURE} .main-svg").first.wait_for()
    chart, inputs = lesson.page.locator(FIGURE).first.bounding_box(), lesson.key("lesson-inputs").bounding_box()
    assert chart["y"] + chart["height"] <= inputs["y"]
    tops = {round(box.bounding_box()["y"]) for box in lesson.key("lesson-inputs").get_by_role("spinbutton").all()}
    assert len(tops) == 1  # all five in one row
