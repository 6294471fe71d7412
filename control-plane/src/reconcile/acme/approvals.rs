use crate::{
    model::{Domain, Issuance},
    on_demand::{Approval, Hooks},
};

/// How often in a row the first order of a name on demand may fail. Then it is forgotten, until it is asked for again.
const FIRST_ORDER_FAILURES_MAX: u32 = 8;

/// Whether names on demand are still to have certificates.
#[derive(Clone, Debug)]
pub(super) struct Approvals {
    hooks: Hooks,
}

impl Approvals {
    pub(super) fn new(hooks: Hooks) -> Self {
        Self { hooks }
    }

    /// Asks again before an order is made that is not the first of its name. What is no name on demand needs no approval.
    pub(super) async fn again(&self, issuance: &Issuance, domain: &Domain, has_certificate: bool) -> Approval {
        let Some(on_demand) = domain.on_demand().filter(|_| issuance.on_demand.is_some()) else {
            return Approval::Approved;
        };
        let is_first = !has_certificate && issuance.failures == 0;
        if issuance.order.is_some() || is_first {
            return Approval::Approved;
        }
        if !has_certificate && issuance.failures >= FIRST_ORDER_FAILURES_MAX {
            return Approval::Refused;
        }
        self.hooks.ask(&on_demand.hook, &issuance.host).await
    }
}

#[cfg(test)]
mod tests {
    use switchyard_proto::vocab::{HostPattern, ServiceId, Tag};

    use super::*;
    use crate::model::{AcmeSettings, CertificateSource, HookUrl, OnDemand, Timestamp};

    /// A wildcard with a hook that nobody answers.
    fn sites() -> Domain {
        let on_demand = OnDemand { hook: HookUrl::parse("http://127.0.0.1:1/ask").unwrap() };
        let host = HostPattern::parse("*.sites.example").unwrap();
        Domain {
            certificate_source: CertificateSource::Acme,
            acme: AcmeSettings::new(None, vec![], Some(on_demand)).unwrap(),
            ..Domain::new(host, ServiceId::default_service(), Tag::parse("a").unwrap())
        }
    }

    #[tokio::test]
    async fn every_order_of_a_name_on_demand_is_approved_before_it_is_made() {
        let (domain, approvals) = (sites(), Approvals::new(Hooks::new().unwrap()));
        let own = Issuance::new(HostPattern::parse("a.sites.example").unwrap(), Timestamp(0));
        let first = Issuance { on_demand: Some(domain.host.clone()), ..own.clone() };
        // The first was approved when it began.
        assert_eq!(approvals.again(&first, &domain, false).await, Approval::Approved);
        assert!(matches!(approvals.again(&first, &domain, true).await, Approval::Unreachable(_)), "a renewal");
        let failed = |failures| Issuance { failures, ..first.clone() };
        assert!(matches!(approvals.again(&failed(1), &domain, false).await, Approval::Unreachable(_)), "another try");
        assert_eq!(approvals.again(&failed(FIRST_ORDER_FAILURES_MAX), &domain, false).await, Approval::Refused);
        assert!(matches!(approvals.again(&failed(100), &domain, true).await, Approval::Unreachable(_)), "a renewal");
        assert_eq!(approvals.again(&own, &domain, true).await, Approval::Approved, "a domain's own needs no approval");
    }
}
