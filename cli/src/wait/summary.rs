//! What following a change came to, in words.

use std::time::Duration;

use switchyard_proto::v1::{ProgressState, Rejection};

use super::{EdgeStanding, Edges, End, Outcome, Wait};
use crate::{
    failure::Failure,
    output::{self, Output, columns, took},
    report::headline,
};

/// Prints a line for each edge and what it comes to; what went wrong goes to the standard error.
pub(super) fn report(
    output: &Output,
    edges: &Edges,
    revision: u64,
    end: &End,
    wait: &Wait,
) -> Result<Outcome, Failure> {
    let rows: Vec<_> = edges
        .iter()
        .map(|(id, edge)| {
            let time = if edge.state == ProgressState::Live { took(edge.since) } else { String::new() };
            vec![id.to_owned(), edge.word().to_owned(), time]
        })
        .collect();
    if !rows.is_empty() {
        output.result(&columns(None, rows))?;
    }
    let (summary, outcome) = summarize(edges, revision, end, wait, wait.began.elapsed());
    match outcome {
        Outcome::Done => output.result(&summary)?,
        Outcome::NotLive => {
            output::note(&output::clean(&summary));
            for reason in reasons(edges) {
                output::note(&format!("  {}", output::clean(&reason)));
            }
        }
    }
    Ok(outcome)
}

fn summarize(edges: &Edges, revision: u64, end: &End, wait: &Wait, elapsed: Duration) -> (String, Outcome) {
    let (live, required) = edges.live_of_required();
    let which = if wait.required.require_all { "edges" } else { "connected edges" };
    let so_far = format!("live on {live} of {required} {which} after {}", took(elapsed));
    let offline = offline(edges);
    let committed = format!("revision {revision} is committed, but not live");
    match end {
        End::Complete if required > 0 && live == required => (format!("{so_far}{offline}"), Outcome::Done),
        End::Complete if required > 0 => (format!("{committed} everywhere: {so_far}{offline}"), Outcome::NotLive),
        End::Complete if edges.nothing_to_serve => (format!("revision {revision} concerns no edge"), Outcome::Done),
        End::Complete => {
            let why = nowhere(edges);
            match wait.required.allow_offline {
                true => (format!("revision {revision} is committed, and live nowhere yet: {why}"), Outcome::Done),
                false => (format!("{committed} anywhere: {why} (see --allow-offline)"), Outcome::NotLive),
            }
        }
        End::TimedOut { broken: Some(status) } => (
            format!("{committed} everywhere as far as is known; it cannot be followed any more: {}", headline(status)),
            Outcome::NotLive,
        ),
        End::TimedOut { broken: None } => {
            (format!("{committed} everywhere: {so_far} (see --timeout){offline}"), Outcome::NotLive)
        }
        End::Refused(status) => (
            format!("{committed} everywhere as far as is known; it cannot be followed: {}", headline(status)),
            Outcome::NotLive,
        ),
    }
}

/// How many edges do not count because they were offline before.
fn offline(edges: &Edges) -> String {
    let is_offline = |edge: &EdgeStanding| edge.state == ProgressState::Offline && !edge.required;
    match edges.iter().filter(|(_, edge)| is_offline(edge)).count() {
        0 => String::new(),
        offline => format!("; {offline} offline"),
    }
}

/// Why no edge is required.
fn nowhere(edges: &Edges) -> String {
    let concerned = edges.iter().count();
    match (concerned, edges.others) {
        (0, 0) => "the fleet has no edges".to_owned(),
        (0, 1) => "the one edge of the fleet does not serve it: no domain that it serves uses it".to_owned(),
        (0, others) => format!("none of the {others} edges of the fleet serves it: no domain that they serve uses it"),
        (1, _) => "the edge that serves it is offline".to_owned(),
        (concerned, _) => format!("the {concerned} edges that serve it are offline"),
    }
}

/// Why the change is not live, for each required edge where it is not.
fn reasons(edges: &Edges) -> Vec<String> {
    let mut reasons = Vec::new();
    for (id, edge) in edges.iter() {
        match edge.state {
            ProgressState::Live => {}
            ProgressState::Offline => reasons.push(format!("{id}: is offline, and gets it when it connects")),
            ProgressState::Gone => reasons.push(format!("{id}: lost its connection, and is not back")),
            ProgressState::Pending | ProgressState::Unspecified => {
                reasons.push(format!("{id}: has not acknowledged it yet"))
            }
            ProgressState::Rejected if edge.rejections.is_empty() => match edge.unnamed {
                0 => reasons.push(format!("{id}: rejected it")),
                unnamed => {
                    reasons.push(format!("{id}: rejects {unnamed} that it does not name, perhaps of this revision"))
                }
            },
            ProgressState::Rejected => {
                reasons.extend(edge.rejections.iter().map(|rejection| {
                    let Rejection { resource, revision, reason } = rejection;
                    format!("{id}: rejected {resource} (revision {revision}): {reason}")
                }));
                if edge.unnamed > 0 {
                    reasons.push(format!("{id}: and {} more", edge.unnamed));
                }
            }
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use switchyard_proto::v1::{EdgeProgress, WatchRevisionResponse};

    use super::super::RequiredArgs;
    use super::*;

    const CONNECTED: RequiredArgs = RequiredArgs { require_all: false, allow_offline: false };
    const ALL: RequiredArgs = RequiredArgs { require_all: true, allow_offline: false };
    const NONE: RequiredArgs = RequiredArgs { require_all: false, allow_offline: true };

    fn response(states: &[(&str, ProgressState)]) -> WatchRevisionResponse {
        let progress = |(id, state): &(&str, ProgressState)| EdgeProgress {
            edge: format!("edges/{id}"),
            state: (*state).into(),
            required: *state != ProgressState::Offline,
            ..EdgeProgress::default()
        };
        WatchRevisionResponse { edges: states.iter().map(progress).collect(), ..WatchRevisionResponse::default() }
    }

    fn edges(response: WatchRevisionResponse) -> Edges {
        let mut edges = Edges::default();
        edges.update(response, Duration::from_millis(12));
        edges
    }

    fn summary(edges: &Edges, required: RequiredArgs) -> (String, Outcome) {
        let wait = Wait { began: Instant::now(), timeout: Duration::from_secs(30), required };
        summarize(edges, 7, &End::Complete, &wait, Duration::from_millis(12))
    }

    #[test]
    fn edges_that_were_offline_before_are_counted_but_not_waited_for() {
        let edges = edges(response(&[("a", ProgressState::Live), ("b", ProgressState::Offline)]));
        let expected = "live on 1 of 1 connected edges after 12 ms; 1 offline";
        assert_eq!(summary(&edges, CONNECTED), (expected.to_owned(), Outcome::Done));
    }

    #[test]
    fn with_require_all_an_offline_edge_is_not_live() {
        let mut response = response(&[("a", ProgressState::Live), ("b", ProgressState::Offline)]);
        response.edges[1].required = true;
        let edges = edges(response);
        let (text, outcome) = summary(&edges, ALL);
        assert_eq!(text, "revision 7 is committed, but not live everywhere: live on 1 of 2 edges after 12 ms");
        assert_eq!(outcome, Outcome::NotLive);
        assert_eq!(reasons(&edges), ["b: is offline, and gets it when it connects"]);
    }

    #[test]
    fn a_rejection_is_not_live() {
        let edges = edges(response(&[("a", ProgressState::Live), ("b", ProgressState::Rejected)]));
        let (text, outcome) = summary(&edges, NONE);
        assert!(text.starts_with("revision 7 is committed, but not live everywhere: live on 1 of 2"), "{text}");
        assert_eq!(outcome, Outcome::NotLive);
        assert_eq!(reasons(&edges), ["b: rejected it"]);
    }

    #[test]
    fn an_edge_that_is_gone_is_not_live_even_where_offline_ones_are_allowed() {
        let edges = edges(response(&[("a", ProgressState::Live), ("b", ProgressState::Gone)]));
        assert_eq!(summary(&edges, NONE).1, Outcome::NotLive);
        assert_eq!(reasons(&edges), ["b: lost its connection, and is not back"]);
    }

    #[test]
    fn live_nowhere_is_not_live_unless_that_is_allowed() {
        let no_edges = WatchRevisionResponse::default();
        let other_labels = WatchRevisionResponse { others: 2, ..WatchRevisionResponse::default() };
        let all_offline = response(&[("a", ProgressState::Offline), ("b", ProgressState::Offline)]);
        for (response, why) in [
            (no_edges, "the fleet has no edges"),
            (other_labels, "none of the 2 edges of the fleet serves it: no domain that they serve uses it"),
            (all_offline, "the 2 edges that serve it are offline"),
        ] {
            let edges = edges(response);
            let expected = format!("revision 7 is committed, but not live anywhere: {why} (see --allow-offline)");
            assert_eq!(summary(&edges, CONNECTED), (expected, Outcome::NotLive));
            let expected = format!("revision 7 is committed, and live nowhere yet: {why}");
            assert_eq!(summary(&edges, NONE), (expected, Outcome::Done));
        }
    }

    #[test]
    fn what_leaves_nothing_to_serve_is_done() {
        let response = WatchRevisionResponse { nothing_to_serve: true, others: 3, ..WatchRevisionResponse::default() };
        assert_eq!(summary(&edges(response), CONNECTED), ("revision 7 concerns no edge".to_owned(), Outcome::Done));
    }

    #[test]
    fn an_edge_keeps_the_time_at_which_it_went_live() {
        let mut edges = edges(response(&[("a", ProgressState::Live), ("b", ProgressState::Pending)]));
        let changed = edges
            .update(response(&[("a", ProgressState::Live), ("b", ProgressState::Live)]), Duration::from_millis(50));
        assert_eq!(changed, ["b"]);
        assert_eq!(edges.get("a").map(|edge| edge.since), Some(Duration::from_millis(12)));
        assert_eq!(edges.get("b").map(|edge| edge.since), Some(Duration::from_millis(50)));
    }

    #[test]
    fn an_edge_that_was_connected_before_the_control_plane_restarted_is_still_required() {
        let mut edges = edges(response(&[("a", ProgressState::Live), ("b", ProgressState::Pending)]));
        edges.update(response(&[("a", ProgressState::Live), ("b", ProgressState::Offline)]), Duration::ZERO);
        assert_eq!(summary(&edges, CONNECTED).1, Outcome::NotLive);
        assert_eq!(reasons(&edges), ["b: lost its connection, and is not back"]);
    }
}
