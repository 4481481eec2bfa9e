"""Deadlines by Regulation 1182/71 for the GDPR, by plain days for California."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone

import holidays
import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import given
from hypothesis import strategies as st

from amends.errors import BadInput, BadPolicy, Denied
from amends.policy import deadline, extend, find_regime, load_regimes, read_deadline

GDPR, CCPA = find_regime("gdpr"), find_regime("ccpa")
YEARS = range(2020, 2041)
OFF = {country: frozenset(holidays.country_holidays(country, years=YEARS)) for country in ("DE", "FR", "IE")}


def noon(*day):
    return datetime(*day, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("received", "due"),
    [
        ((2026, 1, 31), (2026, 3, 2)),  # 28 February is a Saturday
        ((2026, 3, 31), (2026, 4, 30)),  # no 31 April
        ((2026, 11, 25), (2026, 12, 28)),  # two holidays, a Sunday
        ((2024, 1, 31), (2024, 2, 29)),  # a leap year
        ((2023, 1, 31), (2023, 2, 28)),  # none
        ((2024, 1, 29), (2024, 2, 29)),
        ((2027, 12, 1), (2028, 1, 3)),  # New Year's Day, a Saturday, into the next year
        ((2026, 12, 15), (2027, 1, 15)),
    ],
)
def test_a_month_ends_on_the_same_numbered_day_or_the_next_working_day(received, due):
    assert deadline(GDPR, noon(*received), "DE").due_on == date(*due)


@given(
    received=st.dates(date(2021, 1, 1), date(2038, 12, 31)),
    country=st.sampled_from(sorted(OFF)),
    extended=st.booleans(),
)
def test_a_due_date_is_the_first_working_day_from_the_end_of_the_period(received, country, extended):
    first = deadline(GDPR, noon(received.year, received.month, received.day), country)
    found = extend(first, "many requests", first.received_at) if extended else first
    end = received + relativedelta(months=3 if extended else 1)
    skipped = [end + timedelta(days=number) for number in range((found.due_on - end).days)]
    assert found.due_on >= end
    assert found.due_on.weekday() < 5 and found.due_on not in OFF[country]
    assert all(day.weekday() >= 5 or day in OFF[country] for day in skipped)


def test_a_holiday_of_one_country_is_a_working_day_in_another():
    received = noon(2026, 6, 14)
    assert deadline(GDPR, received, "FR").due_on == date(2026, 7, 15)
    assert deadline(GDPR, received, "DE").due_on == date(2026, 7, 14)


def test_a_holiday_of_one_part_counts_where_the_part_is_named():
    received = noon(2025, 12, 6)
    assert deadline(GDPR, received, "DE").due_on == date(2026, 1, 6)
    assert deadline(GDPR, received, "DE-BY").due_on == date(2026, 1, 7)


def test_the_day_of_receipt_is_the_day_on_the_clocks_of_the_jurisdiction():
    late = datetime(2026, 4, 14, 22, 30, tzinfo=UTC)
    assert deadline(GDPR, late, "DE").due_on == date(2026, 5, 15)
    assert deadline(GDPR, late, "IE").due_on == date(2026, 5, 14)
    same = late.astimezone(timezone(timedelta(hours=-9)))
    assert deadline(GDPR, same, "DE") == deadline(GDPR, late, "DE")


def test_the_last_day_runs_to_its_end_in_local_time():
    due = deadline(GDPR, noon(2026, 6, 15), "DE")
    assert due.due_at == datetime(2026, 7, 15, 21, 59, 59, tzinfo=UTC)
    assert not due.is_overdue(due.due_at) and due.is_overdue(due.due_at + timedelta(seconds=1))


def test_days_left_are_local_days():
    due = deadline(GDPR, noon(2026, 6, 15), "DE")
    assert due.days_left(noon(2026, 6, 15)) == 30
    assert due.days_left(due.due_at) == 0
    assert due.days_left(due.due_at + timedelta(seconds=1)) == -1


def test_a_deadline_says_what_it_was_computed_from_and_comes_back_from_its_record():
    due = extend(deadline(GDPR, noon(2026, 6, 15), "DE-BY"), "many requests", noon(2026, 6, 20))
    assert due.rule == "gdpr 1 (GDPR Art. 12(3); Regulation (EEC, Euratom) No 1182/71 Art. 3)"
    assert due.calendar == f"holidays {holidays.__version__}" and due.jurisdiction == "DE-BY"
    again = read_deadline(json.loads(json.dumps(due.as_json())))
    assert again == due and again.days_left(noon(2026, 9, 1)) == 14
    with pytest.raises(BadInput, match="damaged"):
        read_deadline({**due.as_json(), "due_at": "soon"})


@pytest.mark.parametrize("jurisdiction", [None, "", "US", "XX", "de", "Germany", "DE-XX", "US-CA"])
def test_the_gdpr_is_refused_without_a_jurisdiction_it_knows(jurisdiction):
    with pytest.raises(BadInput, match=r"jurisdiction|does not apply|no calendar"):
        deadline(GDPR, noon(2026, 6, 15), jurisdiction)


def test_every_jurisdiction_has_a_time_zone_and_a_calendar():
    for regime in load_regimes().values():
        for jurisdiction in regime.timezones:
            assert deadline(regime, noon(2026, 6, 15), jurisdiction).due_on >= date(2026, 7, 15)


def test_a_time_without_a_zone_is_refused():
    naive = datetime(2026, 6, 15)
    with pytest.raises(BadInput, match="received_at has no time zone"):
        deadline(GDPR, naive, "DE")
    with pytest.raises(BadInput, match="now has no time zone"):
        deadline(GDPR, noon(2026, 6, 15), "DE").days_left(naive)


def test_an_extension_gives_three_months_from_receipt():
    first = deadline(GDPR, noon(2026, 1, 31), "DE")
    longer = extend(first, "many requests", first.due_at)
    assert longer.due_on == date(2026, 4, 30) and longer.received_at == first.received_at
    assert longer.extension is not None and "many" not in repr(longer)


@pytest.mark.parametrize(
    ("reason", "notice", "said"),
    [
        (" ", noon(2026, 2, 10), "needs a reason"),
        ("many requests", noon(2026, 3, 3), "must be sent between"),
        ("many requests", noon(2026, 1, 30), "must be sent between"),
    ],
)
def test_an_extension_needs_a_reason_and_a_notice_inside_the_first_month(reason, notice, said):
    with pytest.raises(Denied, match=said):
        extend(deadline(GDPR, noon(2026, 1, 31), "DE"), reason, notice)


def test_there_is_one_extension_only():
    longer = extend(deadline(GDPR, noon(2026, 1, 31), "DE"), "many requests", noon(2026, 2, 10))
    with pytest.raises(Denied, match="extended before"):
        extend(longer, "more requests", noon(2026, 2, 11))


def test_california_counts_45_days_and_45_more_and_never_rolls():
    due = deadline(CCPA, noon(2026, 1, 1))
    assert due.due_on == date(2026, 2, 15) and due.due_on.weekday() == 6
    assert due.due_at == datetime(2026, 2, 16, 7, 59, 59, tzinfo=UTC)
    assert extend(due, "many requests", noon(2026, 2, 1)).due_on == date(2026, 4, 1)
    assert due.calendar.startswith("none")


def test_an_unknown_regime_is_refused():
    with pytest.raises(BadInput, match="there are gdpr, ccpa"):
        find_regime("lgpd")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("own: {law: L, rolls: false, timezones: {XX: UTC}}", "either months or days"),
        ("own: {law: L, days: 1, months: 1, rolls: false, timezones: {XX: UTC}}", "either months or days"),
        ("own: {law: L, days: 1, extension_months: 1, rolls: false, timezones: {XX: UTC}}", "unknown key"),
        ("own: {law: L, days: 1, rolls: maybe, timezones: {XX: UTC}}", "must be true or false"),
        ("own: {law: L, days: 1, rolls: false}", "must name every jurisdiction"),
        ("own: {law: L, days: 1, rolls: false, timezones: {NO: UTC}}", "no name"),
        ("{}", "names no regime"),
    ],
)
def test_a_mistake_in_the_regimes_is_refused(tmp_path, body, said):
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "regimes.yaml").write_text(f'version: "2"\nregimes:\n  {body}\n')
    with pytest.raises(BadPolicy, match=said):
        load_regimes(tmp_path)


def test_a_workspace_can_bring_its_own_regimes(tmp_path):
    (tmp_path / "policies").mkdir()
    text = 'version: "2"\nregimes:\n  own: {law: L, days: 15, rolls: true, jurisdiction: US, timezones: {US: UTC}}\n'
    (tmp_path / "policies" / "regimes.yaml").write_text(text)
    due = deadline(find_regime("own", tmp_path), noon(2026, 6, 19))
    assert due.due_on == date(2026, 7, 6) and due.rule == "own 2 (L)"
    with pytest.raises(Denied, match="knows no extension"):
        extend(due, "many requests", noon(2026, 6, 20))
