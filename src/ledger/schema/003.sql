-- Runs whose container is not theirs alone: started again in their job's one container, or a
-- process in somebody else's. What was unique for each container stays so for all others.
ALTER TABLE containers ADD COLUMN reused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE containers ADD COLUMN seen_started TEXT;    -- of a reused one: StartedAt as last recorded

ALTER TABLE runs ADD COLUMN reused TEXT;                -- JSON: the container as it was before this start
ALTER TABLE runs ADD COLUMN exec TEXT;                  -- ID of the exec

DROP INDEX runs_container;
DROP INDEX runs_nonce;
CREATE INDEX runs_container ON runs (container) WHERE container IS NOT NULL;
CREATE INDEX runs_nonce ON runs (nonce) WHERE nonce IS NOT NULL;
CREATE UNIQUE INDEX runs_own_container ON runs (container)
    WHERE container IS NOT NULL AND reused IS NULL AND exec IS NULL;
CREATE UNIQUE INDEX runs_own_nonce ON runs (nonce) WHERE nonce IS NOT NULL AND reused IS NULL;
CREATE UNIQUE INDEX runs_reused ON runs (container, slot, attempt) WHERE reused IS NOT NULL AND slot IS NOT NULL;
CREATE UNIQUE INDEX runs_exec ON runs (exec) WHERE exec IS NOT NULL;
