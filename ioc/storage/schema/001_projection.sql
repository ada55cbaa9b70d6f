-- How far the log has been applied, in the same transaction as what it brought: exactly once.
CREATE TABLE projection (
    name           text PRIMARY KEY,
    applied_number bigint NOT NULL,
    applied_seq    bigint NOT NULL,
    -- `now` of the record applied_number: tells this log from another.
    applied_now_us bigint NOT NULL
);

CREATE TABLE series (
    number int PRIMARY KEY,
    id     text NOT NULL UNIQUE,
    auto   boolean NOT NULL
);

CREATE TABLE packs (
    number bigint PRIMARY KEY,
    hash   text NOT NULL,
    name   text NOT NULL,
    at     timestamptz NOT NULL
);

-- What could not be decoded. `payload` is its beginning, `length` its full length in bytes.
CREATE TABLE quarantine (
    number        bigint PRIMARY KEY,
    received_time timestamptz NOT NULL,
    source        text NOT NULL,
    topic         text NOT NULL,
    reason        text NOT NULL,
    detail        text NOT NULL,
    item          int NOT NULL,
    length        bigint NOT NULL,
    payload       bytea NOT NULL
);
CREATE INDEX quarantine_received_time ON quarantine (received_time);
