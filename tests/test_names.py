"""Names that become files: what is refused, and that the message can be read."""

import pytest

from bench.commands.new import write_plugin
from bench.errors import UsageError
from bench.names import check_label, check_suite_name


def test_a_long_name_is_shortened_in_the_message_without_an_escape() -> None:
    for refuse in (
        lambda: check_suite_name("n" * 300, "s.toml"),
        lambda: check_label("n" * 300, "s.toml"),
        lambda: write_plugin("defense", "n" * 300, None),
    ):
        with pytest.raises(UsageError, match=r"'nnn+'\.\.\.") as error:
            refuse()
        assert "\\u" not in str(error.value)


def test_a_name_in_another_script_is_shown_in_ascii() -> None:
    with pytest.raises(UsageError, match=r"name = '\\xfcber': expected ASCII letters"):
        check_suite_name("über", "s.toml")
