-- What lets people and programs in. secret_sha256: the secret itself is not kept. domains, services: JSON arrays of patterns,
-- both empty for everything. expires_at: NULL for never.
CREATE TABLE token (
    id TEXT PRIMARY KEY,
    secret_sha256 BYTEA NOT NULL UNIQUE,
    role TEXT NOT NULL,
    domains TEXT NOT NULL,
    services TEXT NOT NULL,
    expires_at BIGINT,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX token_revision ON token (revision);

-- When tokens were used last; not part of the configuration.
CREATE TABLE token_use (
    id TEXT PRIMARY KEY,
    last_used_at BIGINT NOT NULL
);
