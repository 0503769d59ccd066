"""Durable transitions through `RunService` beside a bare one-row durable insert on the same disk, interleaved.

Budget: at least 60 % of the bare insert (SQLite, WAL, synchronous FULL).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from common import Bench, per_second, row

ROUNDS, COUNT = 15, 200


def main() -> None:
    bench = Bench()
    raw = sqlite3.connect(Path(bench.folder.name) / "raw.db", isolation_level=None)
    raw.execute("PRAGMA journal_mode=WAL")
    raw.execute("PRAGMA synchronous=FULL")
    raw.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, body BLOB)")

    def insert() -> None:
        raw.execute("INSERT INTO t (body) VALUES (?)", (b"x" * 400,))

    ours, bare = [], []
    for _ in range(ROUNDS):
        bare.append(per_second(insert, COUNT))
        ours.append(bench.transitions(COUNT))
    row("durable transition / bare insert", ours, bare, "/s", ">= 0.60")
    third = len(ours) // 3
    row("growth: last third / first third", ours[-third:], ours[:third], "/s", "flat")
    raw.close()
    bench.close()


if __name__ == "__main__":
    main()
