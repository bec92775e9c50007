-- One row for each name that was ever locked: who has it, until when, and its fencing counter, which outlives its owner.
CREATE TABLE IF NOT EXISTS redlock_keys (
    key text PRIMARY KEY,
    owner text,
    ends timestamptz,
    counter bigint,
    kept_until timestamptz
);

-- Each request is one call and one transaction. The advisory lock lets them come one after another for each key, also where there is no row
-- to lock; times are read when it is theirs, so that an expired key is as none.
CREATE OR REPLACE FUNCTION redlock_held(a_key text, moment OUT timestamptz, owner OUT text, ends OUT timestamptz, counter OUT bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE found_row redlock_keys;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(a_key, 0));
    SELECT * INTO found_row FROM redlock_keys WHERE key = a_key FOR UPDATE;
    moment := clock_timestamp();
    IF found_row.ends > moment THEN
        owner := found_row.owner;
        ends := found_row.ends;
    END IF;
    IF found_row.kept_until > moment THEN
        counter := found_row.counter;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION redlock_acquire(
    a_key text, an_owner text, ttl bigint, at_least bigint, begins_with bigint, keep_for bigint,
    holder OUT text, remaining OUT bigint, raised OUT bigint
) LANGUAGE plpgsql AS $$
DECLARE held record;
BEGIN
    held := redlock_held(a_key);
    raised := held.counter;
    IF held.owner IS NOT NULL THEN
        holder := held.owner;
        remaining := ceil(extract(epoch FROM held.ends - held.moment) * 1000);
        RETURN;
    END IF;
    IF at_least IS NOT NULL THEN
        raised := CASE WHEN held.counter IS NULL THEN begins_with ELSE greatest(held.counter + 1, at_least) END;
    END IF;
    INSERT INTO redlock_keys AS old VALUES (
        a_key, an_owner, held.moment + ttl * interval '1 millisecond', raised, held.moment + keep_for * interval '1 millisecond'
    ) ON CONFLICT (key) DO UPDATE SET owner = excluded.owner, ends = excluded.ends, counter = excluded.counter,
        kept_until = greatest(old.kept_until, excluded.kept_until);
END $$;

-- 1: done; 0: another owner's; -1: no such key.
CREATE OR REPLACE FUNCTION redlock_extend(a_key text, an_owner text, ttl bigint) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE held record;
BEGIN
    held := redlock_held(a_key);
    IF held.owner IS NULL THEN RETURN -1; END IF;
    IF held.owner <> an_owner THEN RETURN 0; END IF;
    UPDATE redlock_keys SET ends = greatest(ends, held.moment + ttl * interval '1 millisecond') WHERE key = a_key;
    RETURN 1;
END $$;

CREATE OR REPLACE FUNCTION redlock_release(a_key text, an_owner text, next_owner text, ttl bigint) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE held record;
BEGIN
    held := redlock_held(a_key);
    IF held.owner IS NULL THEN RETURN -1; END IF;
    IF held.owner = next_owner THEN RETURN 1; END IF; -- it was released before
    IF held.owner <> an_owner THEN RETURN 0; END IF;
    UPDATE redlock_keys SET owner = next_owner, ends = held.moment + ttl * interval '1 millisecond' WHERE key = a_key;
    PERFORM pg_notify('redlock', a_key);
    RETURN 1;
END $$;

CREATE OR REPLACE FUNCTION redlock_commit(a_key text, an_owner text, token bigint, keep_for bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE held record;
BEGIN
    held := redlock_held(a_key);
    IF held.owner IS DISTINCT FROM an_owner THEN RETURN NULL; END IF;
    UPDATE redlock_keys SET counter = greatest(held.counter, token),
        kept_until = greatest(kept_until, held.moment + keep_for * interval '1 millisecond') WHERE key = a_key;
    RETURN greatest(held.counter, token);
END $$;
