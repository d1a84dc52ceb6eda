-- +goose Up

-- What people ask most, as plain tables. Times (…_on) are milliseconds since 1970,
-- UTC; booleans are true and false; what is not known is NULL. The columns key, …_key are
-- those of entities and relationships.

-- A row for each user of Okta.
CREATE VIEW users AS SELECT
    u.instance AS instance,
    u.key AS key,
    u.properties ->> 'login' AS login,
    u.properties ->> 'email' AS email,
    u.properties ->> 'name' AS name,
    u.properties ->> 'status' AS status,  -- active, suspended, deprovisioned, …
    CASE u.properties -> 'active' WHEN 'true' THEN true WHEN 'false' THEN false END AS active,
    CASE u.properties -> 'mfaEnabled' WHEN 'true' THEN true WHEN 'false' THEN false END AS mfa_enabled,
    u.properties ->> 'userType' AS user_type,
    u.properties ->> 'department' AS department,
    u.properties ->> 'manager' AS manager,
    CASE jsonb_typeof(u.properties -> 'createdOn') WHEN 'number' THEN (u.properties ->> 'createdOn')::numeric::bigint END AS created_on,
    CASE jsonb_typeof(u.properties -> 'lastLoginOn') WHEN 'number' THEN (u.properties ->> 'lastLoginOn')::numeric::bigint END AS last_login_on,
    CASE jsonb_typeof(u.properties -> 'passwordChangedOn') WHEN 'number' THEN (u.properties ->> 'passwordChangedOn')::numeric::bigint END AS password_changed_on
FROM entities u WHERE u.type = 'okta_user';

-- A row for each group.
CREATE VIEW groups AS SELECT
    g.instance AS instance,
    g.key AS key,
    g.properties ->> 'name' AS name,
    g.properties ->> 'description' AS description,
    g.properties ->> 'type' AS type,  -- OKTA_GROUP, APP_GROUP or BUILT_IN
    CASE jsonb_typeof(g.properties -> 'createdOn') WHEN 'number' THEN (g.properties ->> 'createdOn')::numeric::bigint END AS created_on,
    CASE jsonb_typeof(g.properties -> 'lastMembershipUpdatedOn') WHEN 'number' THEN (g.properties ->> 'lastMembershipUpdatedOn')::numeric::bigint END AS membership_updated_on
FROM entities g WHERE g.type IN ('okta_user_group', 'okta_app_user_group');

-- A row for each user in each group.
CREATE VIEW memberships AS SELECT
    m.instance AS instance,
    m.key AS key,
    g.key AS group_key,
    g.properties ->> 'name' AS group_name,
    u.key AS user_key,
    u.properties ->> 'login' AS user_login
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
    COALESCE(w.properties ->> 'login', w.properties ->> 'name') AS assignee_name,  -- the login of a user, the name of a group
    p.key AS application_key,
    p.properties ->> 'displayName' AS application_name,
    CASE p.properties -> 'active' WHEN 'true' THEN true WHEN 'false' THEN false END AS application_active,
    a.properties ->> 'role' AS role  -- in the application
FROM relationships a
JOIN entities w ON w.instance = a.instance AND w.key = a.from_key
JOIN entities p ON p.instance = a.instance AND p.key = a.to_key
WHERE a.type IN ('okta_user_assigned_application', 'okta_group_assigned_application') AND a.class = 'ASSIGNED';

-- A row for each factor by which a user proves who they are.
CREATE VIEW factors AS SELECT
    f.instance AS instance,
    f.key AS key,
    u.key AS user_key,
    u.properties ->> 'login' AS user_login,
    f.properties ->> 'factorType' AS factor_type,  -- push, webauthn, sms, …
    f.properties ->> 'provider' AS provider,
    f.properties ->> 'status' AS status,
    CASE f.properties -> 'active' WHEN 'true' THEN true WHEN 'false' THEN false END AS active,
    CASE jsonb_typeof(f.properties -> 'createdOn') WHEN 'number' THEN (f.properties ->> 'createdOn')::numeric::bigint END AS created_on,
    CASE jsonb_typeof(f.properties -> 'lastVerifiedOn') WHEN 'number' THEN (f.properties ->> 'lastVerifiedOn')::numeric::bigint END AS last_verified_on
FROM relationships a
JOIN entities u ON u.instance = a.instance AND u.key = a.from_key
JOIN entities f ON f.instance = a.instance AND f.key = a.to_key
WHERE a.type = 'okta_user_assigned_factor' AND a.class = 'ASSIGNED';

-- A row for each user that a person has; of a person without a user one with NULL.
CREATE VIEW persons AS SELECT
    p.instance AS instance,
    p.key AS key,
    p.properties ->> 'name' AS name,
    p.properties -> 'email' ->> 0 AS email,
    p.properties ->> 'department' AS department,
    p.properties ->> 'title' AS title,
    p.properties ->> 'managerEmail' AS manager_email,
    u.key AS user_key,
    u.properties ->> 'login' AS user_login
FROM entities p
LEFT JOIN relationships i ON i.instance = p.instance AND i.to_key = p.key AND i.class = 'IS'
LEFT JOIN entities u ON u.instance = i.instance AND u.key = i.from_key
WHERE p.type = 'employee';
