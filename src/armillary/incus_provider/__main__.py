"""Start the provider. Run by Terraform, not by hand."""

import signal


def run() -> None:
    """Serve, deaf to the signals that a process group gets.

    Ctrl-C and a stopped `armillary` signal the whole group. Terraform then tells its providers
    through StopProvider and waits for the calls under way; a provider that died of the signal
    instead would leave behind what it was making. Hence first of all, before slow imports.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    from armillary.incus_provider.plugin import serve
    from armillary.incus_provider.service import Service

    serve(Service())


if __name__ == "__main__":
    run()
