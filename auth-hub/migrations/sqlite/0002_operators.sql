-- Who is shut out, until when and why. An account without a row is not; a row whose time has passed says nothing any more.
CREATE TABLE bans (
    account   BIGINT PRIMARY KEY REFERENCES accounts (id),
    until_ms  BIGINT, -- null: for ever
    reason    TEXT   NOT NULL,
    banned_by TEXT   NOT NULL,
    since_ms  BIGINT NOT NULL
);

-- What holds for everybody who wants in; at most one row.
CREATE TABLE entry_rules (
    id          BIGINT PRIMARY KEY CHECK (id = 1),
    maintenance TEXT, -- what players are told; null: no maintenance
    allowed     TEXT   NOT NULL, -- login names, parted by spaces, that maintenance does not stop
    build_min   TEXT,
    message     TEXT
);

-- What operators did. A row is written before its action, and gets its outcome after it.
CREATE TABLE audit (
    id       INTEGER PRIMARY KEY,
    at_ms    BIGINT NOT NULL,
    operator TEXT   NOT NULL,
    action   TEXT   NOT NULL,
    target   TEXT   NOT NULL,
    reason   TEXT   NOT NULL,
    outcome  TEXT -- null: begun, and never heard of again
);
