-- The trace in which the command was ordered: a webhook, or a person, that answers it later comes with another.
ALTER TABLE command ADD COLUMN traceparent text;
