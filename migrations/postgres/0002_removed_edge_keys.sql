-- The keys of edges that were removed: none of them is accepted again.
CREATE TABLE removed_edge_key (
    key_sha256 BYTEA PRIMARY KEY,
    edge TEXT NOT NULL,
    removed_at BIGINT NOT NULL
);
CREATE INDEX removed_edge_key_removed_at ON removed_edge_key (removed_at);
