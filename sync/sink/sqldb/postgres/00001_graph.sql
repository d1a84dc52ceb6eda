-- +goose Up

-- Times are milliseconds since 1970, UTC.
CREATE TABLE instances (
    instance     TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name         TEXT COLLATE "C" NOT NULL,
    position     TEXT COLLATE "C" NOT NULL, -- of the changes up to which the graph is held
    delivered_at bigint NOT NULL, -- when that was
    last_change  bigint NOT NULL  -- as of the newest of them, on Okta's clock
);

CREATE TABLE entities (
    instance   TEXT COLLATE "C" NOT NULL,
    key        TEXT COLLATE "C" NOT NULL,
    type       TEXT COLLATE "C" NOT NULL,
    classes    jsonb NOT NULL, -- a list
    properties jsonb NOT NULL,
    as_of      bigint NOT NULL, -- of what last changed it
    mapped     boolean NOT NULL, -- only the target of a mapped relationship, made by the mapper
    PRIMARY KEY (instance, key)
);
CREATE INDEX entities_type ON entities (instance, type, key);
CREATE INDEX entities_classes ON entities (instance, classes, key);

-- An entry of an index has a limit, a property has none: so only its beginning.
CREATE INDEX entities_email ON entities (instance, left(properties ->> 'email', 256))
    WHERE properties ->> 'email' IS NOT NULL;
CREATE INDEX entities_login ON entities (instance, left(properties ->> 'login', 256))
    WHERE properties ->> 'login' IS NOT NULL;
CREATE INDEX entities_displayname ON entities (instance, left(properties ->> 'displayName', 256))
    WHERE properties ->> 'displayName' IS NOT NULL;
CREATE INDEX entities_username ON entities (instance, left(properties ->> 'username', 256))
    WHERE properties ->> 'username' IS NOT NULL;
CREATE INDEX entities_name ON entities (instance, left(properties ->> 'name', 256))
    WHERE properties ->> 'name' IS NOT NULL;
CREATE INDEX entities_status ON entities (instance, left(properties ->> 'status', 256))
    WHERE properties ->> 'status' IS NOT NULL;
CREATE INDEX entities_id ON entities (instance, left(properties ->> 'id', 256))
    WHERE properties ->> 'id' IS NOT NULL;

-- Of a mapped relationship, target_key is the key of the entity that it maps
-- to, which from_key or to_key is too; of others it is NULL, as mapping is.
CREATE TABLE relationships (
    instance   TEXT COLLATE "C" NOT NULL,
    key        TEXT COLLATE "C" NOT NULL,
    type       TEXT COLLATE "C" NOT NULL,
    class      TEXT COLLATE "C" NOT NULL,
    from_key   TEXT COLLATE "C" NOT NULL,
    to_key     TEXT COLLATE "C" NOT NULL,
    properties jsonb NOT NULL,
    mapping    jsonb,
    target_key TEXT COLLATE "C",
    as_of      bigint NOT NULL,
    PRIMARY KEY (instance, key)
);
CREATE INDEX relationships_from ON relationships (instance, from_key, class, to_key);
CREATE INDEX relationships_to ON relationships (instance, to_key, class, from_key);
CREATE INDEX relationships_class ON relationships (instance, class, from_key, to_key);
CREATE INDEX relationships_target ON relationships (instance, target_key, key) WHERE target_key IS NOT NULL;

-- The types that there are, or were since the last snapshot, with their classes;
-- of a relationship (edge) a list of its one class.
CREATE TABLE kinds (
    instance TEXT COLLATE "C" NOT NULL,
    type     TEXT COLLATE "C" NOT NULL,
    classes  jsonb NOT NULL,
    edge     boolean NOT NULL,
    PRIMARY KEY (instance, type, classes, edge)
);

-- The properties that objects of a type have, or had since the last snapshot,
-- and whether as a list.
CREATE TABLE properties (
    instance TEXT COLLATE "C" NOT NULL,
    type     TEXT COLLATE "C" NOT NULL,
    name     TEXT COLLATE "C" NOT NULL,
    is_list  boolean NOT NULL,
    PRIMARY KEY (instance, type, name, is_list)
);
