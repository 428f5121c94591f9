-- Where the player was last in game: a hint for the next placement, worth nothing else. No foreign key: the hub has no list of servers.
ALTER TABLE players ADD COLUMN last_server TEXT;
