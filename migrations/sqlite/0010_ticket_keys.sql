-- What the edges with the same labels issue session tickets with. labels: a JSON object. keys: JSON, what each is used for and since when;
-- sealed_secrets: for each its name and its secret.
CREATE TABLE ticket_keys (
    id TEXT PRIMARY KEY,
    labels TEXT NOT NULL,
    keys TEXT NOT NULL,
    sealed_secrets BLOB NOT NULL,
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
CREATE INDEX ticket_keys_revision ON ticket_keys (revision);
