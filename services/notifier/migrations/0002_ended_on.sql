-- What was sure when a duty was ended, as {"grounds": [...], "people": n}: facts that come up later open it again.
-- Empty for duties that were ended before this was kept.
ALTER TABLE duty ADD COLUMN ended_on jsonb;
