-- Who waits for a slot. A ticket that is not here counts no more.
CREATE TABLE queue_tickets (
    account    BIGINT NOT NULL PRIMARY KEY REFERENCES accounts (id), -- one ticket each
    ticket_id  BLOB   NOT NULL UNIQUE CHECK (length(ticket_id) = 16),
    arrived_us BIGINT NOT NULL, -- microseconds since 1970: its place in the order
    is_reconnect BIGINT NOT NULL CHECK (is_reconnect IN (0, 1)),
    wish       BLOB   NOT NULL  -- what it waits for: postcard, its first byte a version
);

-- Accounts that go before others in the queue.
CREATE TABLE queue_priorities (
    account BIGINT NOT NULL PRIMARY KEY REFERENCES accounts (id)
);
