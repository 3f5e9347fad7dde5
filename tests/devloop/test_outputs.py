"""A session's own output is no save of the project that it serves."""

import subprocess
import sys


def test_a_process_knows_where_its_output_goes(tmp_path):
    ask = "from pathlib import Path; from hotloop.devloop.outputs import own_outputs; print(sorted(own_outputs(Path.cwd())))"
    with (tmp_path / "out.txt").open("wb") as out, (tmp_path.parent / "else.txt").open("wb") as other:
        subprocess.run([sys.executable, "-c", ask], cwd=tmp_path, stdout=out, stderr=other, check=True)

    assert (tmp_path / "out.txt").read_text() == "['out.txt']\n"


def test_a_process_knows_which_files_its_pipeline_writes(tmp_path):
    ask = "import time; from pathlib import Path; from hotloop.devloop.outputs import own_outputs\n"
    ask += 'while not all(Path(name).exists() for name in ("out.txt", "copy.txt")): time.sleep(0.01)\n'
    ask += "print(sorted(own_outputs(Path.cwd())))"
    pipeline = f"{sys.executable} -c '{ask}' 2>&1 | sed s/x/x/ | tee out.txt > copy.txt"
    subprocess.run(["sh", "-c", pipeline], cwd=tmp_path, check=True, start_new_session=True)

    assert (tmp_path / "out.txt").read_text() == "['copy.txt', 'out.txt']\n"
