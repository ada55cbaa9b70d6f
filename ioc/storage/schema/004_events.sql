-- Every revision of every event that came; of one that came again, the first. Which one holds, `revision` says.
CREATE TABLE events (
    domain        text NOT NULL,
    station       text NOT NULL,
    kind          text NOT NULL,
    id            text NOT NULL,
    revision      bigint NOT NULL,
    -- That of its record in the log.
    number        bigint NOT NULL,
    source        text NOT NULL,
    start_time    timestamptz NOT NULL,
    -- Empty while the event lasts.
    end_time      timestamptz,
    received_time timestamptz NOT NULL,
    -- As it was written, every digit of it.
    facts         json NOT NULL,
    PRIMARY KEY (domain, station, kind, id, revision)
);
CREATE UNIQUE INDEX events_number ON events (number);
