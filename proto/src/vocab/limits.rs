//! The bounds of what people and programs may send, shared by all sides.

use std::time::Duration;

/// Bytes of a tag, or of the id of a service, backend or edge.
pub const ID_BYTES_MAX: usize = 63;
/// Bytes of the id of a certificate: room for `internal-` and a host pattern.
pub const CERTIFICATE_ID_BYTES_MAX: usize = 280;
/// Bytes of a host name (RFC 1035, section 2.3.4, without the final dot).
pub const HOST_BYTES_MAX: usize = 253;
/// Bytes of one label of a host name (RFC 1035, section 2.3.4).
pub const HOST_LABEL_BYTES_MAX: usize = 63;
/// Domains of a fleet.
pub const DOMAINS_MAX: usize = 1_000_000;
/// Services of a fleet.
pub const SERVICES_MAX: usize = 100_000;
/// Backends of one service.
pub const SERVICE_BACKENDS_MAX: usize = 1_000;
/// Certificates of a fleet.
pub const CERTIFICATES_MAX: usize = 1_000_000;
/// Tags on one backend.
pub const BACKEND_TAGS_MAX: usize = 16;
/// Names in one certificate.
pub const CERTIFICATE_NAMES_MAX: usize = 100;
/// Certificates in one chain.
pub const CERTIFICATE_CHAIN_MAX: usize = 10;
/// Bytes of one chain, as PEM or DER.
pub const CERTIFICATE_CHAIN_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one private key, as PEM or DER.
pub const PRIVATE_KEY_BYTES_MAX: usize = 16 * 1024;
/// Certificates in one bundle of CAs.
pub const CA_BUNDLE_CERTIFICATES_MAX: usize = 50;
/// Bytes of one bundle of CAs, as PEM or DER.
pub const CA_BUNDLE_BYTES_MAX: usize = 32 * 1024;
/// Bytes of one encoded resource on the change feed.
pub const RESOURCE_BYTES_MAX: usize = 128 * 1024;
/// Bytes of resources and removals in one part of a batch. Each stream keeps a buffer for one.
pub const BATCH_PART_BYTES_MAX: usize = 256 * 1024;
/// Bytes of one message of the change feed: one part, and what surrounds it.
pub const FLEET_MESSAGE_BYTES_MAX: usize = 2 * BATCH_PART_BYTES_MAX;
/// Bytes of the kind in a resource's key, which need not be known.
pub const RESOURCE_KIND_BYTES_MAX: usize = 63;
/// Bytes of the id in a resource's key, which need not be one of its kind.
pub const RESOURCE_ID_BYTES_MAX: usize = 300;
/// Rejections that an edge names at a time; it counts all.
pub const REJECTIONS_MAX: usize = 100;
/// Bytes of the reason of a rejection.
pub const REJECTION_REASON_BYTES_MAX: usize = 500;
/// Messages, enums and kinds, of each so many, in what an edge says that it knows.
pub const SCHEMA_ENTRIES_MAX: usize = 1_000;
/// Numbers of fields or of values in one of these.
pub const SCHEMA_NUMBERS_MAX: usize = 1_000;
/// Bytes of the name of one of these.
pub const SCHEMA_NAME_BYTES_MAX: usize = 200;
/// Labels of one edge.
pub const LABELS_MAX: usize = 16;
/// Edges of a fleet.
pub const EDGES_MAX: usize = 10_000;
/// Invitations that are kept at a time.
pub const INVITES_MAX: usize = 1_000;
/// Bytes of what an edge asks a certificate with.
pub const CERTIFICATE_REQUEST_BYTES_MAX: usize = 4 * 1024;
/// Issuers of a fleet.
pub const ISSUERS_MAX: usize = 100;
/// Issuers that one domain names.
pub const DOMAIN_ISSUERS_MAX: usize = 10;
/// Bytes of the thumbprint of an account key: SHA-256 in base64url (RFC 7638).
pub const THUMBPRINT_BYTES: usize = 43;
/// Bytes of the token of an ACME challenge.
pub const CHALLENGE_TOKEN_BYTES_MAX: usize = 256;
/// DNS providers of a fleet.
pub const DNS_PROVIDERS_MAX: usize = 100;
/// Zones of one DNS provider.
pub const DNS_PROVIDER_ZONES_MAX: usize = 100;
/// How long a session ticket is good for. TLS 1.3 allows seven days (RFC 8446, section 4.6.1).
pub const TICKET_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a key of session tickets is issued with.
pub const TICKET_KEY_ROTATION: Duration = Duration::from_secs(12 * 60 * 60);
/// Keys of session tickets that edges with the same labels share at a time.
pub const TICKET_KEYS_MAX: usize = 8;
/// Bytes of the name of a ticket key.
pub const TICKET_KEY_NAME_BYTES: usize = 16;
/// Bytes of the secret of a ticket key: AES-256.
pub const TICKET_KEY_SECRET_BYTES: usize = 32;
/// Bytes of a session ticket, or of what is sealed in one.
pub const TICKET_BYTES_MAX: usize = 1024;
/// Bytes of the URL of a hook.
pub const HOOK_URL_BYTES_MAX: usize = 2_048;
/// Names of one domain that have certificates on demand.
pub const NAMES_ON_DEMAND_MAX: usize = 10_000;
/// Questions of one edge that are answered at a time.
pub const QUESTIONS_MAX: usize = 64;
/// Tokens of the API.
pub const TOKENS_MAX: usize = 10_000;
/// Patterns of domains, and of services, in the scope of one token.
pub const SCOPE_PATTERNS_MAX: usize = 100;
/// Elements of one page of a list.
pub const PAGE_SIZE_MAX: usize = 1_000;
/// Elements of one page of a list when nothing is asked for.
pub const PAGE_SIZE_DEFAULT: usize = 100;
