"""docs/attacks.md: each attack, what it does to nbgrader alone as the suite has it on record, and to this course.

`python -m tests.attack_page` writes it; a test proves that it says what the suite says.
"""

from pathlib import Path

from tests.attacks import ATTACKS, OUTCOMES, Attack

PAGE = Path(__file__).resolve().parent.parent / "docs" / "attacks.md"
ABOVE = """\
# What attacks achieve

<!-- Written by `python -m tests.attack_page` from tests/attacks.py. -->

{count} submissions attack a course of three tasks: its points, its secrets, the grades of others, the batch, the
machine.
nbgrader alone grades each on the same notebook, with this course's partial credit; some also on one with plain asserts.
This course grades all of them in one batch.
`make test` proves the last column for all, and the others for one attack of each of the 33 threats;
`.venv/bin/python -m tests.attacks` runs everything, and prints this table.
What is promised, and what is not, is on the page about [trust](trust.md).

| outcome | means |
|---|---|
{outcomes}

| threat | what the submission does | nbgrader, plain asserts | nbgrader, our checks | this course |
|---:|---|---|---|---|
{rows}
| | **{count} attacks, of which these succeed** | **{plain}** | **{stock}** | **0 of {count}** |
"""


def page() -> str:
    """Returns the text of the page."""
    plain = [attack for attack in ATTACKS if attack.plain is not None]
    return ABOVE.format(
        count=len(ATTACKS),
        outcomes="\n".join(f"| {name} | {meaning} |" for name, meaning in OUTCOMES.items()),
        rows="\n".join(map(_row, ATTACKS)),
        plain=f"{sum(bool(attack.plain) for attack in plain)} of {len(plain)}",
        stock=f"{sum(bool(attack.stock) for attack in ATTACKS)} of {len(ATTACKS)}",
    )


def _row(attack: Attack) -> str:
    does = attack.does.replace("|", "\\|").replace("<", "&lt;")
    return f"| {attack.row} | {does} | {_said(attack.plain)} | {_said(attack.stock)} | nothing |"


def _said(outcomes: frozenset[str] | None) -> str:
    if outcomes is None:
        return ""
    return ", ".join(name for name in OUTCOMES if name in outcomes) or "nothing"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
