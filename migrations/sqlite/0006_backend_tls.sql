-- How TLS is spoken to the backends of a service: NULL for in the clear, else whose certificates are accepted.
ALTER TABLE service ADD COLUMN tls_trust TEXT;
ALTER TABLE service ADD COLUMN tls_authorities BLOB;
ALTER TABLE service ADD COLUMN tls_server_name TEXT;
ALTER TABLE service ADD COLUMN tls_alternative_name TEXT;
ALTER TABLE service ADD COLUMN tls_client_chain BLOB;
ALTER TABLE service ADD COLUMN tls_sealed_client_key BLOB;
