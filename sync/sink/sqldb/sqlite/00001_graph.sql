-- +goose Up

-- Times are milliseconds since 1970, UTC.
CREATE TABLE instances (
    instance     TEXT NOT NULL PRIMARY KEY,
    name         TEXT NOT NULL,
    position     TEXT NOT NULL, -- of the changes up to which the graph is held
    delivered_at INTEGER NOT NULL, -- when that was
    last_change  INTEGER NOT NULL  -- as of the newest of them, on Okta's clock
) WITHOUT ROWID;

CREATE TABLE entities (
    instance   TEXT NOT NULL,
    key        TEXT NOT NULL,
    type       TEXT NOT NULL,
    classes    TEXT NOT NULL, -- a list
    properties TEXT NOT NULL,
    as_of      INTEGER NOT NULL, -- of what last changed it
    mapped     BOOLEAN NOT NULL, -- only the target of a mapped relationship, made by the mapper
    PRIMARY KEY (instance, key)
);
CREATE INDEX entities_type ON entities (instance, type, key);
CREATE INDEX entities_classes ON entities (instance, classes, key);
CREATE INDEX entities_email ON entities (instance, json_extract(properties, '$.email'))
    WHERE json_extract(properties, '$.email') IS NOT NULL;
CREATE INDEX entities_login ON entities (instance, json_extract(properties, '$.login'))
    WHERE json_extract(properties, '$.login') IS NOT NULL;
CREATE INDEX entities_displayname ON entities (instance, json_extract(properties, '$.displayName'))
    WHERE json_extract(properties, '$.displayName') IS NOT NULL;
CREATE INDEX entities_username ON entities (instance, json_extract(properties, '$.username'))
    WHERE json_extract(properties, '$.username') IS NOT NULL;
CREATE INDEX entities_name ON entities (instance, json_extract(properties, '$.name'))
    WHERE json_extract(properties, '$.name') IS NOT NULL;
CREATE INDEX entities_status ON entities (instance, json_extract(properties, '$.status'))
    WHERE json_extract(properties, '$.status') IS NOT NULL;
CREATE INDEX entities_id ON entities (instance, json_extract(properties, '$.id'))
    WHERE json_extract(properties, '$.id') IS NOT NULL;

-- Of a mapped relationship, target_key is the key of the entity that it maps
-- to, which from_key or to_key is too; of others it is NULL, as mapping is.
CREATE TABLE relationships (
    instance   TEXT NOT NULL,
    key        TEXT NOT NULL,
    type       TEXT NOT NULL,
    class      TEXT NOT NULL,
    from_key   TEXT NOT NULL,
    to_key     TEXT NOT NULL,
    properties TEXT NOT NULL,
    mapping    TEXT,
    target_key TEXT,
    as_of      INTEGER NOT NULL,
    PRIMARY KEY (instance, key)
);
CREATE INDEX relationships_from ON relationships (instance, from_key, class, to_key);
CREATE INDEX relationships_to ON relationships (instance, to_key, class, from_key);
CREATE INDEX relationships_class ON relationships (instance, class, from_key, to_key);
CREATE INDEX relationships_target ON relationships (instance, target_key, key) WHERE target_key IS NOT NULL;

-- The types that there are, or were since the last snapshot, with their classes;
-- of a relationship (edge) a list of its one class.
CREATE TABLE kinds (
    instance TEXT NOT NULL,
    type     TEXT NOT NULL,
    classes  TEXT NOT NULL,
    edge     BOOLEAN NOT NULL,
    PRIMARY KEY (instance, type, classes, edge)
) WITHOUT ROWID;

-- The properties that objects of a type have, or had since the last snapshot,
-- and whether as a list.
CREATE TABLE properties (
    instance TEXT NOT NULL,
    type     TEXT NOT NULL,
    name     TEXT NOT NULL,
    is_list  BOOLEAN NOT NULL,
    PRIMARY KEY (instance, type, name, is_list)
) WITHOUT ROWID;
