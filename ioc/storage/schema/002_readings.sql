-- Time first: a batch then touches few index pages, whatever the spread of its series.
-- A hypertable where TimescaleDB runs; else the same table partitioned by week, the weeks made as readings need them.
-- The two outer partitions take odd dates (a clock that was never set), so that no reading can fail for want of one.
DO $$
BEGIN
    -- Without its library preloaded, CREATE EXTENSION timescaledb would end the session: ask for a setting of it.
    IF current_setting('timescaledb.max_background_workers', true) IS NOT NULL
       AND EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb') THEN
        BEGIN
            CREATE EXTENSION IF NOT EXISTS timescaledb;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE NOTICE 'timescaledb is here, but this user may not create it: partitions by week instead';
        END;
    END IF;

    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        CREATE TABLE readings (
            event_time    timestamptz NOT NULL,
            received_time timestamptz NOT NULL,
            value         double precision NOT NULL,
            series        int NOT NULL,
            flags         smallint NOT NULL,
            revision      smallint NOT NULL
        );
        PERFORM create_hypertable('readings', 'event_time',
                                  chunk_time_interval => interval '7 days', create_default_indexes => false);
    ELSE
        CREATE TABLE readings (
            event_time    timestamptz NOT NULL,
            received_time timestamptz NOT NULL,
            value         double precision NOT NULL,
            series        int NOT NULL,
            flags         smallint NOT NULL,
            revision      smallint NOT NULL
        ) PARTITION BY RANGE (event_time);
        CREATE TABLE readings_before PARTITION OF readings
            FOR VALUES FROM (MINVALUE) TO ('2000-01-03 00:00:00+00');
        CREATE TABLE readings_after PARTITION OF readings
            FOR VALUES FROM ('2100-01-04 00:00:00+00') TO (MAXVALUE);
    END IF;

    CREATE UNIQUE INDEX readings_once ON readings (event_time, series, revision);
END
$$;
