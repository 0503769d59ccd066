"""Process start to the state of a run with 10,000 events, beside a bare SQLite read of one row.

Budget: at most 2 x the bare read.
"""

from __future__ import annotations

import sqlite3
import sys

from common import Bench, process, row

EVENTS, ROUNDS = 10_000, 15

READ = """
import sqlite3, sys
print(sqlite3.connect(sys.argv[1]).execute("select state from runs where run = ?", (sys.argv[2],)).fetchone()[0][:10])
"""
OURS = """
import sys
from pathlib import Path
from stagent.storage.sqlite import SqliteStore
from stagent.engine.journal import Journal
store = SqliteStore(Path(sys.argv[1]), Path(sys.argv[1]).parent / "blobs")
print(Journal(store, lambda: 0).load(sys.argv[2])[0].epoch)
"""


def main() -> None:
    bench = Bench()
    while bench.state.seq < EVENTS:
        bench.transitions(1)
    database = bench.home.data.project(bench.service.project) / "stagent.db"
    sqlite3.connect(database).close()
    ours, bare = [], []
    for _ in range(ROUNDS):
        bare.append(process([sys.executable, "-c", READ, str(database), bench.state.run]))
        ours.append(process([sys.executable, "-c", OURS, str(database), bench.state.run]))
    row(f"state of a run with {bench.state.seq:,} events", ours, bare, "ms", "<= 2")
    bench.close()


if __name__ == "__main__":
    main()
