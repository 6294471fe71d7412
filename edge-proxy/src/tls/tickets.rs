use std::{sync::Arc, time::Duration};

use rustls::{crypto, pki_types::UnixTime, server::ProducesTickets};
use switchyard_proto::vocab::limits::TICKET_LIFETIME;

use super::TlsError;
use crate::snapshot::LiveSnapshot;

/// Issues and accepts session tickets: with the keys that this edge has in common with others as the live snapshot has them, and
/// with its own while there are none that are new enough.
///
/// What is in a ticket is rustls's, which resumes it for the same server name, cipher suite and version of TLS only. So nothing is carried
/// over from one domain to another, and nothing of TLS 1.2 to a domain that is served with 1.3 alone: suites of one are none of the other.
/// Domains that ask for client certificates have another configuration, without tickets.
#[derive(Debug)]
pub(super) struct Tickets {
    live: LiveSnapshot,
    own: Arc<dyn ProducesTickets>,
}

impl Tickets {
    /// With the keys of `live`.
    pub(super) fn new(live: LiveSnapshot) -> Result<Self, TlsError> {
        let own = crypto::aws_lc_rs::Ticketer::new().map_err(TlsError::Tickets)?;
        Ok(Self { live, own })
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        let is_shared = self.live.load().ticket_keys().is_some_and(|keys| keys.issuing(now()).is_some());
        if is_shared { u32::try_from(TICKET_LIFETIME.as_secs()).unwrap_or(u32::MAX) } else { self.own.lifetime() }
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let snapshot = self.live.load();
        match snapshot.ticket_keys().and_then(|keys| keys.issuing(now())) {
            Some(key) => key.seal(plain),
            None => self.own.encrypt(plain),
        }
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let snapshot = self.live.load();
        match snapshot.ticket_keys().and_then(|keys| keys.key_of(ticket, now())) {
            Some(key) => key.open(ticket),
            None => self.own.decrypt(ticket),
        }
    }
}

fn now() -> Duration {
    Duration::from_secs(UnixTime::now().as_secs())
}

#[cfg(test)]
mod tests {
    use switchyard_proto::vocab::{Labels, TicketKeysId};

    use super::*;
    use crate::snapshot::{ISSUING_AGE_MAX, Snapshot, TicketKey, TicketKeyRole, TicketKeys};

    fn live(created: Duration) -> LiveSnapshot {
        let mut edit = Snapshot::default().edit();
        let key = TicketKey::new(&[7; 16], &[7; 32], TicketKeyRole::Current, created).unwrap();
        edit.put_ticket_keys(TicketKeys::new(TicketKeysId::of(&Labels::default()), vec![key]).unwrap());
        LiveSnapshot::new(edit.finish())
    }

    fn tickets(live: LiveSnapshot) -> Tickets {
        Tickets::new(live).unwrap()
    }

    #[test]
    fn edges_with_the_same_keys_read_each_others_tickets() {
        let (one, other) = (tickets(live(now())), tickets(live(now())));
        let ticket = one.encrypt(b"a session").unwrap();
        assert_eq!(ticket[..16], [7; 16]);
        assert_eq!(other.decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
        assert_eq!(one.lifetime(), 24 * 60 * 60);
        let alone = tickets(LiveSnapshot::new(Snapshot::default()));
        assert_eq!(alone.decrypt(&ticket), None);
    }

    #[test]
    fn an_edge_without_keys_or_without_news_issues_with_its_own() {
        let stale = live(now() - ISSUING_AGE_MAX);
        let fresh = tickets(live(now()));
        for live in [LiveSnapshot::new(Snapshot::default()), stale.clone()] {
            let cut_off = tickets(live.clone());
            let ticket = cut_off.encrypt(b"a session").unwrap();
            assert_ne!(ticket[..16], [7; 16]);
            assert_eq!(cut_off.decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
            assert_eq!(fresh.decrypt(&ticket), None);
            assert_eq!(cut_off.lifetime(), 12 * 60 * 60);
            // There is news again: what it issued meanwhile is good.
            live.store((**fresh.live.load()).clone());
            assert_eq!(cut_off.decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
        }
        let old = tickets(live(now() - ISSUING_AGE_MAX));
        let shared = fresh.encrypt(b"a session").unwrap();
        assert_eq!(old.decrypt(&shared).as_deref(), Some(&b"a session"[..]), "what is known is accepted still");
    }
}
