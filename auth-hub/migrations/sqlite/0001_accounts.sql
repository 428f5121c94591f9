-- Accounts. `id` never leaves the process; `public_id` is what clients and tokens carry.
CREATE TABLE accounts (
    id           INTEGER PRIMARY KEY,
    public_id    BLOB    NOT NULL UNIQUE CHECK (length(public_id) = 16),
    login        TEXT    NOT NULL UNIQUE, -- lower-case ASCII only, so that equality is case-blind
    display_name TEXT    NOT NULL,
    phc          TEXT    NOT NULL,
    state        TEXT    NOT NULL CHECK (state IN ('active', 'disabled', 'banned')),
    created_ms   BIGINT  NOT NULL
);

-- One opaque player id per account and realm: all that game servers see of an account.
CREATE TABLE players (
    account   BIGINT NOT NULL REFERENCES accounts (id),
    realm     TEXT   NOT NULL,
    player_id BLOB   NOT NULL UNIQUE CHECK (length(player_id) = 16),
    PRIMARY KEY (account, realm)
);

-- The highest fence clock that may have been issued; one row.
CREATE TABLE hub_clock (
    id      BIGINT PRIMARY KEY CHECK (id = 1),
    ceiling BIGINT NOT NULL
);

-- Server keys below this generation are revoked.
CREATE TABLE key_generations (
    server_id         TEXT   PRIMARY KEY,
    lowest_generation BIGINT NOT NULL
);
