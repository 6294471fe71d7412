use imbl::OrdMap;
use tokio_util::sync::CancellationToken;

use super::view::FleetView;
use crate::feed::Feed;

/// Keeps the view to the edges that belong to the fleet: those that joined are there before they have connected, those that were
/// removed are not there any more.
#[derive(Debug)]
pub struct Members {
    view: FleetView,
    feed: Feed,
}

impl Members {
    /// Brings the view to what the feed has now.
    pub fn new(view: FleetView, feed: Feed) -> Self {
        view.keep(feed.state().edges());
        Self { view, feed }
    }

    /// Follows the feed until `ending` is cancelled.
    pub async fn run(self, ending: CancellationToken) {
        let mut states = self.feed.subscribe();
        let mut known = OrdMap::new();
        let follow = async {
            loop {
                let edges = states.borrow_and_update().edges().clone();
                // They share their structure as long as nobody comes or goes.
                if !edges.ptr_eq(&known) {
                    self.view.keep(&edges);
                    known = edges;
                }
                // The feed is held here, so it does not go away.
                let _ = states.changed().await;
            }
        };
        tokio::select! {
            () = ending.cancelled() => {}
            () = follow => {}
        }
    }
}
