"""Where the programs `hotloop` and `dev` begin: all that is imported is imported in here."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the program. Ctrl-C while it is still being imported ends it as it ends any program, without a traceback."""
    is_heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else whoever started it has it ignored
    if is_heard:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from hotloop.cli.main import main as run

    if is_heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()
