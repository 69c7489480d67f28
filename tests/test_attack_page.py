"""The page about attacks says what the suite says."""

from tests import attack_page


def test_the_page_is_fresh() -> None:
    assert attack_page.PAGE.read_text(encoding="utf-8") == attack_page.page()
