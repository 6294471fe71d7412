//! Warnings that come with answers: of connected edges that will reject a resource because they are older, and others.

use std::sync::Arc;

use switchyard_proto::{
    WARNING_METADATA, WARNINGS_MAX, encode_warning,
    resource::{Defaults, Resource},
    schema::{self, descriptor},
    vocab::Labels,
};
use tonic::{Response, metadata::MetadataValue};
use tracing::warn;

use super::convert::resource::ApiMessage;
use crate::{
    app::App,
    fleet::{FleetView, Incompatible},
    model::Stored,
};

/// An answer with one more warning, if there is one.
pub(super) fn with<M>(mut response: Response<M>, text: Option<String>) -> Response<M> {
    // Encoded, it is printable ASCII.
    if let Some(value) = text.and_then(|text| MetadataValue::try_from(encode_warning(&text)).ok()) {
        response.metadata_mut().append(WARNING_METADATA, value);
    }
    response
}

/// Knows the edges that may have to be warned of.
#[derive(Clone, Debug)]
pub(super) struct Warnings {
    app: Arc<App>,
    view: FleetView,
}

impl Warnings {
    pub(super) fn new(app: Arc<App>, view: FleetView) -> Self {
        Self { app, view }
    }

    /// Adds warnings to the answer to a change of a resource, which goes to the edges that `selector` selects.
    pub(super) fn add<R: Resource<Message: ApiMessage>>(
        &self,
        stored: &Stored<R>,
        selector: &Labels,
        mut response: Response<R::Message>,
    ) -> Response<R::Message> {
        for text in self.texts(&stored.value, selector) {
            warn!(event = "edge_too_old", "{text}");
            response = with(response, Some(text));
        }
        response
    }

    fn texts<R: Resource<Message: ApiMessage>>(&self, resource: &R, selector: &Labels) -> Vec<String> {
        let schemas = self.view.older_schemas();
        let Some(kind) = schema::kind(&descriptor::<R::Message>()).filter(|_| !schemas.is_empty()) else {
            return Vec::new();
        };
        let message = resource.message(Defaults::Omitted);
        let state = self.app.feed.state();
        let is_selected = |id: &_| state.labels(id).is_some_and(|labels| labels.contain(selector));
        let incompatible = self.view.incompatible(&schemas, &kind, &schema::dynamic(&message), is_selected);
        let more = incompatible.len().saturating_sub(WARNINGS_MAX);
        // With the last one for how many there are more.
        let shown = if more == 0 { incompatible.len() } else { WARNINGS_MAX - 1 };
        let text = |it: &Incompatible| {
            let Incompatible { edge, version, unknown } = it;
            let name = message.name();
            let what = if unknown.is_empty() {
                format!("the kind of {name}")
            } else {
                format!("{name} {}", unknown.join(", "))
            };
            format!("{edge} (version {version}) does not know {what} and will reject it: upgrade it")
        };
        let mut texts: Vec<String> = incompatible.iter().take(shown).map(text).collect();
        if more > 0 {
            texts.push(format!("{} more edges will reject {}: upgrade them", more + 1, message.name()));
        }
        texts
    }
}
