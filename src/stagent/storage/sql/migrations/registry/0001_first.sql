-- The registry of one data home: which projects there are, and in which of them a run is found. Derived data.
PRAGMA application_id = 1398032210;

-- `root` is the project's folder; `fingerprint` its parentless commits; `created` is unix milliseconds.
CREATE TABLE projects (
    project TEXT NOT NULL PRIMARY KEY,
    root TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    created INTEGER NOT NULL
);

CREATE INDEX projects_by_root ON projects (root);

-- `session` is the agent session that drives the run now, `folder` the run folder, `label` what a list shows.
CREATE TABLE run_index (
    run TEXT NOT NULL PRIMARY KEY,
    project TEXT NOT NULL REFERENCES projects (project),
    session TEXT,
    folder TEXT NOT NULL,
    label TEXT NOT NULL,
    created INTEGER NOT NULL
);

CREATE INDEX run_index_by_session ON run_index (session, created);

CREATE INDEX run_index_by_project ON run_index (project, created);
