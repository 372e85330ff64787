-- Operations are told of these whenever metrics are read, and they are few.
CREATE INDEX notice_uncertain ON notice (batch) WHERE state = 'uncertain';
