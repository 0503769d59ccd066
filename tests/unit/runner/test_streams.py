from __future__ import annotations

import hashlib
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagent.errors import StoreError
from stagent.runner.streams import BoundedFile, LineSplitter, StreamFile


def split(chunks: list[bytes], limit: int) -> tuple[list[bytes], list[int]]:
    lines: list[bytes] = []
    long: list[int] = []
    splitter = LineSplitter(lines.append, long.append, limit)
    for chunk in chunks:
        splitter.feed(chunk)
    splitter.finish()
    return lines, long


@given(st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"x", b"\n"))), st.integers(1, 20))
def test_lines_do_not_depend_on_how_the_bytes_arrive(chunks: list[bytes], limit: int) -> None:
    expected = [line for line in b"".join(chunks).split(b"\n") if line]
    lines, long = split(chunks, limit)
    assert lines == [line for line in expected if len(line) <= limit]
    assert long == [len(line) for line in expected if len(line) > limit]


def test_a_stream_file_knows_its_digest_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    with StreamFile(str(path)) as stream:
        stream.write(b"one\n")
        assert path.read_bytes() == b"one\n"
        stream.write(b"two")
        digest, size = stream.digest, stream.size
    assert path.read_bytes() == b"one\ntwo"
    assert (digest, size) == (hashlib.sha256(b"one\ntwo").hexdigest(), 7)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("before", "after"), [(b"", b"new\n"), (b"old\n", b"old\nnew\n"), (b"to", b"to\nnew\n")])
def test_a_stream_that_exists_is_continued(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = tmp_path / "stream"
    path.write_bytes(before)
    with StreamFile(str(path)) as stream:
        stream.write(b"new\n")
        assert stream.digest == hashlib.sha256(after).hexdigest()
        assert stream.size == len(after)
    assert path.read_bytes() == after


def test_a_disk_that_takes_no_more_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    stream = StreamFile(str(path))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        with pytest.raises(StoreError) as caught:
            stream.write(b"x" * 200)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
        stream.close()
    assert caught.value.code == "runner.stream_unwritable"
    assert caught.value.where == str(path)
    assert path.read_bytes() == b"x" * 100


@given(st.lists(st.binary(max_size=9), max_size=12))
def test_bounded_keeps_the_first_and_the_last_bytes(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("bounded") / "stderr"
    with BoundedFile(str(path), keep=8) as file:
        for chunk in chunks:
            file.write(chunk)
    whole = b"".join(chunks)
    left_out = len(whole) - 16
    note = b"\n[%d bytes left out]\n" % left_out
    assert path.read_bytes() == (whole if left_out <= 0 else whole[:8] + note + whole[-8:])


def test_the_first_errors_are_in_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "stderr"
    file = BoundedFile(str(path), keep=8)
    file.write(b"0123456789")
    assert path.read_bytes() == b"01234567"
    file.close()
    file.close()
    assert path.read_bytes() == b"0123456789"
