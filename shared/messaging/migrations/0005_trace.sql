-- The trace in which the timer was set: what it does later belongs to the same story.
ALTER TABLE timer ADD COLUMN traceparent text;
