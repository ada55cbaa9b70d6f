-- The journal is a copy of the log's output: appended to, never changed.
CREATE TABLE journal (
    seq        bigint PRIMARY KEY,
    id         text NOT NULL UNIQUE,
    number     bigint NOT NULL,
    at         timestamptz NOT NULL,
    event_time timestamptz NOT NULL,
    alarm      text NOT NULL,
    rule       text NOT NULL,
    asset      text NOT NULL,
    occurrence int NOT NULL,
    step       int NOT NULL,
    kind       text NOT NULL,
    before     text NOT NULL,
    after      text NOT NULL,
    condition  text NOT NULL,
    level      int NOT NULL,
    priority   int NOT NULL,
    value      double precision NOT NULL,
    "limit"    double precision NOT NULL,
    sounds     boolean NOT NULL,
    backlog    boolean NOT NULL,
    actor      text NOT NULL,
    actor_name text NOT NULL,
    note       text NOT NULL,
    detail     text NOT NULL
);
CREATE INDEX journal_alarm ON journal (alarm, step);
CREATE INDEX journal_at ON journal (at);

CREATE FUNCTION journal_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the journal is append-only: % refused', TG_OP USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER journal_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal
    FOR EACH STATEMENT EXECUTE FUNCTION journal_refuse();
-- Replication roles do not slip past it either.
ALTER TABLE journal ENABLE ALWAYS TRIGGER journal_append_only;

-- Every alarm as it stands, closed ones too. `open` ends with NORMAL, or with the next occurrence.
CREATE TABLE alarms (
    id               text PRIMARY KEY,
    rule             text NOT NULL,
    asset            text NOT NULL,
    occurrence       int NOT NULL,
    version          int NOT NULL,
    open             boolean NOT NULL,
    state            text NOT NULL,
    condition        text NOT NULL,
    level            int NOT NULL,
    priority         int NOT NULL,
    value            double precision NOT NULL,
    "limit"          double precision NOT NULL,
    -- Empty only where the log began after the onset.
    raised_at        timestamptz,
    onset_event_time timestamptz,
    changed_at       timestamptz NOT NULL,
    backlog          boolean NOT NULL,
    confirmed        boolean NOT NULL,
    acked_by         text NOT NULL,
    acked_by_name    text NOT NULL,
    acked_at         timestamptz,
    note             text NOT NULL,
    detail           text NOT NULL
);
CREATE UNIQUE INDEX alarms_occurrence ON alarms (rule, asset, occurrence);
CREATE INDEX alarms_open ON alarms (priority, raised_at) WHERE open;
