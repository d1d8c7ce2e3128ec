"""The Learn page in every state: cards, metrics, pictures, and links to them."""

import pytest

from clcore.catalogue import catalogue
from clcore.ui import links, url
from clcore.ui.learn.cards import sheets
from clcore.ui.learn.link import MATRIX, parsed, written
from clcore.ui.learn.method_cards import found, try_it

PAGE = "pages/learn/learn.py"
METHODS = [card.name for card in catalogue().methods]


def words(at) -> str:
    return " ".join(m.value for m in (*at.markdown, *at.caption))


# ---- method cards ---------------------------------------------------------------------------------------------------


def test_the_gallery_shows_every_method_once(app):
    at = app(PAGE, show="methods")
    titles = [b.label.strip("*") for b in at.button if b.key and b.key.startswith("open-")]
    assert sorted(titles) == sorted(card.title for card in catalogue().methods)


@pytest.mark.parametrize("search, name", [("kirkpatrick", "ewc"), ("dreams drawings", ""), ("springs fisher", "")])
def test_search_looks_into_names_ideas_and_papers(search, name):
    names = [card.name for card in found(search)]
    assert (name in names) if name else True
    assert all(
        all(w in (c.name + c.title + c.summary + c.paper + c.stores + c.family).lower() for w in search.split())
        for c in found(search)
    )


def test_a_search_without_a_result_says_so(app):
    at = app(PAGE, show="methods")
    at.text_input(key="learn-search").set_value("no such thing").run()
    assert "no such thing" in at.info[0].value and at.query_params["search"] == "no such thing"


@pytest.mark.parametrize("name", METHODS)
def test_a_deep_link_opens_a_card(app, name):
    at = app(PAGE, method=name)
    card, sheet = catalogue().method(name), sheets()[name]
    assert at.header[0].value == card.title and at.code[0].value == sheet.steps
    assert [x.value for x in at.latex] == [f"$$\n{card.formula}\n$$", f"$$\n{sheet.bytes}\n$$"]
    assert sheet.strengths[0] in words(at) and sheet.weaknesses[0] in words(at)
    assert all(f"`{k.name}`" in words(at) for k in card.knobs)
    assert not at.warning and at.query_params["method"] == name


def test_back_to_the_gallery(app):
    at = app(PAGE, method="ewc")
    at.button(key="all-methods").click().run()
    assert "method" not in at.query_params and len(at.text_input) == 1
    at.button(key="open-er").click().run()
    assert at.query_params["method"] == "er"


@pytest.mark.parametrize("name", METHODS)
def test_try_it_opens_the_lab_with_the_method(name, monkeypatch):
    warned = []
    monkeypatch.setattr(url.st, "warning", lambda *a, **k: warned.append(a))
    values = links.values_of(try_it(catalogue().method(name)))
    assert values["method"] == list(dict.fromkeys(("finetune", name))) and not warned
    assert set(values["scenario"]) <= set(catalogue().method(name).scenarios)


@pytest.mark.parametrize(
    "query, said",
    [
        ({"method": "nothing"}, "nothing"), ({"picture": "cake"}, "cake"), ({"zzz": "1"}, "zzz"), ({"g": "999"}, "999"),
        ({"R": "1,2"}, "rows"), ({"lesson": "nonsense"}, "nonsense"),
    ],
)  # fmt: skip
def test_what_a_link_says_wrongly_is_told(app, query, said):
    at = app(PAGE, **query)
    assert said in at.warning[0].value


# ---- metrics --------------------------------------------------------------------------------------------------------


def test_metrics_follow_the_matrix_of_the_link(app):
    at = app(PAGE, R="10,10,10;90,10,10;50,80,10;40,60,100")
    text = words(at)
    assert "Average accuracy: 66.7 %" in text and "Forgetting: 35.0 points" in text
    assert "Backward transfer: −35.0 points" in text and "(plasticity): 90.0 %" in text
    assert any(r"\frac{40+60+100}{3}=66.7" in x.value for x in at.latex)


def test_a_bad_cell_gets_a_sentence_and_counts_as_empty(app):
    at = app(PAGE, R="10,10,10;90,10,10;50,80,10;140,60,100")
    assert "140" in at.warning[0].value and "Average accuracy: –" in words(at)
    assert "(plasticity): 90.0 %" in words(at)


def test_the_marked_metric_is_in_the_link(app):
    at = app(PAGE, show="metrics")
    assert len(at.get("bidi_component")) == 1
    at.selectbox(key="learn-metric").set_value("bwt").run()
    assert at.query_params == {"show": "metrics", "metric": "bwt"}


def test_a_matrix_survives_its_link():
    assert written(parsed(MATRIX)) == MATRIX
    holes = "10,,8;98,11,9;60,97,12;40,75.25,96"
    assert parsed(holes)[0][1] is None and written(parsed(holes)) == holes


# ---- pictures -------------------------------------------------------------------------------------------------------


def test_the_cone_says_whom_the_step_hurts(app):
    at = app(PAGE, show="pictures")
    assert "raises the loss of past task 1" in words(at) and "A-GEM leaves it alone" in words(at)
    frame = at.dataframe[0].value
    assert list(frame["step"]) == ["g as it is", "A-GEM", "GEM"] and frame["with task 1"][2] == 0
    at.slider(key="learn-g").set_value(60).run()
    assert "hurts no past task" in words(at) and at.query_params["g"] == "60"


def test_three_opposed_tasks_leave_nothing(app):
    at = app(PAGE, show="pictures", past="3", g1="0", g2="120", g3="-120", g="60")
    assert "contradict each other" in words(at) and at.dataframe[0].value["length"][2] == 0


def test_springs_between_valleys(app):
    at = app(PAGE, picture="valleys")
    assert "the loss of A ends at" in words(at) and len(at.get("bidi_component")) == 2
    at.select_slider(key="learn-lambda").set_value(0.0).run()
    assert "Without springs" in words(at) and at.query_params["lambda"] == "0"
    frame = at.dataframe[0].value
    assert frame["loss of B"][2] == 0 and frame["loss of A"][2] == frame["loss of A"][1] > 0
