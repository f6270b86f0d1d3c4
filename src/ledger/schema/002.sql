-- Who asked for a run's end, in words: `cancel` is a person's doing, and history names them.
ALTER TABLE runs ADD COLUMN stop_by TEXT;
