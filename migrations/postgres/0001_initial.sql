-- The revision of the newest change: one row. Every change updates it in its first statement, and so waits for the one before.
-- Deletions up to tombstone_floor are no longer known one by one.
CREATE TABLE revision (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    current BIGINT NOT NULL,
    tombstone_floor BIGINT NOT NULL
);
INSERT INTO revision (id, current, tombstone_floor) VALUES (1, 0, 0);

CREATE TABLE service (
    id TEXT COLLATE "C" PRIMARY KEY,
    balancing TEXT NOT NULL,
    protocol TEXT NOT NULL,
    connect_timeout_ms BIGINT NOT NULL,
    first_byte_timeout_ms BIGINT NOT NULL,
    idle_timeout_ms BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX service_revision ON service (revision);

-- tags: a JSON array of words.
CREATE TABLE backend (
    id TEXT COLLATE "C" PRIMARY KEY,
    service TEXT COLLATE "C" NOT NULL REFERENCES service (id),
    address TEXT NOT NULL,
    tags TEXT NOT NULL,
    state TEXT NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX backend_revision ON backend (revision);
CREATE INDEX backend_service ON backend (service);

-- chain: the DER of each certificate, one after the other. dns_names: a JSON array.
CREATE TABLE certificate (
    id TEXT COLLATE "C" PRIMARY KEY,
    source TEXT NOT NULL,
    chain BYTEA NOT NULL,
    dns_names TEXT NOT NULL,
    issuer TEXT NOT NULL,
    fingerprint_sha256 TEXT NOT NULL,
    not_before BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    sealed_private_key BYTEA NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX certificate_revision ON certificate (revision);

CREATE TABLE domain (
    host TEXT COLLATE "C" PRIMARY KEY,
    service TEXT COLLATE "C" NOT NULL REFERENCES service (id),
    active_tag TEXT NOT NULL,
    previous_tag TEXT,
    certificate_source TEXT NOT NULL,
    http_to_https BOOLEAN NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX domain_revision ON domain (revision);
CREATE INDEX domain_service ON domain (service);

-- The history: what each revision changed. old_value and new_value: JSON, without secrets; NULL before the creation and
-- after the deletion.
CREATE TABLE change (
    revision BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    old_value TEXT,
    new_value TEXT,
    actor TEXT NOT NULL,
    door TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (revision, seq)
);
CREATE INDEX change_resource ON change (kind, id, revision);

-- What was deleted, and at which revision.
CREATE TABLE tombstone (
    kind TEXT NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX tombstone_revision ON tombstone (revision);

CREATE TABLE secret (
    name TEXT COLLATE "C" PRIMARY KEY,
    sealed BYTEA NOT NULL
);

-- What is remembered about edges; not part of the configuration. rejections: a JSON array.
CREATE TABLE edge (
    id TEXT COLLATE "C" PRIMARY KEY,
    version TEXT NOT NULL,
    acknowledged_revision BIGINT NOT NULL,
    acknowledged_at BIGINT,
    last_contact_at BIGINT NOT NULL,
    rejections TEXT NOT NULL
);
