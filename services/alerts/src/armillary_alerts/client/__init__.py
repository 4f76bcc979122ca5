"""Filters on the stream of alerts, from a notebook.

from armillary_alerts.client import Alerts

alerts = Alerts()
young = alerts.save("young", "survey = 'ztf' AND drb > 0.9 AND age < 3")
young.backtest()
young.activate()
for alert in young.stream(seconds=60):
    print(alert["object_id"], alert["mag"])
"""

from armillary_alerts.client.alerts import AlertFilter, Alerts, Backtest, Stats
from armillary_alerts.client.http import AlertsError
from armillary_alerts.client.stream import Stream

__all__ = ["AlertFilter", "Alerts", "AlertsError", "Backtest", "Stats", "Stream"]
