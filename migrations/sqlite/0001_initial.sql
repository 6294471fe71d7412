-- The revision of the newest change: one row. Every change updates it in its first statement, and so waits for the one before.
-- Deletions up to tombstone_floor are no longer known one by one; of the history up to history_floor only the last entry of each
-- object is left.
CREATE TABLE revision (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    current INTEGER NOT NULL,
    tombstone_floor INTEGER NOT NULL,
    history_floor INTEGER NOT NULL
);
INSERT INTO revision (id, current, tombstone_floor, history_floor) VALUES (1, 0, 0, 0);

-- Everything that is configuration. kind: the collection of the resource name. document: switchyard.store.v1.Document.
CREATE TABLE object (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    document BLOB NOT NULL,
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX object_revision ON object (kind, revision, id);

-- Which object refers to which. The keys are checked at the commit: what refers and what it refers to are written in any order.
CREATE TABLE reference (
    from_kind TEXT NOT NULL,
    from_id TEXT NOT NULL,
    to_kind TEXT NOT NULL,
    to_id TEXT NOT NULL,
    PRIMARY KEY (from_kind, from_id, to_kind, to_id),
    FOREIGN KEY (from_kind, from_id) REFERENCES object (kind, id) DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (to_kind, to_id) REFERENCES object (kind, id) DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX reference_to ON reference (to_kind, to_id, from_kind, from_id);

-- The secrets of objects, by the ref that documents name them by. path: the field of the document. fingerprint: a keyed hash of the
-- secret. blob: NULL once it was purged. released_at: the revision at which the object's document ceased to name it.
CREATE TABLE sealed (
    ref TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    path TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    blob BLOB,
    released_at INTEGER
);
CREATE INDEX sealed_object ON sealed (kind, id, released_at);
CREATE INDEX sealed_released_at ON sealed (released_at) WHERE released_at IS NOT NULL;

-- The history: what each revision changed, and from where. document: the whole document after the change, NULL after a deletion; the
-- one before is that of the object's entry before. purged: the field whose earlier secrets were deleted, while the document stayed as it
-- was. address and method: NULL where there was no call.
CREATE TABLE change (
    revision INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    document BLOB,
    purged TEXT,
    actor TEXT NOT NULL,
    origin TEXT NOT NULL,
    address TEXT,
    method TEXT,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (revision, seq)
);
CREATE INDEX change_object ON change (kind, id, revision, seq);

-- What was deleted, and at which revision.
CREATE TABLE tombstone (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX tombstone_revision ON tombstone (revision);

-- Secrets of the control plane itself: its authorities' keys.
CREATE TABLE secret (
    name TEXT PRIMARY KEY,
    sealed BLOB NOT NULL
);

-- What follows is no configuration: it takes no revision and has no history.

-- What is remembered about edges. rejections: a JSON array.
CREATE TABLE edge (
    id TEXT PRIMARY KEY,
    version TEXT NOT NULL,
    acknowledged_revision INTEGER NOT NULL,
    acknowledged_at INTEGER,
    last_contact_at INTEGER NOT NULL,
    -- The newest of them, and how many there are.
    rejections TEXT NOT NULL,
    rejections_total INTEGER NOT NULL
);

-- The keys of edges that were removed: none of them is accepted again.
CREATE TABLE removed_edge_key (
    key_sha256 BLOB PRIMARY KEY,
    edge TEXT NOT NULL,
    removed_at INTEGER NOT NULL
);
CREATE INDEX removed_edge_key_removed_at ON removed_edge_key (removed_at);

-- When tokens were used last.
CREATE TABLE token_use (
    id TEXT PRIMARY KEY,
    last_used_at INTEGER NOT NULL
);

-- How far each domain is with its certificate. version counts the writes, so that nobody writes over what he has not read. issuer: that
-- of the certificate that is served. revoke: a certificate that its issuer is to declare void once another is there, DER. order_*: the
-- order that is open, if one is. renew_at: when the certificate is to be replaced, chosen in the window that its issuer suggested, if it
-- did; ask_at: when to ask it again. on_demand_domain: the domain that a name has its certificate from on demand, NULL for a domain's
-- own.
CREATE TABLE issuance (
    host TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    phase TEXT NOT NULL,
    next_at INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    failure TEXT,
    issuer TEXT,
    order_issuer TEXT,
    order_url TEXT,
    revoke BLOB,
    sealed_order_key BLOB,
    order_began_at INTEGER,
    renew_at INTEGER,
    window_start INTEGER,
    window_end INTEGER,
    ask_at INTEGER,
    on_demand_domain TEXT,
    updated_at INTEGER NOT NULL
);
CREATE INDEX issuance_next_at ON issuance (next_at);
CREATE INDEX issuance_on_demand_domain ON issuance (on_demand_domain) WHERE on_demand_domain IS NOT NULL;

-- Who runs what only one control plane may. Whoever takes it after its end counts the epoch up.
CREATE TABLE lease (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
);

-- What was asked of each issuer that its rate limits count. kind: order, certificate or failure.
CREATE TABLE issuer_use (
    issuer TEXT NOT NULL,
    kind TEXT NOT NULL,
    registered_domain TEXT NOT NULL,
    host TEXT NOT NULL,
    at INTEGER NOT NULL
);
CREATE INDEX issuer_use_at ON issuer_use (issuer, kind, at);
CREATE INDEX issuer_use_host ON issuer_use (issuer, kind, host, at);
CREATE INDEX issuer_use_domain ON issuer_use (issuer, kind, registered_domain, at);
