-- What was asked of each issuer that its rate limits count. kind: order, certificate or failure.
CREATE TABLE issuer_use (
    issuer TEXT NOT NULL,
    kind TEXT NOT NULL,
    registered_domain TEXT NOT NULL,
    host TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX issuer_use_at ON issuer_use (issuer, kind, at);
CREATE INDEX issuer_use_host ON issuer_use (issuer, kind, host, at);
CREATE INDEX issuer_use_domain ON issuer_use (issuer, kind, registered_domain, at);
