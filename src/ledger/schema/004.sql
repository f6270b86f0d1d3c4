-- Slots up to their job's `settled` that have no row in `runs` yet: they wait for their turn. What a
-- row of `runs` will need is kept with them.
CREATE TABLE held (
    job    TEXT NOT NULL,
    slot   INTEGER NOT NULL,
    line   TEXT NOT NULL CHECK (line IN ('queue', 'backlog')),
    name   TEXT NOT NULL,                   -- of the container, and of the run
    origin TEXT NOT NULL,                   -- JSON
    PRIMARY KEY (job, slot)
) STRICT, WITHOUT ROWID;

-- Times in which a person wanted no starts of a job. They outlive the pause, until the job's slots
-- in them have their records.
CREATE TABLE pauses (
    seq      INTEGER PRIMARY KEY,
    job      TEXT NOT NULL,
    from_at  TEXT NOT NULL,
    until_at TEXT,                          -- NULL: until it is resumed
    by       TEXT NOT NULL
) STRICT;

CREATE INDEX pauses_by_job ON pauses (job);

ALTER TABLE runs ADD COLUMN retry_at TEXT;      -- another attempt at the slot is due then
ALTER TABLE runs ADD COLUMN stop_reason TEXT;   -- of stop_requested, where the outcome does not say it
ALTER TABLE runs ADD COLUMN job_group TEXT;     -- whose limit it counts for

CREATE INDEX runs_retry ON runs (retry_at) WHERE retry_at IS NOT NULL;
