-- The labels that an edge must have to serve a domain: a JSON object.
ALTER TABLE domain ADD COLUMN edge_selector TEXT NOT NULL DEFAULT '{}';
