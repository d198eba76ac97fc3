-- Code before this revision recognizes a copy by its row in the inbox alone. Later code writes none for an outcome that has
-- notifications: they are recognized by their own key. While both run, and after a rollback, the key of such a transfer is refused
-- here, so that earlier code takes its event for a copy.
CREATE FUNCTION skip_recorded_transfer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM notifications WHERE transfer_id = NEW.transfer_id) THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER inbox_skips_recorded_transfers BEFORE INSERT ON inbox
FOR EACH ROW EXECUTE FUNCTION skip_recorded_transfer();
