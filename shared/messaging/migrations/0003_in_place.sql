-- Rows that every batch updates leave room for their next version, which then needs no index entry of its own.
ALTER TABLE heard SET (fillfactor = 50);
ALTER TABLE position SET (fillfactor = 50);
ALTER TABLE subject_sequence SET (fillfactor = 50);
