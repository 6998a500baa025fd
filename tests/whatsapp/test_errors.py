"""The error table: classes as the reference gives them, and what a stranger gets."""

from __future__ import annotations

import pytest

from service.channels.whatsapp.errors import GRAPH_ERRORS, graph_error

CLASSES = {
    "transient": [1, 2, 4, 80007, 130429, 131000, 131016, 131056, 131057, 132069, 133004, 133015],
    "permanent": [
        100,
        130472,
        130497,
        131008,
        131009,
        131021,
        131026,
        131030,
        131047,
        131051,
        131053,
        131062,
        132000,
        132001,
        132005,
        132007,
        132008,
        132012,
        132015,
        132016,
        132018,
        132068,
        135000,
        137000,
    ],
    "account": [
        0,
        3,
        10,
        33,
        190,
        368,
        131005,
        131031,
        131037,
        131042,
        131045,
        131048,
        131063,
        131064,
        133010,
        133016,
        134011,
    ],
    "user": [130403, 131049, 131050],
}


def test_the_table_is_the_references_and_complete() -> None:
    expected = {code: name for name, codes in CLASSES.items() for code in codes}
    assert {code: error.error_class for code, error in GRAPH_ERRORS.items()} == expected


@pytest.mark.parametrize("code", sorted(GRAPH_ERRORS))
def test_every_entry_says_what_to_do(code: int) -> None:
    error = graph_error(code)
    assert error.code == code
    assert error.title
    assert error.advice.endswith(".")
    assert error.transient == (error.error_class == "transient")
    assert not error.transient or error.retry_after is not None
    assert 400 <= error.http_status < 600


@pytest.mark.parametrize("code", [200, 250, 299])
def test_the_two_hundreds_are_permissions(code: int) -> None:
    assert (graph_error(code).error_class, graph_error(code).http_status) == ("account", 403)


def test_a_stranger_is_permanent_unless_the_answer_says_otherwise() -> None:
    assert graph_error(987654).error_class == "permanent"
    assert graph_error(987654, says_transient=True).error_class == "transient"
    assert graph_error(131026, says_transient=True).error_class == "permanent"
