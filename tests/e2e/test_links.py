"""Links: every page opens first on a server of its own, a link is the experiment, and a bad link says so."""

import ast
import re

import pytest

from tests.e2e.lab_page import LabPage
from tests.e2e.server import ROOT
from tests.pages.recorded import experiment, play


def pages() -> list[tuple[str, str]]:
    """(path, title) of every page that app.py declares."""
    tree = ast.parse((ROOT / "app.py").read_text(encoding="utf-8"))
    found = []
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "st.Page":
            words = {keyword.arg: keyword.value for keyword in call.keywords}
            title = words["title"].args[0].value
            path = "" if "default" in words else words["url_path"].value
            found.append((f"/{path}", title))
    return found


TITLES = [title for _, title in pages()]
# Which entries any navigation showed at any moment since the page was opened, and whether the page was not found.
ENTRIES = """() => {
    window.entries = new Set();
    const look = () => {
        document.querySelectorAll(
            '[data-testid="stTopNavLink"], [data-testid="stSidebarNavLink"], [data-testid="stSidebarNavItems"] a'
        ).forEach(link => window.entries.add(link.innerText.trim().split('\\n').at(-1)));
        if (document.body && document.body.textContent.includes('Page not found')) window.entries.add('Page not found');
    };
    new MutationObserver(look).observe(document, { subtree: true, childList: true, characterData: true });
}"""


@pytest.mark.parametrize(("path", "title"), pages())
def test_every_page_opens_first_on_a_new_server(fresh_server, new_page, browser, path, title):
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.add_init_script(f"({ENTRIES})()")
    lab = LabPage(context.new_page(), fresh_server)
    lab.open(path)
    links = lab.page.locator('[data-testid="stTopNavLink"]')
    lab.until(lambda: links.count() == len(TITLES))
    current = lab.page.locator('[data-testid="stTopNavLink"][aria-current="page"]').inner_text().split("\n")[-1]
    shown = [text.split("\n")[-1] for text in links.all_inner_texts()]
    seen = set(lab.page.evaluate("() => [...window.entries]"))
    heading, exception = lab.key("page").inner_text(), lab.page.locator('[data-testid="stException"]').count()
    context.close()
    assert shown == TITLES and seen - {""} == set(TITLES)
    assert current == title and not exception and heading.strip()


CHANGES = {
    "question": "What changes when nobody tells it the task?",
    "benchmark": "Permuted digits",
    "scenario": ["Class"],
    "method-reference": ["Joint training"],
    "method-regularization": ["L2 anchor"],
    "method-baseline": ["Fine-tuning"],
    "er-with": "+ L2 anchor",
    "er-beside": True,
    "memory": ["20"],
    "ewc-strength": 2,
    "l2-sweep": True,
    "l2-strengths": ["3"],
    "seeds": -2,
    "epochs": "4",
    "batch": "8",
    "lr": "0.05",
    "momentum": "0.5",
    "decay": "0.001",
    "network": "Small convolutional network",
    "cnn-channels": "8",
    "cnn-blocks": "1",
    "cnn-norm": "batch",
    "hidden": "64,32",
    "active": "all",
    "optimizer-state": "keep",
    "watch-switches": "20",
    "option-tasks": "4",
    "option-train_per_task": "300",
    "option-validation": "0.2",
    "option-stream_seed": "7",
    "option-first": "identity",
    "option-standardise": True,
    "ewc-fisher": "sampled",
    "ewc-fisher_samples": "500",
    "ewc-penalty_step": "explicit",
    "l2-penalty_step": "implicit",
    "er-replay_batch": "8",
    "er-loss": "sum",
    "er-policy": "balanced",
    "er-memory_update": "online",
    "joint-restart": True,
    "optimizer": "ADAM",
    "equal": True,
    "bytes": "5000000",
}


TWO_FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def change(lab: LabPage, key: str, wish) -> None:
    """Sets a control as a person would: picks, presses, types, moves with the arrow keys."""
    box = lab.key(key)
    box.locator("input, [aria-pressed], [role=radio]").first.wait_for()
    box.scroll_into_view_if_needed()
    lab.page.evaluate(TWO_FRAMES)  # a list that opens while the sidebar scrolls closes again
    before, sent = lab.controls()[key], lab.sent
    kind = "field" if box.locator("input").count() else "buttons"
    if isinstance(wish, bool):
        box.locator("label").first.click()
    elif isinstance(wish, int):
        for _ in range(abs(wish)):
            box.locator("input").press("ArrowRight" if wish > 0 else "ArrowLeft")
    elif isinstance(wish, list):
        for word in wish:
            if kind == "buttons":
                box.get_by_role("button", name=word, exact=True).or_(box.get_by_role("radio", name=word)).click()
            else:
                box.locator("input").fill(word)
                lab.page.get_by_role("option", name=word, exact=True).first.click()
                lab.page.keyboard.press("Escape")
    elif box.get_by_role("combobox").count():
        box.locator("input").fill(wish)
        lab.page.get_by_role("option").filter(has_text=re.compile(f"^{re.escape(wish)}$")).click()
    else:
        box.locator("input").fill(wish)
        box.locator("input").press("Enter")
    lab.until(lambda: lab.controls().get(key) != before)
    lab.until(lambda: lab.sent > sent)
    lab.settle()


def unfold(lab: LabPage) -> None:
    for key in ("training-settings", "budget-settings", "more-settings"):
        lab.key(key).locator("summary").click()
    lab.key("optimizer-state").locator("input").wait_for()
    lab.key("option-validation").locator("input").wait_for()


def test_a_link_reproduces_every_control(server, new_page):
    lab = new_page(server)
    unfold(lab)
    for key, wish in CHANGES.items():
        change(lab, key, wish)
    lab.until(lambda: lab.query.get("bytes") == ["5000000"])  # the last one
    wanted = {key: value for key, value in lab.controls().items() if key != "no-strength"}
    assert set(CHANGES) <= set(wanted) and len(lab.query) > 20
    as_they_were = {"l2-strength", "ewc-sweep", "method-rehearsal", "method-distillation", "method-isolation"}
    untouched = set(wanted) - set(CHANGES) - as_they_were
    assert not untouched, f"these controls are not covered: {untouched}"

    other = new_page(server, "/?" + lab.page.url.split("?", 1)[1])
    unfold(other)
    other.until(lambda: other.controls().keys() >= wanted.keys())
    found = other.controls()
    assert {key: found[key] for key in wanted} == wanted
    assert other.query == lab.query
    assert not other.page.locator(".st-key-page [data-testid='stAlert']").filter(has_text="could not be used").count()


def test_a_link_reproduces_the_view(server, new_page):
    rows = experiment("finetune", "ewc")
    first = play(server.store, rows[0])
    name = server.store.run(first).experiment
    play(server.store, rows[1], experiment=name)
    lab = new_page(server, x=name)
    change(lab, "matrix", ["F · forgetting"])
    change_view(lab, "row0", "future", axis="epochs")
    wanted = lab.query
    assert {key: wanted.get(key) for key in ("matrix", "axis", "row0", "future", "x")} == {
        "matrix": ["forgetting"], "axis": ["epochs"], "row0": ["true"], "future": ["true"], "x": [name],
    }  # fmt: skip
    other = new_page(server, "/?" + lab.page.url.split("?", 1)[1])
    other.page.get_by_role("button", name="View").click()
    other.key("row0").locator("input").wait_for()
    shown = other.until(lambda: (found := other.controls()).keys() >= {"row0", "future", "axis", "matrix"} and found)
    assert (shown["row0"], shown["future"], shown["axis"]) == ("true", "true", "epochs")
    assert shown["matrix"] == "F · forgetting" and other.query == wanted


def change_view(lab: LabPage, *toggles: str, axis: str) -> None:
    lab.page.get_by_role("button", name="View").click()
    for key in toggles:
        change(lab, key, True)
    change(lab, "axis", [axis])
    lab.page.keyboard.press("Escape")
    lab.until(lambda: "axis" in lab.query)


def test_what_a_link_cannot_mean_is_said(server, new_page):
    lab = new_page(server, epochs="lots", seeds=99, method="nonesuch", colour="blue", **{"option.tasks": 0})
    said = lab.page.locator('[data-testid="stAlert"]').first.inner_text()
    for key in ("epochs", "seeds", "method", "colour", "tasks"):
        assert key in said, said
    assert lab.button("run").is_enabled()


def test_an_unknown_experiment_is_said(server, new_page):
    lab = new_page(server, x="ffffffffffff")
    assert "no experiment or run 'ffffffffffff'" in lab.page.locator('[data-testid="stAlert"]').first.inner_text()


LOADED_LATE = re.compile(r"/static/js/(ButtonGroup|Selectbox|Multiselect|Slider|NumberInput|TextInput)\.")
FAR_FROM_DEFAULT = {
    "benchmark": "split-digits", "scenario": ["domain", "class"], "method": ["finetune", "er"], "memory": [50, 100], "seeds": 2,
    "epochs": 1, "lr": 0.05, "optimizer": "adam", "hidden": "30",
}  # fmt: skip


def test_controls_that_load_after_run_was_pressed_keep_the_links_values(server, new_page, browser):
    """The browser loads the code of a control when it first needs it: on a slow network Run may be pressed before."""
    promised = new_page(server, **FAR_FROM_DEFAULT)
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    lab = LabPage(context.new_page(), server)
    held = []
    lab.page.route(LOADED_LATE, lambda route: held.append(route))
    lab.page.goto(promised.page.url)
    lab.run()
    server.wait(lab.experiment)
    lab.shows("finished")  # the page has been drawn anew since
    assert len(held) >= 4 and len(lab.controls()) < len(promised.controls())
    for route in held:
        route.continue_()
    lab.page.unroute(LOADED_LATE)
    lab.until(lambda: set(promised.controls()) <= set(lab.controls()))
    lab.settle()
    shown = {name: value for name, value in lab.controls().items() if name in promised.controls()}
    link = {name: value for name, value in lab.query.items() if name != "x"}
    expected = promised.controls(), promised.query
    context.close()
    assert (shown, link) == expected
