-- The CAs that certificates are ordered from by ACME, and the fleet's account at each. roots: the CAs that its directory is trusted by,
-- NULL for the system's. rank: its place in the order of those that domains use which name none, NULL for none. limits: JSON.
CREATE TABLE issuer (
    id TEXT PRIMARY KEY,
    directory TEXT NOT NULL,
    roots BYTEA,
    email TEXT,
    profile TEXT,
    preferred_chain TEXT,
    rank BIGINT,
    limits TEXT NOT NULL,
    external_account_key_id TEXT,
    sealed_external_account_key BYTEA,
    account_url TEXT,
    account_thumbprint TEXT,
    sealed_account_key BYTEA,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX issuer_revision ON issuer (revision);

-- How the names of a domain prove themselves, NULL for as fits; the issuers it uses, in order: a JSON array, empty for those with a rank.
ALTER TABLE domain ADD COLUMN acme_challenge TEXT;
ALTER TABLE domain ADD COLUMN acme_issuers TEXT NOT NULL DEFAULT '[]';

-- What edges answer a CA that asks for a domain.
CREATE TABLE challenge (
    host TEXT PRIMARY KEY,
    http_01_thumbprint TEXT,
    tls_alpn_01_digest BYTEA,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX challenge_revision ON challenge (revision);

-- How far each domain is with its certificate; not part of the configuration. version counts the writes, so that nobody writes over
-- what he has not read. issuer: that of the certificate that is served. revoke: a certificate that its
-- issuer is to declare void once another is there, DER. order_*: the order that is open, if one is. renew_at: when the
-- certificate is to be replaced, chosen in the window that its issuer suggested, if it did; ask_at: when to ask it again.
CREATE TABLE issuance (
    host TEXT PRIMARY KEY,
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
    updated_at BIGINT NOT NULL
);
CREATE INDEX issuance_next_at ON issuance (next_at);

-- Who runs what only one control plane may. Whoever takes it after its end counts the epoch up.
CREATE TABLE lease (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
