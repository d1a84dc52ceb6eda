-- +goose Up

-- What people ask most, as plain tables. Times (…_on) are milliseconds since 1970,
-- UTC; booleans are 1 and 0; what is not known is NULL. The columns key, …_key are
-- those of entities and relationships.

-- A row for each user of Okta.
CREATE VIEW users AS SELECT
    u.instance AS instance,
    u.key AS key,
    json_extract(u.properties, '$.login') AS login,
    json_extract(u.properties, '$.email') AS email,
    json_extract(u.properties, '$.name') AS name,
    json_extract(u.properties, '$.status') AS status,  -- active, suspended, deprovisioned, …
    CASE json_type(u.properties, '$.active') WHEN 'true' THEN 1 WHEN 'false' THEN 0 END AS active,
    CASE json_type(u.properties, '$.mfaEnabled') WHEN 'true' THEN 1 WHEN 'false' THEN 0 END AS mfa_enabled,
    json_extract(u.properties, '$.userType') AS user_type,
    json_extract(u.properties, '$.department') AS department,
    json_extract(u.properties, '$.manager') AS manager,
    CASE json_type(u.properties, '$.createdOn') WHEN 'integer' THEN json_extract(u.properties, '$.createdOn') END AS created_on,
    CASE json_type(u.properties, '$.lastLoginOn') WHEN 'integer' THEN json_extract(u.properties, '$.lastLoginOn') END AS last_login_on,
    CASE json_type(u.properties, '$.passwordChangedOn') WHEN 'integer' THEN json_extract(u.properties, '$.passwordChangedOn') END AS password_changed_on
FROM entities u WHERE u.type = 'okta_user';

-- A row for each group.
CREATE VIEW groups AS SELECT
    g.instance AS instance,
    g.key AS key,
    json_extract(g.properties, '$.name') AS name,
    json_extract(g.properties, '$.description') AS description,
    json_extract(g.properties, '$.type') AS type,  -- OKTA_GROUP, APP_GROUP or BUILT_IN
    CASE json_type(g.properties, '$.createdOn') WHEN 'integer' THEN json_extract(g.properties, '$.createdOn') END AS created_on,
    CASE json_type(g.properties, '$.lastMembershipUpdatedOn') WHEN 'integer' THEN json_extract(g.properties, '$.lastMembershipUpdatedOn') END AS membership_updated_on
FROM entities g WHERE g.type IN ('okta_user_group', 'okta_app_user_group');

-- A row for each user in each group.
CREATE VIEW memberships AS SELECT
    m.instance AS instance,
    m.key AS key,
    g.key AS group_key,
    json_extract(g.properties, '$.name') AS group_name,
    u.key AS user_key,
    json_extract(u.properties, '$.login') AS user_login
FROM relationships m
JOIN entities g ON g.instance = m.instance AND g.key = m.from_key
JOIN entities u ON u.instance = m.instance AND u.key = m.to_key
WHERE m.type = 'okta_group_has_user' AND m.class = 'HAS';

-- A row for each user, and for each group, to which an application is assigned.
CREATE VIEW assignments AS SELECT
    a.instance AS instance,
    a.key AS key,
    w.key AS assignee_key,
    CASE a.type WHEN 'okta_user_assigned_application' THEN 'user' ELSE 'group' END AS assignee_type,
    COALESCE(json_extract(w.properties, '$.login'), json_extract(w.properties, '$.name')) AS assignee_name,  -- the login of a user, the name of a group
    p.key AS application_key,
    json_extract(p.properties, '$.displayName') AS application_name,
    CASE json_type(p.properties, '$.active') WHEN 'true' THEN 1 WHEN 'false' THEN 0 END AS application_active,
    json_extract(a.properties, '$.role') AS role  -- in the application
FROM relationships a
JOIN entities w ON w.instance = a.instance AND w.key = a.from_key
JOIN entities p ON p.instance = a.instance AND p.key = a.to_key
WHERE a.type IN ('okta_user_assigned_application', 'okta_group_assigned_application') AND a.class = 'ASSIGNED';

-- A row for each factor by which a user proves who they are.
CREATE VIEW factors AS SELECT
    f.instance AS instance,
    f.key AS key,
    u.key AS user_key,
    json_extract(u.properties, '$.login') AS user_login,
    json_extract(f.properties, '$.factorType') AS factor_type,  -- push, webauthn, sms, …
    json_extract(f.properties, '$.provider') AS provider,
    json_extract(f.properties, '$.status') AS status,
    CASE json_type(f.properties, '$.active') WHEN 'true' THEN 1 WHEN 'false' THEN 0 END AS active,
    CASE json_type(f.properties, '$.createdOn') WHEN 'integer' THEN json_extract(f.properties, '$.createdOn') END AS created_on,
    CASE json_type(f.properties, '$.lastVerifiedOn') WHEN 'integer' THEN json_extract(f.properties, '$.lastVerifiedOn') END AS last_verified_on
FROM relationships a
JOIN entities u ON u.instance = a.instance AND u.key = a.from_key
JOIN entities f ON f.instance = a.instance AND f.key = a.to_key
WHERE a.type = 'okta_user_assigned_factor' AND a.class = 'ASSIGNED';

-- A row for each user that a person has; of a person without a user one with NULL.
CREATE VIEW persons AS SELECT
    p.instance AS instance,
    p.key AS key,
    json_extract(p.properties, '$.name') AS name,
    json_extract(p.properties, '$.email[0]') AS email,
    json_extract(p.properties, '$.department') AS department,
    json_extract(p.properties, '$.title') AS title,
    json_extract(p.properties, '$.managerEmail') AS manager_email,
    u.key AS user_key,
    json_extract(u.properties, '$.login') AS user_login
FROM entities p
LEFT JOIN relationships i ON i.instance = p.instance AND i.to_key = p.key AND i.class = 'IS'
LEFT JOIN entities u ON u.instance = i.instance AND u.key = i.from_key
WHERE p.type = 'employee';
