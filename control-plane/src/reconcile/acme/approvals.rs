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
