-- A user's balance is a JSON number: above 2^53 - 1 many readers round it. The last line of defence, not the decision.
-- External accounts keep 64 bits. All migrations run in one transaction, so adding the constraint NOT VALID first would not
-- shorten its lock. Adding the constraint reads accounts once while the table is locked. It fails if a user's balance is above
-- the limit: move the surplus out first.
ALTER TABLE accounts ADD CONSTRAINT accounts_balance_limit CHECK (owner_id IS NULL OR posted <= 9007199254740991);
