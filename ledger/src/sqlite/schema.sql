-- Version 1 of the ledger's file. A change gets a new version and a way from the old one.
CREATE TABLE job (
    -- Grows with every job: newer jobs have greater ones, also when the clock steps back.
    serial     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE,
    profile    TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    -- JSON, as are `error` and `phases`.
    options    TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    phase      TEXT,
    error      TEXT,
    -- [["scanning", when], …]
    phases     TEXT    NOT NULL DEFAULT '[]',
    -- Milliseconds since 1970, as is every time in this file.
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at   INTEGER
) STRICT;

CREATE INDEX job_by_status ON job (status, serial);

CREATE TABLE task (
    job        TEXT    NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    key        TEXT    NOT NULL,
    -- Whether the job's end needs it. What was only claimed or completed counts nowhere.
    needed     INTEGER NOT NULL DEFAULT 0,
    -- Stays, so that a task which is named again does not come back.
    retired    INTEGER NOT NULL DEFAULT 0,
    done       INTEGER NOT NULL DEFAULT 0,
    frames     INTEGER NOT NULL DEFAULT 0,
    attempts   INTEGER NOT NULL DEFAULT 0,
    -- The last one given out.
    epoch      INTEGER NOT NULL DEFAULT 0,
    -- The lease: its holder, its end and the frames that were reported. NULL without one; a lease
    -- that has ended stays until somebody claims the task.
    worker     TEXT,
    expires_at INTEGER,
    reported   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX task_by_worker ON task (worker) WHERE worker IS NOT NULL;

-- Leases that belong to no job.
CREATE TABLE hold (
    name       TEXT    PRIMARY KEY,
    worker     TEXT    NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE worker (
    id             TEXT    PRIMARY KEY,
    slots          INTEGER NOT NULL,
    version        TEXT    NOT NULL,
    ffmpeg         TEXT    NOT NULL,
    last_heartbeat INTEGER NOT NULL,
    yt_dlp         TEXT
) STRICT, WITHOUT ROWID;
