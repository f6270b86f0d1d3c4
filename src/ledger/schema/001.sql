-- What is known of this ledger as a whole: its id, the engine it belongs to, when it was last alive.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Ledgers that this one took over from.
CREATE TABLE superseded (
    ledger TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Times in which nobody could start anything.
CREATE TABLE gaps (
    seq     INTEGER PRIMARY KEY,
    from_at TEXT NOT NULL,
    to_at   TEXT NOT NULL,
    kind    TEXT NOT NULL
) STRICT;

CREATE TABLE jobs (
    name          TEXT PRIMARY KEY,
    origin        TEXT NOT NULL,            -- JSON
    canonical     TEXT NOT NULL,
    triggers      TEXT NOT NULL,            -- JSON
    policy        TEXT NOT NULL,            -- JSON
    spec_hash     TEXT NOT NULL,
    baseline      TEXT NOT NULL,
    settled       TEXT NOT NULL,
    removed_at    TEXT,
    arm_failed_at TEXT,
    arm_retry_at  TEXT,
    arm_attempts  INTEGER,
    arm_detail    TEXT,
    arm_spec_hash TEXT,
    CHECK ((arm_failed_at IS NULL) = (arm_retry_at IS NULL)),
    CHECK ((arm_failed_at IS NULL) = (arm_attempts IS NULL)),
    CHECK ((arm_failed_at IS NULL) = (arm_detail IS NULL)),
    CHECK ((arm_failed_at IS NULL) = (arm_spec_hash IS NULL))
) STRICT, WITHOUT ROWID;

-- Masked specs: the same text serves every slot of a job until it is edited.
CREATE TABLE specs (
    id     INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,            -- SHA-256 of the text
    text   TEXT NOT NULL
) STRICT;

-- Every container that was ever asked for, from before its create request.
CREATE TABLE containers (
    nonce        TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    job          TEXT NOT NULL,
    slot         INTEGER,
    attempt      INTEGER NOT NULL,
    trigger_kind TEXT NOT NULL,
    spec_hash    TEXT NOT NULL,
    image_id     TEXT NOT NULL,
    at           TEXT NOT NULL,
    origin       TEXT NOT NULL,             -- JSON
    spec         INTEGER NOT NULL REFERENCES specs (id),
    container    TEXT,                      -- full ID, once the engine has told it
    state        TEXT NOT NULL CHECK (state IN ('creating', 'armed', 'intended', 'discarded')),
    CHECK (container IS NOT NULL OR state IN ('creating', 'discarded'))
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX containers_id ON containers (container) WHERE container IS NOT NULL;
CREATE INDEX containers_armed ON containers (job) WHERE state IN ('creating', 'armed');
CREATE INDEX containers_spec ON containers (spec);

-- One row for each attempt, and for each slot that never became one.
CREATE TABLE runs (
    seq            INTEGER PRIMARY KEY,
    id             TEXT NOT NULL UNIQUE,
    job            TEXT NOT NULL,
    project        TEXT NOT NULL,
    slot           INTEGER,
    slot_last      INTEGER,                 -- with count: a collapsed series
    count          INTEGER,
    attempt        INTEGER NOT NULL,
    trigger_kind   TEXT NOT NULL,
    outcome        TEXT,                    -- NULL: running
    reason         TEXT NOT NULL,
    exit_code      INTEGER,
    due_at         TEXT NOT NULL,
    last_due_at    TEXT NOT NULL,           -- of a series its newest slot, else due_at: the order of history
    intent         TEXT,                    -- JSON
    started_at     TEXT,
    finished_at    TEXT,
    recorded_at    TEXT,
    nonce          TEXT REFERENCES containers (nonce),
    container      TEXT,
    container_gone INTEGER NOT NULL,
    held_until     TEXT,
    stop_requested TEXT,
    image          TEXT,
    spec_hash      TEXT,
    origin         TEXT NOT NULL,           -- JSON
    note           TEXT,
    -- What the planner has to look at: running, held, or with a container that is not gone.
    open           INTEGER NOT NULL GENERATED ALWAYS AS
        (outcome IS NULL OR held_until IS NOT NULL OR (container IS NOT NULL AND container_gone = 0)) VIRTUAL,
    CHECK ((outcome IS NULL) = (recorded_at IS NULL)),
    CHECK (outcome IS NOT NULL OR container IS NOT NULL),
    CHECK (slot_last IS NULL OR slot <= slot_last),
    CHECK ((slot_last IS NULL) = (count IS NULL))
) STRICT;

-- The two promises: a slot's attempt has one row, and a container one start.
CREATE UNIQUE INDEX runs_slot ON runs (job, slot, attempt) WHERE slot IS NOT NULL;
CREATE UNIQUE INDEX runs_container ON runs (container) WHERE container IS NOT NULL;
CREATE UNIQUE INDEX runs_nonce ON runs (nonce) WHERE nonce IS NOT NULL;

CREATE INDEX runs_series ON runs (job, slot_last) WHERE slot_last IS NOT NULL;
CREATE INDEX runs_by_job ON runs (job, last_due_at, seq);
CREATE INDEX runs_by_project ON runs (project, last_due_at, seq);
CREATE INDEX runs_by_time ON runs (last_due_at, seq);
CREATE INDEX runs_open ON runs (open) WHERE open = 1;
