"""What a Python filter may use."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class JailLimits:
    """What a filter's process gets; above it, the call fails or the process is ended."""

    memory: int = 1024 * MIB
    """Address space, in bytes."""
    batch_seconds: float = 10.0
    """Processor time for all alerts of a batch together."""
    load_seconds: float = 30.0
    """Processor time to start, to import what the filter imports and to define it."""
    open_files: int = 64
    """File descriptors."""
    result_bytes: int = 64 * 1024
    """What one alert's result may hold, as JSON."""
    faults: int = 5
    """So often may the process be ended within `fault_window` before the filter is stopped."""
    fault_window: float = 600.0
    """Seconds."""
    failures: int = 1000
    """So many alerts in a row may fail before the filter is stopped."""
