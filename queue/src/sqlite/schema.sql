-- Version 1 of the queue's file. A change gets a new version and a way from the old one.
CREATE TABLE message (
    -- Never used again, so that an old receipt cannot name a new message.
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    topic      TEXT    NOT NULL,
    job        TEXT    NOT NULL,
    -- Higher ones first.
    priority   INTEGER NOT NULL,
    -- In milliseconds since 1970; that of the first time where it is delivered again.
    published_at INTEGER NOT NULL,
    key        TEXT    NOT NULL,
    payload    BLOB    NOT NULL,
    -- Nobody is given it before, in milliseconds since 1970: a delay, or while it is delivered the
    -- deadline that its consumer keeps moving on. 0 is at once, whatever the clock does.
    visible_at INTEGER NOT NULL,
    -- How often it was delivered; a receipt names one delivery.
    delivery   INTEGER NOT NULL DEFAULT 0,
    -- Who has it; NULL is nobody.
    consumer   TEXT
) STRICT;

CREATE INDEX message_by_turn ON message (topic, priority, job, visible_at);
CREATE INDEX message_by_job ON message (job);
CREATE INDEX message_by_consumer ON message (consumer) WHERE consumer IS NOT NULL;

-- When each job that has messages was last given a turn, as a number that grows with every turn.
CREATE TABLE turn (
    job    TEXT    PRIMARY KEY,
    served INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX turn_by_served ON turn (served);
