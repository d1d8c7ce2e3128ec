"""Guided lessons: data, one file each; `clcore.ui.learn.guide` leads through them."""

from clcore.catalogue import catalogue
from clcore.ui.learn.lessons import fair, forget, identity, later, memory, rooms, springs
from clcore.ui.learn.lessons.lesson import Lesson, Option, Question, Step, runs, truth

ORDER = (forget, springs, memory, rooms, identity, later, fair)


def lessons() -> dict[str, Lesson]:
    """The lessons whose methods are all here, by name, in the order in which they would be told."""
    known = {card.name for card in catalogue().methods}
    found = (module.lesson() for module in ORDER)
    return {lesson.name: lesson for lesson in found if known.issuperset(lesson.methods)}


__all__ = ["Lesson", "Option", "Question", "Step", "lessons", "runs", "truth"]
