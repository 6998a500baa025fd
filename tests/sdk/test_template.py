"""Liquid: renders by its rules, cannot run away, and does not look at the machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.errors import NodeFailed
from flowkit.template import check_template, render
from tests.sdk.strategies import failure_of

SCOPE = {
    "contact": {"first_name": "Ana", "tags": ["a", "b"]},
    "trigger": {"long": "a" * 12_000, "longer": "a" * 70_000},
    "now": "2026-11-22T10:30:00.000Z",
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("no markup", "no markup"),
        ("Hi {{ contact.first_name }}!", "Hi Ana!"),
        ("Hi {{ contact.last_name }}!", "Hi !"),
        ("Hi {{ nothing.at.all }}!", "Hi !"),
        ("{{ contact.last_name | default: 'friend' }}", "friend"),
        ("{% for tag in contact.tags %}[{{ tag }}]{% endfor %}", "[a][b]"),
        ("{% if contact.vip %}dear {% endif %}you", "you"),
        ("{{ contact.tags | join: '-' | replace: 'a', 'z' | upcase }}", "Z-B"),
        ("{{ 'a' | replace: '', 'x' }}", "xax"),
        # the scope's clock, in UTC, and never the machine's
        ("{{ now }}", "2026-11-22T10:30:00.000Z"),
        ("{{ 'now' | date: '%Y-%m-%d %H:%M' }}", "2026-11-22 10:30"),
        ("{{ 'today' | date: '%d' }}", "22"),
        ("{{ today }}", "2026-11-22"),
        ("{{ 0 | date: '%Y-%m-%d %H:%M %Z' }}", "1970-01-01 00:00 UTC"),
        ("{{ '86400' | date: '%d %H' }}", "02 00"),
        # nothing of Python shows
        ("{{ contact.__class__ }}{{ contact.tags.append }}", ""),
    ],
)
def test_rendering(template: str, text: str) -> None:
    assert check_template(template) == []
    assert render(template, SCOPE) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{ contact.first_name",
        "{% if a %}",
        "{% nothing %}",
        "{% include 'x' %}",
        "{% render 'x' %}",
        "{{ a | nothing }}",
        "{{{ a }}}",
        "{" * 10_000,
        "x" * 8_193 + "{{ a }}",
    ],
    ids=lambda template: template[:20],
)
def test_what_is_malformed_is_found_before_it_runs(template: str) -> None:
    (problem,) = check_template(template, "/text")
    assert (problem.code, problem.path) == ("config.template", "/text")
    with pytest.raises(NodeFailed) as caught:
        render(template, {})
    assert caught.value.code == "template_invalid"


def test_a_filter_is_checked_also_where_it_is_not_reached() -> None:
    (problem,) = check_template("{% if a %}{{ a | upcase | nothing }}{% endif %}")
    assert problem.message == "There is no Liquid filter 'nothing'."


@pytest.mark.parametrize(
    "template",
    [
        "{{ 1 | divided_by: 0 }}",
        "{{ 99999999999999999999 | date: '%Y' }}",
        "{% for i in (1..9000000) %}x{% endfor %}",
        "{% for i in (1..200) %}{% for j in (1..200) %}x{% endfor %}{% endfor %}",
        "{{ (1..9000000) | join: ',' }}",
        "{{ (1..9000000) | size }}",
        "{% assign s = 'aa' %}{% for i in (1..99) %}{% assign s = s | append: s %}{% endfor %}",
        "{% capture s %}a{% endcapture %}"
        "{% for i in (1..99) %}{% capture s %}{{ s }}{{ s }}{% endcapture %}{% endfor %}",
        "{{ trigger.longer }}",
    ],
)
def test_what_runs_away_fails_the_node(template: str) -> None:
    assert check_template(template) == []
    with pytest.raises(NodeFailed) as caught:
        render(template, SCOPE)
    assert caught.value.code == "template_invalid"


@pytest.mark.parametrize("name", ["replace", "join"])
def test_two_texts_are_not_multiplied(name: str) -> None:
    template = {
        "replace": "{{ trigger.long | replace: 'a', trigger.long | size }}",
        "join": "{{ trigger.long | split: '' | join: trigger.long | size }}",
    }[name]
    with pytest.raises(NodeFailed, match=f"the result of {name} is too long"):
        render(template, SCOPE)


FRAGMENTS = st.sampled_from(
    [
        *("{{", "}}", "{%", "%}", " ", "a", ".b", "[0]", "|", " upcase", "if", "endif", "'", '"'),
        *("for i in a", "(1..3)", "raw", "endraw", "comment", "endcomment", "assign x = ", ":"),
    ]
)


@given(st.lists(FRAGMENTS, max_size=12).map("".join))
def test_any_text_is_rendered_or_refused(template: str) -> None:
    problems = check_template(template)
    code = failure_of(lambda: render(template, SCOPE))
    assert code in (None, "template_invalid")
    assert code or problems == [] or "no Liquid filter" in problems[0].message
