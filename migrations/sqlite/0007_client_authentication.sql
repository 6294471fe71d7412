-- The CAs that a domain's clients prove themselves by, and whether they must; NULL: clients are not asked.
ALTER TABLE domain ADD COLUMN client_authorities BLOB;
ALTER TABLE domain ADD COLUMN client_certificate_mode TEXT;
