"""The service, or with --trial the pod that tries filters in Python.

python3 -m armillary_alerts.service /etc/alerts/service.yml
python3 -m armillary_alerts.service --trial /etc/trial --memory 1024
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from armillary_alerts.service import main
from armillary_alerts.service.lag import KafkaAway
from armillary_alerts.settings import SettingsError


def run() -> int:
    """Run until told to end; return the exit code."""
    parser = argparse.ArgumentParser(prog="armillary_alerts.service", description=__doc__)
    parser.add_argument(
        "settings", type=Path, help="the settings; with --trial the folder with tls.crt and tls.key"
    )
    parser.add_argument("--trial", action="store_true", help="try filters in Python")
    parser.add_argument(
        "--memory", type=int, default=1024, help="of one filter on trial at most, in MiB"
    )
    parser.add_argument("--port", type=int, default=8443, help="that trials are handed in at")
    wanted = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        if wanted.trial:
            folder = wanted.settings
            main.serve_trial(wanted.port, folder / "tls.crt", folder / "tls.key", wanted.memory)
        else:
            main.serve(wanted.settings)
    except (SettingsError, KafkaAway, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run())
