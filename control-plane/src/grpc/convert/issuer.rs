use switchyard_proto::v1 as wire;

use super::timestamp;
use crate::{app::issuer::Budget, model::Used};

/// How much of a limit is used, as a message.
pub(in crate::grpc) fn budget(budget: &Budget) -> wire::Budget {
    let Budget { issuer, limit, used: Used { subject, count, first_at } } = budget;
    let free_at = (*count > 0).then(|| timestamp(first_at.plus(limit.window())));
    wire::Budget {
        issuer: issuer.to_resource_name(),
        limit: limit.text().to_owned(),
        subject: subject.clone(),
        used: *count,
        rate: Some(limit.rate.message()),
        free_time: free_at,
    }
}
