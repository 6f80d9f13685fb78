"""The load generator's report: read right, and never believed when answers were missing."""

from __future__ import annotations

import pytest

from benchmarks.h2load import LoadFailed, parse

_REPORT = """
finished in {took}, 4063.21 req/s, 1.02MB/s
requests: 5000 total, 5000 started, 5000 done, 4990 succeeded, 10 failed, 10 errored, 0 timeout
status codes: 4995 2xx, 0 3xx, 0 4xx, 5 5xx
traffic: 1.26MB (1322548) total, 523.12KB (535678) headers (space savings 88.61%), 468.75KB (480000) data
                     min         max         mean         sd        +/- sd
time for request:      212us      9.94ms      1.97ms       720us    72.30%
"""


@pytest.mark.parametrize(("took", "seconds"), [("1.23s", 1.23), ("456.78ms", 0.45678), ("900us", 0.0009)])
def test_a_report_is_read(took: str, seconds: float) -> None:
    """Requests, good answers, bytes and times come from h2load's text, whatever unit the time has."""
    result = parse(_REPORT.format(took=took))
    assert result.requests == 5000
    assert result.ok == 4990
    assert result.data_bytes == 480_000
    assert result.seconds == pytest.approx(seconds)


def test_another_text_is_refused() -> None:
    """An error message in place of a report is shown, not taken for zero."""
    with pytest.raises(LoadFailed, match="could not connect"):
        parse("could not connect to host")
