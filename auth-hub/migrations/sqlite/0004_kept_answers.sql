-- Requests that must not be carried out twice: claimed before, answered after. Names and request digests are keyed hashes, because a
-- request holds a password; an answer holds tokens and is sealed. A row is of no use to anybody without the fleet key.
CREATE TABLE kept_answers (
    name       BLOB   PRIMARY KEY CHECK (length(name) = 32),
    request    BLOB   NOT NULL CHECK (length(request) = 32),
    claimed_ms BIGINT NOT NULL,
    ends_ms    BIGINT NOT NULL,
    sealed     BLOB   -- NULL while the request runs
);
CREATE INDEX kept_answers_by_end ON kept_answers (ends_ms);
