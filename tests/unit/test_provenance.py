"""The commit that a run records: that of the program's own checkout, and whether its files are as in it."""

import subprocess

import pytest

from clcore.provenance import commit, commit_words


def git(root, *words):
    me = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    return subprocess.run(["git", "-C", root, *me, *words], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "clcore").mkdir()
    (tmp_path / "clcore" / "code.py").write_text("a = 1\n")
    (tmp_path / "README.md").write_text("Hello.\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "one")
    return tmp_path


def test_a_clean_checkout_is_its_commit_whatever_lies_beside_the_package(checkout):
    found = commit(checkout)
    assert found == {"hash": git(checkout, "rev-parse", "HEAD"), "modified": False}
    assert commit_words(found) == found["hash"][:12]
    (checkout / "README.md").write_text("Changed.\n")
    (checkout / "runs.db").write_text("")
    assert commit(checkout) == found


@pytest.mark.parametrize("file", ["code.py", "new.py"])
def test_a_changed_or_a_new_file_of_the_package_is_said(checkout, file):
    (checkout / "clcore" / file).write_text("a = 2\n")
    found = commit(checkout)
    assert found["modified"] and commit_words(found) == found["hash"][:12] + " + changes"


def test_what_is_no_checkout_of_its_own_has_no_commit(checkout, tmp_path):
    installed = checkout / "clcore"  # inside somebody's repository, and not the root of it
    assert commit(installed) is None and commit_words(None) == ""


def test_without_an_answer_from_git_there_is_none(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert commit(checkout) is None
