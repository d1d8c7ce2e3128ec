"""The catalogues are complete and sound; the language is a person's. What is missing: `make messages`, then translate it."""

import ast
import re
import string
import threading

import pytest

from clcore import catalogue, messages, po
from clcore.catalogue import scenario_word
from clcore.text import LANGUAGES, SOURCE, _, catalogue_path, in_this_language, language, n_, speaking

TRANSLATED = [name for name in LANGUAGES if name != SOURCE]


@pytest.fixture(params=TRANSLATED)
def entries(request) -> list[po.Entry]:
    return po.read(catalogue_path(request.param).read_text(encoding="utf-8"))


def test_nothing_is_missing_and_nothing_is_left_over(entries):
    found, known = set(messages.messages()), [entry.key for entry in entries if entry.text]
    assert sorted(found - set(known)) == [], "run `make messages` and translate these"
    assert sorted(set(known) - found) == [], "run `make messages`: these are no longer said"
    assert [entry.text for entry in entries if entry.missing] == []
    assert len(known) == len(set(known))


def test_the_file_is_as_the_tool_writes_it(entries):
    """So that `make messages` changes only what has changed."""
    path = next(p for p in map(catalogue_path, TRANSLATED) if po.read(p.read_text(encoding="utf-8")) == entries)
    fresh = messages.brought_in_step(entries, messages.plural_forms(entries[0].said[0]))
    assert path.read_text(encoding="utf-8") == po.written(fresh)


def fields(text: str) -> set[str]:
    """{name}, {x:.1f}, plotly's %{y}."""
    plain = re.sub(r"%\{[^}]*\}", "", text)
    named = {f"{name}:{form}" for _t, name, form, _c in string.Formatter().parse(plain) if name is not None}
    return named | set(re.findall(r"%\{[^}]*\}", text))


def formulas(text: str) -> list[str]:
    return sorted(re.findall(r"\$[^$]*\$", text))


def test_placeholders_formulas_and_marks_are_kept(entries):
    forms = messages.plural_forms(entries[0].said[0])
    for entry in entries[1:]:
        assert len(entry.said) == (forms if entry.plural else 1), entry.text
        for said in entry.said:
            try:
                wanted = fields(entry.text) | fields(entry.plural)
            except ValueError:  # braces that are no placeholders: LaTeX in a text that is not formatted
                assert formulas(said) == formulas(entry.text)
                continue
            assert fields(said) == wanted, entry.text
            for mark in ("**", "`", "$"):
                assert said.count(mark) == entry.text.count(mark), (mark, entry.text)


def test_korean_says_particles_that_fit_any_value():
    """A name or a number may end in a vowel or a consonant: 을/를, 이/가, 은/는, 와/과 and 로/으로 would be wrong half the
    time."""
    entries = po.read(catalogue_path("ko").read_text(encoding="utf-8"))
    bare = re.compile(r"\}(을|를|이|가|은|는|과|와|으로|로)(?![가-힣(])")
    wrong = [entry.said[0] for entry in entries if bare.search(entry.said[0])]
    assert wrong == []


def test_no_text_is_fixed_before_somebody_is_served():
    """`_()` where a module is imported, or in a default value, would speak one language for ever."""
    early = []
    for pattern in messages.SOURCES:
        for path in messages.ROOT.glob(pattern):
            if path.parts[-3:-1] and "pages" in path.relative_to(messages.ROOT).parts[:1] or path.name == "app.py":
                continue  # these run anew for every visit
            visit(ast.parse(path.read_text(encoding="utf-8")), path.name, early)
    assert early == []


WORDLESS = {"_gpus", "_slots", "_link", "_key_of_spec", "_looked", "_ends_of", "_durations"}


def test_what_is_cached_for_all_is_cached_for_each_language():
    cached = {
        node.name: [argument.arg for argument in node.args.args]
        for path in messages.ROOT.glob("clcore/ui/**/*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and any("cache_data" in ast.unparse(d) for d in node.decorator_list)
    }
    assert WORDLESS <= cached.keys()
    assert [name for name, arguments in cached.items() if "language" not in arguments and name not in WORDLESS] == []


def visit(node: ast.AST, where: str, early: list[str]) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Lambda):
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            for part in [*child.decorator_list, *child.args.defaults, *filter(None, child.args.kw_defaults)]:
                visit(ast.Expression(part), where, early)
            continue
        if messages._says(child):
            early.append(f"{where}:{child.lineno}")
        visit(child, where, early)


# ---- the mechanism ---------------------------------------------------------------------------------------------------


def test_outside_a_session_english_is_spoken():
    assert language() == SOURCE and _("Runs") == "Runs" and n_("{n} run", "{n} runs", 2) == "2 runs"


def test_a_block_speaks_another_language_and_threads_do_not_disturb_each_other():
    heard, both = {}, threading.Barrier(2)

    def session(name: str) -> None:
        with speaking(name):
            for _k in range(50):
                both.wait()
                heard.setdefault(name, set()).add((_("Runs"), n_("{n} run", "{n} runs", 1)))

    threads = [threading.Thread(target=session, args=(name,)) for name in ("en", "ko")]
    [t.start() for t in threads], [t.join() for t in threads]
    assert heard == {"en": {("Runs", "1 run")}, "ko": {("실행 기록", "실행 1개")}}


def test_a_file_is_written_in_the_language_of_whoever_asked_for_it():
    with speaking("ko"):
        write = in_this_language(lambda: _("Accuracy"))
    assert write() == "정확도" and _("Accuracy") == "Accuracy"


def test_cards_are_translated_and_names_are_not():
    english = catalogue.catalogue()
    with speaking("ko"):
        korean = catalogue.catalogue()
        assert scenario_word("class") == "클래스" and "검증" in korean.method("ewc").recommended[0].provenance_words
    assert [m.name for m in korean.methods] == [m.name for m in english.methods]
    for there, here in zip(korean.methods, english.methods, strict=True):
        assert there.summary != here.summary and there.formula == here.formula and there.recommended == here.recommended
        assert [(k.name, k.default, k.choices) for k in there.knobs] == [(k.name, k.default, k.choices) for k in here.knobs]
        assert all(a.help != b.help for a, b in zip(there.knobs, here.knobs, strict=True))
    assert all(r.provenance_words == r.provenance for m in english.methods for r in m.recommended)


# ---- .po -------------------------------------------------------------------------------------------------------------


def test_a_catalogue_survives_writing_and_reading():
    given = [
        po.Entry("", said=("Language: xx\nPlural-Forms: nplurals=2; plural=n != 1;\n",)),
        po.Entry('a "quoted" \\ text', said=("eins\nzwei\n",), where=("a.py", "b.py")),
        po.Entry("{n} run", "{n} runs", ("{n} Lauf", "{n} Läufe"), flags=("python-brace-format",)),
        po.Entry("not yet"),
    ]
    assert po.read(po.written(given)) == given


def test_a_compiled_catalogue_is_what_gettext_reads():
    import gettext
    import io

    entries = [
        po.Entry("", said=("Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=n != 1;\n",)),
        po.Entry("{n} run", "{n} runs", ("{n} Lauf", "{n} Läufe")),
        po.Entry("yes", said=("ja",)),
        po.Entry("later"),
        po.Entry("doubtful", said=("zweifelhaft",), flags=("fuzzy",)),
    ]
    made = gettext.GNUTranslations(io.BytesIO(po.compiled(entries)))
    assert made.gettext("yes") == "ja" and made.gettext("later") == "later" and made.gettext("doubtful") == "doubtful"
    assert [made.ngettext("{n} run", "{n} runs", n) for n in (1, 2)] == ["{n} Lauf", "{n} Läufe"]


@pytest.mark.parametrize("text", ['msgid "a"\nmsgid "b"\nmsgstr ""', "msgid a", '"alone"'])
def test_what_is_no_catalogue_is_refused(text):
    with pytest.raises(ValueError):
        po.read(text)


def test_a_text_that_is_put_together_is_refused(tmp_path, monkeypatch):
    (tmp_path / "app.py").write_text('_("a" + name)\n')
    monkeypatch.setattr(messages, "ROOT", tmp_path)
    with pytest.raises(messages.LabError, match="app.py:1"):
        list(messages._of_the_sources())
