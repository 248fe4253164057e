-- Version 1 of the queue's file. A change gets a new version and a way from the old one.
CREATE TABLE message (
    -- Never used again, so that an old receipt cannot name a new message.
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    topic      TEXT    NOT NULL,
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

CREATE INDEX message_by_topic ON message (topic, id, visible_at);
CREATE INDEX message_by_consumer ON message (consumer) WHERE consumer IS NOT NULL;
