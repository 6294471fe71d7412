-- The revision of the newest change: one row. Every change updates it in its first statement, and so waits for the one before.
-- Deletions up to tombstone_floor are no longer known one by one; of the history up to history_floor only the last entry of each
-- object is left.
CREATE TABLE revision (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    current BIGINT NOT NULL,
    tombstone_floor BIGINT NOT NULL,
    history_floor BIGINT NOT NULL
);
INSERT INTO revision (id, current, tombstone_floor, history_floor) VALUES (1, 0, 0, 0);

-- Everything that is configuration. kind: the collection of the resource name. document: switchyard.store.v1.Document.
CREATE TABLE object (
    kind TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    document BYTEA NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX object_revision ON object (kind, revision, id);

-- Which object refers to which. The keys are checked at the commit: what refers and what it refers to are written in any order.
CREATE TABLE reference (
    from_kind TEXT COLLATE "C" NOT NULL,
    from_id TEXT COLLATE "C" NOT NULL,
    to_kind TEXT COLLATE "C" NOT NULL,
    to_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (from_kind, from_id, to_kind, to_id),
    FOREIGN KEY (from_kind, from_id) REFERENCES object (kind, id) DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (to_kind, to_id) REFERENCES object (kind, id) DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX reference_to ON reference (to_kind, to_id, from_kind, from_id);

-- The secrets of objects, by the ref that documents name them by. path: the field of the document. fingerprint: a keyed hash of the
-- secret. blob: NULL once it was purged. released_at: the revision at which the object's document ceased to name it.
CREATE TABLE sealed (
    ref TEXT COLLATE "C" PRIMARY KEY,
    kind TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    path TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    blob BYTEA,
    released_at BIGINT
);
CREATE INDEX sealed_object ON sealed (kind, id, released_at);
CREATE INDEX sealed_released_at ON sealed (released_at) WHERE released_at IS NOT NULL;

-- The history: what each revision changed, and from where. document: the whole document after the change, NULL after a deletion; the
-- one before is that of the object's entry before. purged: the field whose earlier secrets were deleted, while the document stayed as it
-- was. address and method: NULL where there was no call.
CREATE TABLE change (
    revision BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    document BYTEA,
    purged TEXT,
    actor TEXT NOT NULL,
    origin TEXT NOT NULL,
    address TEXT,
    method TEXT,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (revision, seq)
);
CREATE INDEX change_object ON change (kind, id, revision, seq);

-- What was deleted, and at which revision.
CREATE TABLE tombstone (
    kind TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX tombstone_revision ON tombstone (revision);

-- Secrets of the control plane itself: its authorities' keys.
CREATE TABLE secret (
    name TEXT COLLATE "C" PRIMARY KEY,
    sealed BYTEA NOT NULL
);

-- What follows is no configuration: it takes no revision and has no history.

-- What is remembered about edges. rejections: a JSON array.
CREATE TABLE edge (
    id TEXT COLLATE "C" PRIMARY KEY,
    version TEXT NOT NULL,
    acknowledged_revision BIGINT NOT NULL,
    acknowledged_at BIGINT,
    last_contact_at BIGINT NOT NULL,
    -- The newest of them, and how many there are.
    rejections TEXT NOT NULL,
    rejections_total BIGINT NOT NULL
);

-- The keys of edges that were removed: none of them is accepted again.
CREATE TABLE removed_edge_key (
    key_sha256 BYTEA PRIMARY KEY,
    edge TEXT NOT NULL,
    removed_at BIGINT NOT NULL
);
CREATE INDEX removed_edge_key_removed_at ON removed_edge_key (removed_at);

-- When tokens were used last.
CREATE TABLE token_use (
    id TEXT COLLATE "C" PRIMARY KEY,
    last_used_at BIGINT NOT NULL
);

-- How far each domain is with its certificate. version counts the writes, so that nobody writes over what he has not read. issuer: that
-- of the certificate that is served. revoke: a certificate that its issuer is to declare void once another is there, DER. order_*: the
-- order that is open, if one is. renew_at: when the certificate is to be replaced, chosen in the window that its issuer suggested, if it
-- did; ask_at: when to ask it again. on_demand_domain: the domain that a name has its certificate from on demand, NULL for a domain's
-- own.
CREATE TABLE issuance (
    host TEXT COLLATE "C" PRIMARY KEY,
    version BIGINT NOT NULL,
    phase TEXT NOT NULL,
    next_at BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    failure TEXT,
    issuer TEXT,
    order_issuer TEXT,
    order_url TEXT,
    revoke BYTEA,
    sealed_order_key BYTEA,
    order_began_at BIGINT,
    renew_at BIGINT,
    window_start BIGINT,
    window_end BIGINT,
    ask_at BIGINT,
    on_demand_domain TEXT,
    updated_at BIGINT NOT NULL
);
CREATE INDEX issuance_next_at ON issuance (next_at);
CREATE INDEX issuance_on_demand_domain ON issuance (on_demand_domain) WHERE on_demand_domain IS NOT NULL;

-- Who runs what only one control plane may. Whoever takes it after its end counts the epoch up.
CREATE TABLE lease (
    name TEXT COLLATE "C" PRIMARY KEY,
    holder TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- What was asked of each issuer that its rate limits count. kind: order, certificate or failure.
CREATE TABLE issuer_use (
    issuer TEXT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    registered_domain TEXT NOT NULL,
    host TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX issuer_use_at ON issuer_use (issuer, kind, at);
CREATE INDEX issuer_use_host ON issuer_use (issuer, kind, host, at);
CREATE INDEX issuer_use_domain ON issuer_use (issuer, kind, registered_domain, at);
