-- Who sets the records by which names prove themselves to a CA. zones: a JSON array. sealed_settings: JSON, all of it sealed.
CREATE TABLE dns_provider (
    id TEXT PRIMARY KEY,
    zones TEXT NOT NULL,
    sealed_settings BYTEA NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX dns_provider_revision ON dns_provider (revision);
