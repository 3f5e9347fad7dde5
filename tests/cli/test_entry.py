"""The programs' first tenth of a second."""

import os
import signal
import subprocess
import sys

BEGIN = "import sys; from hotloop.cli.entry import main; sys.argv[:] = ['dev', 'version']; main()"


def test_ctrl_c_while_the_program_is_imported_ends_it_without_a_traceback(tmp_path):
    (tmp_path / "typer.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")  # takes long
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])

    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    began = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)

    assert (began, process.returncode, said) == ("importing\n", -signal.SIGINT, "")
