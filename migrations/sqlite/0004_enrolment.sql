-- The edges that belong to the fleet. key_sha256: of the SubjectPublicKeyInfo. labels: a JSON object. What is remembered about an
-- edge, the table edge has.
CREATE TABLE enrolment (
    id TEXT PRIMARY KEY,
    key_sha256 BLOB NOT NULL,
    labels TEXT NOT NULL,
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
CREATE INDEX enrolment_revision ON enrolment (revision);

-- What lets edges join. secret_sha256: the secret itself is not kept. uses: how many may still join. labels: a JSON object.
CREATE TABLE invite (
    id TEXT PRIMARY KEY,
    secret_sha256 BLOB NOT NULL,
    labels TEXT NOT NULL,
    uses INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
CREATE INDEX invite_revision ON invite (revision);

-- Every edge shared one secret before; now each has a key of its own, and joins anew.
DELETE FROM secret WHERE name = 'join-secret';
DELETE FROM edge;
