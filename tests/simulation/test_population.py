"""Contacts of a simulation: where they come from, and which are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import flowkit as fk
from flowkit.simulation import Population
from flowkit.simulation.population import contacts_of

PEOPLE = [
    {"id": "a", "phone": "+5511999990001", "age": 31, "timezone": "America/Sao_Paulo"},
    {"id": "b", "phone": "+5511999990002", "age": 25, "timezone": "Europe/Berlin"},
]


def zoned(zone: str) -> list[dict[str, Any]]:
    return [{"id": "a", "timezone": zone}]


def frame() -> pd.DataFrame:
    return pd.DataFrame(PEOPLE)


def test_contacts_come_from_frames_files_and_lists(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "p.csv", index=False)
    frame().to_parquet(tmp_path / "p.parquet")
    frame().to_json(tmp_path / "p.ndjson", orient="records", lines=True)
    sources: list[Any] = [PEOPLE, frame(), *sorted(tmp_path.iterdir()), str(tmp_path / "p.csv")]
    for source in sources:
        assert contacts_of(source, {"age": int}) == PEOPLE
        assert type(contacts_of(source)[0]["age"]) is int


def test_a_phone_in_a_csv_stays_a_text(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,phone\n007,5511999990001\n")
    assert contacts_of(tmp_path / "p.csv") == [{"id": "007", "phone": "5511999990001"}]


def test_what_is_missing_is_absent() -> None:
    table = pd.DataFrame({"id": ["a", "b"], "age": [1.0, np.nan], "born": [pd.NaT, pd.NaT]})
    table["name"] = pd.array(["Ana", None], dtype="string[python]")
    assert contacts_of(table) == [{"id": "a", "age": 1.0, "name": "Ana"}, {"id": "b"}]


def test_the_same_seed_makes_the_same_contacts() -> None:
    def made(seed: int) -> list[Any]:
        return list(Population(size=50, seed=seed, fields={"country": {"BR": 3, "US": 1}}))

    assert made(1) == made(1) != made(2)
    countries = [contact["country"] for contact in made(1)]
    assert countries.count("BR") > countries.count("US") > 0
    assert len(contacts_of(Population(size=50))) == 50


@pytest.mark.parametrize(
    ("source", "columns", "code", "path", "words"),
    [
        (PEOPLE, {"plan": str}, "population.columns", "/plan", "'plan' is missing in every row"),
        ([*PEOPLE, {"id": "c"}], {"age": int}, "population.columns", "/age", "in row 2"),
        (PEOPLE, {"age": str}, "population.value", "/0/age", "rows 0, 1 have another type"),
        ([{"id": "a", "age": True}], {"age": int}, "population.value", "/0/age", "such as True"),
        ([{"id": "a", "phone": 5511}], None, "population.value", "/0/phone", "row 0 has"),
        ([{"name": "x"}], None, "population.identity", "/0", "row 0 without"),
        ([{"id": "a"}] * 9, None, "population.duplicate", "/1/id", "3, 4 and 4 more"),
        (zoned("Mars/Base"), None, "population.timezone", "/0/timezone", "Mars"),
        (zoned("../x"), None, "population.timezone", "/0/timezone", "no time"),
        ([7], None, "population.source", "", "int"),
        (7, None, "population.source", "", "int"),
        ({"id": "a"}, None, "population.source", "", "dict"),
        ("people.xls", None, "population.file", "", "people.xls"),
        ("people.csv", None, "population.file", "", "people.csv"),
    ],
)  # fmt: skip
def test_refuses_naming_columns_and_rows(
    source: Any, columns: Any, code: str, path: str, words: str
) -> None:
    with pytest.raises(fk.Invalid) as refusal:
        contacts_of(source, columns)
    problem = refusal.value.problems[0]
    assert (problem.code, problem.path) == (code, path)
    assert words in problem.message


@pytest.mark.parametrize(
    "wrong",
    [{"size": -1}, {"size": 1, "fields": {"x": {}}}, {"size": 1, "fields": {"x": {"a": -1}}}],
)
def test_refuses_a_population_that_cannot_be_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(fk.Invalid):
        Population(**wrong)
