"""One Python filter on the stream: python3 -m armillary_alerts.python_filter /etc/alerts"""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
from pathlib import Path

from confluent_kafka import KafkaException

from armillary_alerts.python_filter.sandbox import JailMissing
from armillary_alerts.python_filter.worker import run


def main() -> int:
    """Run until told to end; return the exit code."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        run(Path(sys.argv[1]), f"python-{socket.gethostname()}", stop)
    except (JailMissing, KafkaException, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
