-- The statements of the registry. Portable SQL; `?` marks a value, in the order written.

-- name: register_project
-- A project that moved is registered again under its id; when it was first seen stays.
INSERT INTO projects (project, root, fingerprint, created) VALUES (?, ?, ?, ?)
ON CONFLICT (project) DO UPDATE SET root = excluded.root, fingerprint = excluded.fingerprint;

-- name: project
SELECT project, root, fingerprint, created FROM projects WHERE project = ?;

-- name: projects
SELECT project, root, fingerprint, created FROM projects ORDER BY created, project;

-- name: index_run
-- Selecting from projects makes an unknown project 0 rows instead of a driver's error.
INSERT INTO run_index (run, project, session, folder, label, created)
SELECT ?, p.project, ?, ?, ?, ? FROM projects AS p WHERE p.project = ?
ON CONFLICT (run) DO UPDATE SET
    project = excluded.project,
    session = excluded.session,
    folder = excluded.folder,
    label = excluded.label,
    created = excluded.created;

-- name: find_run
SELECT run, project, session, folder, label, created FROM run_index WHERE run = ?;

-- name: runs_of_session
SELECT run, project, session, folder, label, created FROM run_index WHERE session = ? ORDER BY created, run;

-- name: rebind_session
UPDATE run_index SET session = ? WHERE run = ?;

-- name: runs
SELECT run, project, session, folder, label, created FROM run_index ORDER BY created, run;

-- name: runs_of_project
SELECT run, project, session, folder, label, created FROM run_index WHERE project = ? ORDER BY created, run;
