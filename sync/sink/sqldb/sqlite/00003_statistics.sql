-- +goose Up

-- What SQLite plans by: for each index the rows there are, and how many share its first
-- column, its first two, and so on. They are those of an org of 100,000 users and
-- are never renewed: graphs are alike, whatever their size, so their queries are
-- to be planned alike. A sample took each entity to have as many relationships as
-- the account, and a whole count takes the longer the more instances there are.
ANALYZE instances; -- makes the tables
DROP TABLE IF EXISTS sqlite_stat4;
DELETE FROM sqlite_stat1;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('entities', 'sqlite_autoindex_entities_1', '250000 250000 1'),
    ('entities', 'entities_type', '250000 250000 30000 1'),
    ('entities', 'entities_classes', '250000 250000 40000 1'),
    ('entities', 'entities_email', '200000 200000 2'),
    ('entities', 'entities_login', '100000 100000 1'),
    ('entities', 'entities_displayname', '250000 250000 2'),
    ('entities', 'entities_username', '100000 100000 1'),
    ('entities', 'entities_name', '250000 250000 3'),
    ('entities', 'entities_status', '150000 150000 25000'),
    ('entities', 'entities_id', '150000 150000 1'),
    ('relationships', 'sqlite_autoindex_relationships_1', '1150000 1150000 1'),
    ('relationships', 'relationships_from', '1150000 1150000 11 6 1'),
    ('relationships', 'relationships_to', '1150000 1150000 5 5 1'),
    ('relationships', 'relationships_class', '1150000 1150000 400000 6 1'),
    ('relationships', 'relationships_target', '2600 2600 130 1');
