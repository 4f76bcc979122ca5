"""SQL filters: what is allowed, what they give, and that a hostile one harms itself alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from armillary_alerts import table
from armillary_alerts.filters import dialect, sql, worker
from armillary_alerts.filters.model import Filter, Limits
from armillary_alerts.packets import rows
from armillary_alerts.packets.decode import Decoder, Raw
from armillary_alerts.replay.simulator import Simulator


@pytest.fixture(scope="module")
def batch() -> pa.RecordBatch:
    """200 simulated alerts."""
    simulator = Simulator(11, "ztf")
    raws = [Raw(simulator.packet(n), 0, n, 1_700_000_000_000) for n in range(200)]
    decoded, refused = Decoder().decode(raws)
    _, found, more = rows.build(decoded)
    assert not refused + more
    return found


@pytest.fixture(scope="module")
def engine() -> Any:
    """An engine for all tests here: each must leave it working."""
    with sql.Engine(seconds=2.0, memory_mib=256) as made:
        yield made


def make(text: str, name: str = "f", **limits: Any) -> Filter:
    """Return a filter."""
    return Filter(owner="ann", name=name, text=text, limits=Limits(**limits))


@pytest.mark.parametrize(
    "text",
    [
        "mag < 19",
        "WHERE mag < 19 AND band = 'r'",
        "SELECT alert_id, mag FROM alerts WHERE mag < 19",
        "SELECT * FROM alerts",
        "SELECT * EXCLUDE (healpix) FROM alerts WHERE snr > 5",
        "SELECT alert_id, -2.5 * log10(flux) + 31.4 AS m FROM alerts WHERE flux > 0",
        "SELECT alerts.ra FROM alerts -- a comment",
        "list_max(history_flux) > 1000",
        "len(list_filter(history_forced, lambda x: NOT x)) > 3",
        "annotations[1].score > 0.5",
        "CASE WHEN band = 'g' THEN mag < 20 ELSE mag < 19 END",
        "coalesce(drb, rb) BETWEEN 0.5 AND 1 AND object_id LIKE 'ZTF%'",
    ],
)
def test_what_filters_are_for_is_allowed(text: str) -> None:
    assert sql.validate(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("DROP TABLE alerts", "Not understood"),
        ("SELECT 1 AS x", "FROM names one table"),
        ("SELECT mag FROM alerts; SELECT mag FROM alerts", "one statement"),
        ("SELECT * FROM read_csv('/etc/passwd')", "FROM names one table"),
        ("SELECT * FROM '/etc/passwd'", "no"),
        ("SELECT mag FROM alerts, alerts AS b", "FROM names one table"),
        ("SELECT mag FROM alerts CROSS JOIN range(1000000000)", "FROM names one table"),
        ("WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT 1 FROM r) SELECT * FROM alerts", "WITH"),
        ("mag < (SELECT max(mag) FROM alerts)", "query within"),
        ("ATTACH '/tmp/x.db'", "Not understood"),
        ("COPY alerts TO '/tmp/x'", "Not understood"),
        ("LOAD httpfs", "Not understood"),
        ("INSTALL httpfs", "Not understood"),
        ("SET threads = 8", "Not understood"),
        ("PRAGMA database_list", "FROM names|Not understood"),
        ("EXPORT DATABASE '/tmp/x'", "Not understood"),
        ("getenv('HOME') = ''", "not allowed"),
        ("read_text('/etc/passwd') = ''", "not allowed"),
        ("current_setting('threads') = 1", "not allowed"),
        ("query('select 1') = 1", "not allowed"),
        ("repeat('x', 1000000000) = 'x'", "not allowed"),
        ("len(range(1000000000)) > 1", "not allowed"),
        ("object_id || object_id = 'x'", "not allowed"),
        ("random() < 0.5", "not allowed"),
        ("nextval('x') = 1", "not allowed"),
        ("sum(mag) > 1", "not allowed"),
        ("row_number() OVER () = 1", "indow"),
        ("mag < 19) OR (1 = 1", "Not understood"),
        ("SELECT mag FROM alerts ORDER BY mag", "ORDER is not allowed"),
        ("SELECT mag FROM alerts LIMIT 4", "LIMIT is not allowed"),
        ("SELECT DISTINCT mag FROM alerts", "DISTINCT is not allowed"),
        ("SELECT mag FROM alerts GROUP BY ALL", "GROUP BY"),
        ("SELECT mag FROM alerts UNION SELECT mag FROM alerts", "UNION"),
        ("SELECT mag FROM other", "one table, alerts"),
        ("SELECT mag FROM main.alerts", "one table, alerts"),
        ("SELECT mag + 1 FROM alerts", "Name what you select"),
        ("SELECT mag AS a, band AS a FROM alerts", "twice"),
        ("SELECT * REPLACE (1 AS mag) FROM alerts", "Of \\*"),
        ("SELECT COLUMNS('m.*') FROM alerts", "Of \\*"),
        ("$1 = 1", "parameter"),
        ("magnitude < 19", "no column 'magnitude'"),
        ("mag LIKE 'x'", "types"),
        ("list_sum(list_transform(history_flux, lambda x: list_sum(list_transform(history_flux, lambda y: x * y)))) > 1",
         "lambda within a lambda"),
        ("(" * 500 + "mag < 1" + ")" * 500 + " AND " + "NOT " * 500 + "mag < 1", "nested|Not understood"),
        (" OR ".join(["mag < 1"] * 3000), "characters"),
    ],
)  # fmt: skip
def test_all_else_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(sql.SqlError, match=why):
        sql.validate(text)


def test_the_engine_reaches_nothing_even_if_the_check_is_passed(tmp_path: Any) -> None:
    connection = worker.connect(64)
    (tmp_path / "secret.csv").write_text("a\n1\n")
    for text in (
        f"SELECT * FROM read_csv('{tmp_path}/secret.csv')",
        f"ATTACH '{tmp_path}/x.db'",
        f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SET threads = 8",
        "SELECT * FROM connection",
    ):
        with pytest.raises(Exception, match=r"Permission|locked|not exist"):
            connection.execute(text)


def test_each_row_is_passed_rejected_or_failed(engine: Any, batch: pa.RecordBatch) -> None:
    mags = batch.column("mag").to_numpy(zero_copy_only=False)
    tenth = "CASE WHEN alert_id % 10 = 0 THEN CAST('x' AS INTEGER) ELSE 1 END = 1"
    made = [
        make("mag < 20.5"),
        make("SELECT alert_id, 2 * mag AS twice FROM alerts WHERE mag < 20.5", "g"),
        make("SELECT * FROM alerts", "all"),
        make(tenth, "tenth"),
        make(f"SELECT alert_id, {tenth} AS t FROM alerts WHERE mag < 20.5", "selects"),
    ]
    plain, twice, every, failing, selects = engine.evaluate(batch, made)
    assert plain.passed.tolist() == np.flatnonzero(mags < 20.5).tolist()
    assert plain.output.column_names == list(table.SCALARS)
    assert plain.output.column("mag").to_numpy() == pytest.approx(mags[plain.passed])
    assert twice.passed.tolist() == plain.passed.tolist()
    assert twice.output.column("twice").to_numpy() == pytest.approx(2 * mags[twice.passed])
    assert (len(every.passed), every.rejected) == (200, 0)
    assert len(failing.failed) == 20
    assert len(failing.passed) == 180
    assert "Could not convert string 'x'" in failing.reason
    assert len(selects.passed) + len(selects.failed) == len(plain.passed)
    assert selects.output.num_rows == len(selects.passed)
    assert not any(each.stopped for each in (plain, twice, every, failing, selects))


def test_a_hundred_filters_and_one_that_takes_for_ever(engine: Any, batch: pa.RecordBatch) -> None:
    work = " OR ".join(
        f"list_sum(list_transform(history_flux, lambda x: exp(sin(cos(exp(sin(x + {n}))))))) < -1"
        for n in range(150)
    )
    big = pa.Table.from_batches([batch] * 40).combine_chunks().to_batches()[0]
    made = [make(f"mag < {18 + n / 50}", f"f{n}") for n in range(100)]
    endless = make(work, "endless", seconds=0.05)
    with sql.Engine(seconds=0.05, memory_mib=256) as small:
        outcomes = small.evaluate(big, [*made, endless])
    assert outcomes[-1].stopped
    assert "over its limit of time" in outcomes[-1].reason
    assert len(outcomes[-1].failed) == big.num_rows
    assert not any(each.stopped for each in outcomes[:100])
    assert len(outcomes[99].passed) > len(outcomes[0].passed)
    again = engine.evaluate(batch, made)
    assert len(again[99].passed) * 40 == len(outcomes[99].passed)


def test_memory_is_bounded_and_the_one_at_fault_is_named(
    batch: pa.RecordBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the check refuses, let through: a second wall stands behind it.
    monkeypatch.setattr(dialect, "FUNCTIONS", dialect.FUNCTIONS | {"repeat", "range"})
    program = (
        "import sys; from armillary_alerts.filters import dialect, worker; "
        "dialect.FUNCTIONS = dialect.FUNCTIONS | {'repeat', 'range'}; sys.exit(worker.main())"
    )
    monkeypatch.setattr(sql, "_PROGRAM", program)
    with sql.Engine(seconds=5.0, memory_mib=128) as small:
        for hog in (
            "len(repeat(object_id, 100000000)) > 1",
            "len(range(alert_id % 7 + 3000000000)) > 1",
        ):
            good, bad = small.evaluate(batch, [make("mag < 20.5"), make(hog, "hog", seconds=5)])
            assert not good.stopped
            assert len(good.passed) + good.rejected == 200
            assert bad.stopped or len(bad.failed) == 200, bad
            assert bad.reason


def test_an_engine_that_was_killed_starts_again(batch: pa.RecordBatch) -> None:
    import os
    import signal

    with sql.Engine() as small:
        assert small.pid
        os.kill(small.pid, signal.SIGKILL)
        (outcome,) = small.evaluate(batch, [make("mag < 20.5")])
        assert not outcome.stopped
        assert len(outcome.passed)


def test_a_fault_of_the_engine_is_blamed_on_no_filter(
    batch: pa.RecordBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import sys; from armillary_alerts.filters import worker; "
        "worker.Evaluator.evaluate = lambda *_: 1 / 0; sys.exit(worker.main())"
    )
    monkeypatch.setattr(sql, "_PROGRAM", program)
    with sql.Engine() as small, pytest.raises(sql.EngineError, match="none is at fault"):
        small.evaluate(batch, [make("mag < 20.5")])
