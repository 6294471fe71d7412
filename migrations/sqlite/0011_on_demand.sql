-- The hook that is asked whether a name below a wildcard is to have a certificate of its own, NULL for a certificate for the wildcard.
ALTER TABLE domain ADD COLUMN on_demand_hook TEXT;

-- The domain that a name has its certificate from on demand, NULL for a domain's own.
ALTER TABLE issuance ADD COLUMN on_demand_domain TEXT;
CREATE INDEX issuance_on_demand_domain ON issuance (on_demand_domain) WHERE on_demand_domain IS NOT NULL;
