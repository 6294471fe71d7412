-- Who sets the records by which names prove themselves to a CA. zones: a JSON array. sealed_settings: JSON, all of it sealed.
CREATE TABLE dns_provider (
    id TEXT PRIMARY KEY,
    zones TEXT NOT NULL,
    sealed_settings BLOB NOT NULL,
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
CREATE INDEX dns_provider_revision ON dns_provider (revision);
