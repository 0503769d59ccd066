"""The facts about Claude Code that several layers share."""

from __future__ import annotations

import py_compile
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagent.core import claudecode
from stagent.engine import install


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2.1.329 (Claude Code)", (2, 1, 329)),
        (" 10.0.2-beta.1\n", (10, 0, 2)),
        ("2.1", None),
        ("claude 2.1.329", None),
        ("", None),
        ("v2.1.329", None),
    ],
)
def test_versions_are_read(text: str, wanted: tuple[int, int, int] | None) -> None:
    assert claudecode.version(text) == wanted


@given(st.tuples(*[st.integers(0, 10**9 - 1)] * 3))
def test_a_version_is_read_as_it_is_written(number: tuple[int, int, int]) -> None:
    assert claudecode.version(claudecode.dotted(number)) == number


def test_the_plugin_is_named_in_one_way() -> None:
    assert install.PLUGIN_ID == claudecode.PLUGIN_ID
    assert claudecode.RUNNER_PLUGIN != claudecode.PLUGIN
    assert claudecode.OLDEST < claudecode.BELOW


def test_byte_code_is_what_python_itself_would_write(tmp_path: Path) -> None:
    source, place = b'"""Text."""\nassert False\nprint("it runs")\n', tmp_path / "x.pyc"
    place.write_bytes(claudecode.byte_code(source, "/shown/x.py"))
    done = subprocess.run([sys.executable, "-I", "-S", str(place)], capture_output=True, text=True, check=True)
    assert done.stdout == "it runs\n"
    (tmp_path / "x.py").write_bytes(source)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(
        str(tmp_path / "x.py"), str(tmp_path / "y.pyc"), dfile="/shown/x.py", optimize=2, invalidation_mode=mode
    )
    assert (tmp_path / "y.pyc").read_bytes()[:16] == place.read_bytes()[:16]
