-- The chassis stores dead letters of any queue: the items of a message name their subjects, here transfers.
ALTER TABLE dead_letters RENAME COLUMN transfer_ids TO subject_ids;
ALTER INDEX dead_letters_of_transfer RENAME TO dead_letters_of_subject;
