"""The language of a person, in real browsers: the menu in the header, the cookie, and two people at once."""

from tests.pages.recorded import experiment, play


def test_the_menu_switches_and_the_browser_remembers(server, new_page):
    lab = new_page(server, seeds="2")
    page = lab.page
    menu = page.locator(".st-key-languages button")
    menu.get_by_text("한국어").click()
    page.get_by_text("벤치마크", exact=True).wait_for()
    assert "seeds=2" in page.url and "lang" not in page.url
    page.wait_for_function("document.documentElement.lang === 'ko' && document.cookie.includes('language=ko')")
    page.goto(server.url)
    page.get_by_text("벤치마크", exact=True).wait_for()
    menu.get_by_text("English").click()
    page.get_by_text("Benchmark", exact=True).wait_for()
    page.wait_for_function("document.documentElement.lang === 'en' && document.cookie.includes('language=en')")


def test_the_menu_stands_clear_of_the_pages_names(server, new_page):
    for width in (1400, 768, 390):
        page = new_page(server, width=width, lang="ko").page
        page.get_by_role("button", name="English").wait_for()
        overlap = page.evaluate(
            """() => {
                const menu = document.querySelector('.st-key-languages button').getBoundingClientRect();
                const names = document.querySelectorAll('header a, header button, [data-testid="stHeaderLogo"]');
                return menu.right > innerWidth || [...names].some((name) => {
                    const box = name.getBoundingClientRect();
                    return box.width && box.left < menu.right && menu.left < box.right
                        && box.top < menu.bottom && menu.top < box.bottom;
                });
            }"""
        )
        assert not overlap, width


def test_two_browsers_see_the_same_run_in_their_own_languages(server, new_page):
    run = play(server.store, experiment(seeds=2)[0])
    x = server.store.run(run).experiment
    korean, english = new_page(server, lang="ko", x=x).page, new_page(server, x=x).page
    for page, words in ((korean, "정확도, %"), (english, "accuracy, %"), (korean, "정확도, %")):
        page.reload()
        page.locator(".js-plotly-plot text", has_text=words).first.wait_for()
