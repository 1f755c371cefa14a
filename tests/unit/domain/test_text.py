"""Text as calendars show it."""

from html import escape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.domain.text import ELLIPSIS, cut_utf16, html_lines, lines_of, one_line
from sandbox.graph.bodies import stored

TEXTS = st.text() | st.text(alphabet=" \t\r\n\x00\x1f\x85\u2028\xa0ab<&>\"';#👷")
TEXT_WITHOUT_BREAKS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")))


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (None, ""),
        ("", ""),
        (" \t\r\n", ""),
        ("  Lift  A\t2 ", "Lift A 2"),
        ("one\r\ntwo\rthree\nfour", "one two three four"),
        ("a\x00b\x1fc\x7fd\x9fe", "a b c d e"),
        ("a\u2028b\u2029c\x85d\x0be", "a b c d e"),
        ("a\xa0\u3000b", "a b"),
        ("naïve 👷‍♀️ ≤ ½", "naïve 👷‍♀️ ≤ ½"),
    ],
)
def test_one_line_makes_controls_breaks_and_runs_of_space_one_space(value: str | None, line: str) -> None:
    assert one_line(value) == line


def test_one_line_joins_an_address_with_commas_and_leaves_out_its_blank_lines() -> None:
    assert one_line("\r\n1 High  St\r\n\r\nLeeds\nLS1 ", breaks=", ") == "1 High St, Leeds, LS1"


@given(TEXTS)
def test_one_line_is_one_line_and_stays_as_it_is(value: str) -> None:
    line = one_line(value)
    assert len(line.splitlines()) <= 1
    assert line == " ".join(line.split())
    assert one_line(line) == line


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (None, []),
        (" \n\t\r\n ", []),
        ("Ring first", ["Ring first"]),
        ("\n\n  Ring   first\r\n\r\nDog!\u2028Gate 2 \n\n", ["Ring first", "", "Dog!", "Gate 2"]),
    ],
)
def test_lines_of_keeps_the_breaks_and_drops_blank_lines_at_the_ends(value: str | None, lines: list[str]) -> None:
    assert lines_of(value) == lines


@given(TEXTS)
def test_the_lines_of_a_text_hold_the_words_of_its_one_line(value: str) -> None:
    lines = lines_of(value)
    assert " ".join(line for line in lines if line) == one_line(value)
    assert lines == [one_line(line) for line in lines]
    assert not lines or (lines[0] and lines[-1])


@given(TEXTS, st.integers(min_value=1, max_value=40))
@example("👷👷", 3)
@example("👷" * 20, 20)
@example("ab" * 20, 40)
def test_a_cut_is_never_over_the_limit_and_takes_as_much_as_there_is_room_for(value: str, limit: int) -> None:
    cut = cut_utf16(value, limit)
    assert units(cut) <= limit
    if units(value) <= limit:
        assert cut == value
    else:
        assert cut.endswith(ELLIPSIS)
        assert value.startswith(cut[:-1])
        assert units(cut) >= limit - 1, "at most half of a surrogate pair of room is left"


def test_a_cut_splits_no_surrogate_pair() -> None:
    assert cut_utf16("ab👷cd", 6) == "ab👷cd"
    assert cut_utf16("ab👷cd", 5) == "ab👷…"
    assert cut_utf16("ab👷cd", 4) == "ab…"


@given(st.lists(TEXT_WITHOUT_BREAKS))
def test_our_own_html_reads_back_as_its_lines(lines: list[str]) -> None:
    html = "<br>".join(escape(line) for line in lines)
    assert html_lines(html) == tuple(one_line(line) for line in lines if one_line(line))


@given(
    st.lists(TEXT_WITHOUT_BREAKS.map(one_line).filter(bool)),
    st.sampled_from(["none", "minimal", "exchange", "converted-text", "strange"]),
)
def test_a_body_that_graph_rewrote_reads_the_same(lines: list[str], style: str) -> None:
    html = "<br>".join(escape(line) for line in lines)
    assert html_lines(stored("html", html, style)) == html_lines(html)


@pytest.mark.parametrize(
    "html",
    [
        "Job: Lift &amp; hoist<br>Notes: Ring<br><br>Dog!",
        "<html>\r\n<head>\r\n</head>\r\n<body>\r\nJob: Lift &amp; hoist<br>Notes: Ring<br>Dog!\r\n</body>\r\n</html>",
        (
            "<html><head><style>p { color: red }</style><title>Job</title><!-- x --></head><body>Job: Lift &amp; hoist"
            "<div>Notes:&nbsp;Ring</div>\r\n<div>&nbsp;</div><div>Dog!</div></body></html>"
        ),
        "<HTML><HEAD><META charset=utf-8><BODY><P>Job: Lift\r\n&#38; <SPAN>hoist</SPAN><P>Notes: Ring<BR/>Dog!",
        "<table><tr><td>Job: Lift &amp; hoist</td></tr><tr><td>Notes: Ring<br>Dog!</td></tr></table>",
        "<body><![if !mso]><p>Job: Lift &amp; hoist</p><![endif]><![mso]><p>Notes: Ring</p><p>Dog!</p>",
    ],
)
def test_other_markup_of_the_same_lines_reads_the_same(html: str) -> None:
    assert html_lines(html) == ("Job: Lift & hoist", "Notes: Ring", "Dog!")


@pytest.mark.parametrize(
    "html", ["Job: Lift", "Job: Lift & hoist!", "Job: Lift & hoist<br>Mine", "Job:<br>Lift & hoist"]
)
def test_an_edit_that_a_person_would_see_reads_differently(html: str) -> None:
    assert html_lines(html) != html_lines("Job: Lift &amp; hoist")


@given(st.text(alphabet="<>!/?-[]&;#=\"' abCDATAifendscriptylheo") | st.text())
@example("<![mso]>x")
@example("<![")
@example("<!--")
def test_any_body_that_a_person_left_can_be_read(html: str) -> None:
    assert all(line == one_line(line) for line in html_lines(html))
