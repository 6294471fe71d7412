-- The revision of the newest change: one row. Every change updates it in its first statement, and so waits for the one before.
-- Deletions up to tombstone_floor are no longer known one by one.
CREATE TABLE revision (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    current INTEGER NOT NULL,
    tombstone_floor INTEGER NOT NULL
);
INSERT INTO revision (id, current, tombstone_floor) VALUES (1, 0, 0);

CREATE TABLE service (
    id TEXT PRIMARY KEY,
    balancing TEXT NOT NULL,
    protocol TEXT NOT NULL,
    connect_timeout_ms INTEGER NOT NULL,
    first_byte_timeout_ms INTEGER NOT NULL,
    idle_timeout_ms INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
CREATE INDEX service_revision ON service (revision);

-- tags: a JSON array of words.
CREATE TABLE backend (
    id TEXT PRIMARY KEY,
    service TEXT NOT NULL REFERENCES service (id),
    address TEXT NOT NULL,
    tags TEXT NOT NULL,
    state TEXT NOT NULL,
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
CREATE INDEX backend_revision ON backend (revision);
CREATE INDEX backend_service ON backend (service);

-- chain: the DER of each certificate, one after the other. dns_names: a JSON array.
CREATE TABLE certificate (
    id TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    chain BLOB NOT NULL,
    dns_names TEXT NOT NULL,
    issuer TEXT NOT NULL,
    fingerprint_sha256 TEXT NOT NULL,
    not_before INTEGER NOT NULL,
    not_after INTEGER NOT NULL,
    sealed_private_key BLOB NOT NULL,
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
CREATE INDEX certificate_revision ON certificate (revision);

CREATE TABLE domain (
    host TEXT PRIMARY KEY,
    service TEXT NOT NULL REFERENCES service (id),
    active_tag TEXT NOT NULL,
    previous_tag TEXT,
    certificate_source TEXT NOT NULL,
    http_to_https BOOLEAN NOT NULL,
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
CREATE INDEX domain_revision ON domain (revision);
CREATE INDEX domain_service ON domain (service);

-- The history: what each revision changed. old_value and new_value: JSON, without secrets; NULL before the creation and
-- after the deletion.
CREATE TABLE change (
    revision INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    old_value TEXT,
    new_value TEXT,
    actor TEXT NOT NULL,
    door TEXT NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (revision, seq)
);
CREATE INDEX change_resource ON change (kind, id, revision);

-- What was deleted, and at which revision.
CREATE TABLE tombstone (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX tombstone_revision ON tombstone (revision);

CREATE TABLE secret (
    name TEXT PRIMARY KEY,
    sealed BLOB NOT NULL
);

-- What is remembered about edges; not part of the configuration. rejections: a JSON array.
CREATE TABLE edge (
    id TEXT PRIMARY KEY,
    version TEXT NOT NULL,
    acknowledged_revision INTEGER NOT NULL,
    acknowledged_at INTEGER,
    last_contact_at INTEGER NOT NULL,
    rejections TEXT NOT NULL
);
