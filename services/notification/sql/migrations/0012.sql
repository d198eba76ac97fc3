-- expand: permits all that was permitted
-- Numbers are taken before it is known which events are new, and returned for those that are not. A user whose first event was
-- recognized as a copy has a counter at zero.
ALTER TABLE event_counters
    DROP CONSTRAINT event_counters_last_seq_check,
    ADD CONSTRAINT event_counters_last_seq_check CHECK (last_seq >= 0);
