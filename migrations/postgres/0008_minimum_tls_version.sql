-- The oldest version of TLS that a domain's clients may use.
ALTER TABLE domain ADD COLUMN minimum_tls_version TEXT NOT NULL DEFAULT '1.2';
