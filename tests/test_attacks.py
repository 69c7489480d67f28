"""Submissions that attack: what stock nbgrader lets them do is on record, and this course lets them do nothing."""

from collections import Counter
from pathlib import Path

import pytest

from tests import attack_course, attack_grading, attack_room
from tests.attack_course import HONEST, AttackCourse
from tests.attacks import ATTACKS, OUTCOMES

THREATS = 33  # rows of the table that the suite covers
FIRST = list({attack.row: attack for attack in reversed(ATTACKS)}.values())  # one of each row; the table shows all


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> AttackCourse:
    if problem := attack_room.problem():
        pytest.skip(f"attacks are run only behind walls, and {problem}")
    return attack_course.make(tmp_path_factory.mktemp("attacked") / "course")


def test_every_threat_has_attacks() -> None:
    assert {attack.row for attack in ATTACKS} == set(range(1, THREATS + 1))
    assert len(ATTACKS) >= 65


def test_attacks_have_names_of_their_own_and_are_graded_between_the_honest() -> None:
    students = [attack.student for attack in ATTACKS]
    assert [name for name, count in Counter(students).items() if count > 1] == []
    assert sorted([*students, *HONEST]) == [HONEST[0], HONEST[2], *sorted(students), HONEST[1]]


@pytest.mark.slow
def test_stock_nbgrader_lets_attacks_do_what_is_on_record(base: AttackCourse, tmp_path: Path) -> None:
    found = attack_grading.grade_stock(base, tmp_path, FIRST)
    assert {a.student: sorted(found[a.student]) for a in FIRST} == {a.student: sorted(a.stock) for a in FIRST}


@pytest.mark.slow
def test_plain_asserts_let_attacks_do_what_is_on_record(base: AttackCourse, tmp_path: Path) -> None:
    found = attack_grading.grade_plain(base, tmp_path)
    assert found == {attack.student: attack.plain for attack in ATTACKS if attack.plain is not None}


@pytest.mark.slow
def test_against_this_course_no_attack_achieves_anything(base: AttackCourse, tmp_path: Path) -> None:
    if missing := attack_grading.ours_missing():
        pytest.skip(missing)
    found = attack_grading.grade_ours(base, tmp_path)
    assert len(found) == len(ATTACKS)
    assert {student: sorted(outcomes) for student, outcomes in found.items() if outcomes} == {}


def test_every_way_to_succeed_is_shown_by_some_attack() -> None:
    """What is measured must be measurable: an outcome that stock never shows would prove nothing about ours."""
    assert {outcome for attack in ATTACKS for outcome in attack.stock} == set(OUTCOMES)
