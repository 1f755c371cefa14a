"""Texts of any size and shape: read in one pass, in bounded time and memory."""

from dataclasses import replace
from datetime import UTC, datetime
from html import escape
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.domain.event import RemoteEvent
from consumer.domain.render import BODY_LIMIT
from consumer.domain.text import READ_LIMIT, html_lines, lines_of, one_line, pieces

SIZE = 200_000
"""In characters. A quadratic read takes minutes at this size, so that its test does not end in time."""

FLOODS = {
    "tags without end": "<a ",
    "tags with a name only": "<a",
    "end tags without end": "</a ",
    "attributes without end": '<a href="',
    "attributes without end, single": "<a href='",
    "attributes without a value": "<a b=",
    "equals signs": "<a =",
    "blanks in a tag": "<a \t\n",
    "slashes": "<a/",
    "comments without end": "<!--",
    "comments that nearly end": "<!--->-",
    "comment ends": "-->",
    "dashes": "<!-- --",
    "declarations": "<!",
    "doctypes": "<!doctype ",
    "sections without end": "<![CDATA[",
    "section ends": "]]>",
    "instructions": "<?",
    "style without end": "<style>",
    "style with attributes": "<style a=",
    "style that nearly ends": "<style></styl",
    "ends of style": "</style",
    "scripts": "<script>x</script",
    "title without end": "<title ",
    "number references": "&#",
    "hexadecimal references": "&#x",
    "references": "&",
    "names": "&a",
    "ampersands of names": "&amp",
    "digits": "1",
    "less than": "<",
    "greater than": ">",
    "quotes": "<\"'",
    "deep nesting": "<div>",
    "closing only": "</div>",
    "NUL": "\x00",
    "NUL in tags": "<\x00a",
    "NUL in a tag": "<a\x00",
    "line breaks": "\r\n",
    "blanks": " ",
    "no-break spaces": "\xa0",
    "lone surrogates": "\ud83d",
    "words": "word ",
    "heads": "<head>",
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
@pytest.mark.parametrize("start", ["", "<p>Job: Lift</p>", "<a ", "&#", "<!--", "<style>", '<a title="'])
def test_html_of_any_shape_is_cut_into_pieces_that_lie_end_to_end(flood: str, start: str) -> None:
    html = (start + flood * (SIZE // len(flood)))[:SIZE]
    reached = 0
    for piece in pieces(html):
        assert piece.start() == reached < piece.end()
        reached = piece.end()
    assert reached == len(html)


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_html_of_any_shape_is_read(flood: str) -> None:
    lines = html_lines(flood * (SIZE // len(flood)))
    assert sum(map(len, lines)) <= SIZE
    assert all(line == one_line(line) for line in lines)


@given(st.text(alphabet="<>!/?-[]&;#=\"' abCDATAifendscriptylheo\x00\ud83d") | st.text())
@example("<style/>a<style>b</style >c")
@example("<!-->a<!--->b<!---->c<!--x--!>d")
def test_pieces_lose_nothing(html: str) -> None:
    assert "".join(piece[0] for piece in pieces(html)) == html


@pytest.mark.parametrize(
    ("html", "lines"),
    [
        ('a<b title="1 > 0">c</b>', ("ac",)),
        ("a<b title='1 > 0' x=\"<br>\">c</b>", ("ac",)),
        ("a<b title=1>0</b>", ("a0",)),
        ("a<b title>c", ("ac",)),
        ('a<b title="never closed>c<br>d', ("a",)),
        ("a<b title=", ("a",)),
        ("1 < 2 <3 <= 4", ("1 < 2 <3 <= 4",)),
        ("a<", ("a<",)),
        ("a</>b</ >c</3>d", ("abcd",)),
        ("a<!-- > -- > <br> -->b<!-->c<!--->d<!--x--!>e<!-- never closed <br>f", ("abcde",)),
        ("<!DOCTYPE html>a<?xml version='1.0'?>b<![CDATA[c]]>d", ("abd",)),
        ("<STYLE type='a>b'><p>a</p></style\n>b<style/>c<script>d</scripts>e</SCRIPT>f", ("bcf",)),
        ("a<title>b<br>c</title>d<style>never closed", ("ad",)),
        ("<head>a<head>b</head>c", ("c",)),
        ("<head/>a", ("a",)),
        ("<styles>a</styles>", ("a",)),
        ("a<br/>b<BR />c<br\nclear=all>d", ("a", "b", "c", "d")),
        ("a&#00000000000000065;b&#x0000000000000042;c", ("aAbBc",)),
        ("&#" + "1" * 5000 + ";x", ("\ufffdx",)),
        ("&#x" + "1" * 5000 + ";x", ("\ufffdx",)),
        ("&#xd83d;&#55357;&#0;", ("\ufffd\ufffd\ufffd",)),
        ("&amp;lt;&AMP&nbsp&notit;&unknown;", ("&lt;& ¬it;&unknown;",)),
    ],
)
def test_html_reads_as_browsers_show_it(html: str, lines: tuple[str, ...]) -> None:
    assert html_lines(html) == lines


def test_a_body_longer_than_the_service_writes_equals_only_itself() -> None:
    huge = "<p>Job: Lift</p>" * (10_000_000 // 16)
    read = html_lines(huge)
    assert read == html_lines(huge)
    assert read != html_lines(huge + "<br>")
    assert sum(map(len, read)) < 100
    assert all(line != one_line(line) for line in read), "no body of the service reads like this"
    assert html_lines("\ud83d" * (READ_LIMIT + 1)) != html_lines("\ud83e" * (READ_LIMIT + 1))


def test_the_longest_body_of_the_service_is_read_even_if_exchange_wraps_every_line() -> None:
    lines = ["a&"] * (BODY_LIMIT // len("a&amp;<br>"))
    wrapped = "".join(f'<p class="MsoNormal" style="margin:0"><span>{escape(line)}</span></p>\r\n' for line in lines)
    assert html_lines(wrapped) == tuple(lines)


def seen(**fields: Any) -> RemoteEvent:
    moment = datetime(2026, 12, 1, tzinfo=UTC)
    event = RemoteEvent(
        event_id="id",
        etag="etag",
        tag="acme/J",
        subject="",
        location="",
        body="",
        start=moment,
        end=moment,
        is_all_day=False,
        show_as="busy",
        is_reminder_on=True,
        reminder_minutes=15,
        sensitivity="normal",
        importance="normal",
        single=True,
    )
    return replace(event, **fields)


@pytest.mark.parametrize("field", ["subject", "location", "body"])
def test_a_digest_is_sixteen_bytes_of_any_text(field: str) -> None:
    digests = {seen(**{field: text}).digest() for text in ("", "x" * 5_000_000, "call \ud83d", "call \ud83e", "a\x00b")}
    assert len(digests) == 5
    assert {len(digest) for digest in digests} == {16}


@pytest.mark.parametrize("blank", ["\n", " \r\n", "\u2028", "\t\x00\n"])
def test_blank_lines_at_the_ends_of_a_text_are_dropped_in_one_pass(blank: str) -> None:
    many = blank * SIZE
    assert lines_of(f"{many}a\n\nb{many}") == ["a", "", "b"]
    assert lines_of(many) == []
