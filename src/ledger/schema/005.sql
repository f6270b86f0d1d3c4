-- Slots of runs that were proven never to have started, from the moment their row of `runs` is taken
-- back. A job's `settled` passes none of them that is neither in `runs` again nor in `held`: a pass that was
-- planned while the run was there took the slot for decided.
CREATE TABLE given_back (
    job  TEXT NOT NULL,
    slot INTEGER NOT NULL,
    PRIMARY KEY (job, slot)
) STRICT, WITHOUT ROWID;
