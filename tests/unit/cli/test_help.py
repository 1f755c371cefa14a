"""What ``--help`` says that an operator cannot guess."""

import pytest
from typer.testing import CliRunner

from consumer.cli.entry import cli


def help_of(*command: str) -> str:
    """The help as one line, without the frames of its tables."""
    shown = CliRunner().invoke(cli, [*command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert shown.exit_code == 0
    return " ".join(shown.output.replace("│", " ").split())


def test_the_help_names_the_settings_and_their_page() -> None:
    assert "Settings are environment variables, CALSYNC_…: see docs/settings.md." in help_of()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("sweep",), "With --site, even if neither Core nor Redis names it."),
        (("mailbox", "park"), "May be left out if the sites file has one site."),
        (("mailbox", "enable"), "Without it, every site that has it parked."),
    ],
)
def test_the_help_of_an_option_says_what_its_absence_means(command: tuple[str, ...], words: str) -> None:
    assert words in help_of(*command)
