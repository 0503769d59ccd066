"""What hooks are run from is what Python itself would write."""

from __future__ import annotations

import py_compile
import subprocess
import sys
from pathlib import Path

from stagent.bytecode import byte_code


def test_byte_code_is_what_python_itself_would_write(tmp_path: Path) -> None:
    source, place = b'"""Text."""\nassert False\nprint("it runs")\n', tmp_path / "x.pyc"
    place.write_bytes(byte_code(source, "/shown/x.py"))
    done = subprocess.run([sys.executable, "-I", "-S", str(place)], capture_output=True, text=True, check=True)
    assert done.stdout == "it runs\n"
    (tmp_path / "x.py").write_bytes(source)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(
        str(tmp_path / "x.py"), str(tmp_path / "y.pyc"), dfile="/shown/x.py", optimize=2, invalidation_mode=mode
    )
    assert (tmp_path / "y.pyc").read_bytes()[:16] == place.read_bytes()[:16]
