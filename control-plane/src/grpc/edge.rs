use std::sync::Arc;

use futures::{StreamExt, stream, stream::BoxStream};
use switchyard_proto::{
    v1::{
        DeleteEdgeRequest, DeleteEdgeResponse, Edge, GetEdgeRequest, ListEdgesRequest, ListEdgesResponse,
        UpdateEdgeRequest, WatchRevisionRequest, WatchRevisionResponse, edge_service_server::EdgeService,
    },
    vocab::{CertificateId, EdgeId, Revision},
};
use tonic::{Request, Response, Status};

use super::{
    caller,
    convert::{self, edge as convert_edge},
    status::status,
};
use crate::{
    app::{App, AppError, Page, PageRequest, edge},
    fleet::{self, Progress, Rejections, Report, Required, Standing, TrackError, Tracker},
    model::Actor,
};

/// Edges.
pub(super) struct EdgeCalls {
    app: Arc<App>,
    tracker: Tracker,
}

impl EdgeCalls {
    pub(super) fn new(app: Arc<App>, tracker: Tracker) -> Self {
        Self { app, tracker }
    }
}

#[tonic::async_trait]
impl EdgeService for EdgeCalls {
    type WatchRevisionStream = BoxStream<'static, Result<WatchRevisionResponse, Status>>;

    async fn list_edges(&self, request: Request<ListEdgesRequest>) -> Result<Response<ListEdgesResponse>, Status> {
        let actor = caller(&request)?;
        let ListEdgesRequest { page_size, page_token } = request.into_inner();
        let page =
            PageRequest::parse(&self.app.page_tokens, page_size, &page_token).map_err(|error| status(error, None))?;
        // The edges first: none of them has acknowledged more than the revision says then.
        let edges = self.tracker.view.edges();
        let now = self.tracker.view.now();
        let revision = self.tracker.feed.state().revision();
        let page = Page::cut(edges.iter(), &page, |(id, _)| id.as_str());
        let state = self.tracker.feed.state();
        let message = |(id, edge): &(&EdgeId, &Arc<fleet::Edge>)| {
            let rejections = edge::visible_rejections(&self.app, &actor, &edge.rejections.named);
            convert_edge::message(id, edge, &rejections, state.edges().get(*id).map(|stored| &**stored), now)
        };
        let edges = page.items.iter().map(message).collect();
        Ok(Response::new(ListEdgesResponse { edges, next_page_token: page.next_page_token, revision: revision.0 }))
    }

    async fn get_edge(&self, request: Request<GetEdgeRequest>) -> Result<Response<Edge>, Status> {
        let actor = caller(&request)?;
        let GetEdgeRequest { name } = request.into_inner();
        let found = convert::name(&name, EdgeId::parse_resource_name).and_then(|id| {
            let edge = self.tracker.view.edges().get(&id).cloned();
            let edge = edge.ok_or_else(|| AppError::NotFound(id.to_resource_name()))?;
            let state = self.tracker.feed.state();
            let enrolment = state.edges().get(&id).map(|stored| &**stored);
            let rejections = edge::visible_rejections(&self.app, &actor, &edge.rejections.named);
            Ok(convert_edge::message(&id, &edge, &rejections, enrolment, self.tracker.view.now()))
        });
        found.map(Response::new).map_err(|error| status(error, None))
    }

    async fn update_edge(&self, request: Request<UpdateEdgeRequest>) -> Result<Response<Edge>, Status> {
        let actor = caller(&request)?;
        let UpdateEdgeRequest { edge, update_mask, validate_only } = request.into_inner();
        let updated = async {
            let (id, labels) = convert_edge::update(edge, update_mask)?;
            let stored = edge::relabel(&self.app, &actor, &id, labels, convert::mode(validate_only)).await?;
            let seen = self.tracker.view.edges().get(&id).cloned().unwrap_or_default();
            Ok(convert_edge::message(&id, &seen, &seen.rejections.named, Some(&stored), self.tracker.view.now()))
        };
        updated.await.map(Response::new).map_err(|error| status(error, Some("edge")))
    }

    async fn delete_edge(&self, request: Request<DeleteEdgeRequest>) -> Result<Response<DeleteEdgeResponse>, Status> {
        let actor = caller(&request)?;
        let DeleteEdgeRequest { name, validate_only } = request.into_inner();
        let deleted = async {
            let id = convert::name(&name, EdgeId::parse_resource_name)?;
            edge::delete(&self.app, &actor, &id, convert::mode(validate_only)).await
        };
        let (revision, certificates) = deleted.await.map_err(|error| status(error, None))?;
        let certificates = certificates.iter().map(CertificateId::to_resource_name).collect();
        Ok(Response::new(DeleteEdgeResponse { revision: revision.0, certificates }))
    }

    async fn watch_revision(
        &self,
        request: Request<WatchRevisionRequest>,
    ) -> Result<Response<Self::WatchRevisionStream>, Status> {
        let actor = caller(&request)?;
        let WatchRevisionRequest { revision, require_all } = request.into_inner();
        let required = if require_all { Required::All } else { Required::Connected };
        let track = self.tracker.track(Revision(revision), required).await.map_err(track_status)?;
        let reports = stream::unfold((self.app.clone(), actor, track), |(app, actor, mut track)| async move {
            let message = message(&app, &actor, track.next().await?);
            Some((Ok(message), (app, actor, track)))
        });
        Ok(Response::new(reports.boxed()))
    }
}

/// How far edges are, with the rejections that the actor may know of.
fn message(app: &App, actor: &Actor, report: Report) -> WatchRevisionResponse {
    let Report { edges, others, nothing_to_serve, is_complete: complete } = report;
    let visible = |Standing { progress, required }| match progress {
        Progress::Rejected(Rejections { named, total }) => {
            let named = edge::visible_rejections(app, actor, &named);
            Standing { progress: Progress::Rejected(Rejections { named, total }), required }
        }
        Progress::Pending | Progress::Live | Progress::Offline | Progress::Gone => Standing { progress, required },
    };
    let edges = edges.into_iter().map(|(id, it)| convert_edge::progress(&id, visible(it))).collect();
    WatchRevisionResponse { edges, complete, others, nothing_to_serve }
}

fn track_status(error: TrackError) -> Status {
    match error {
        TrackError::NeverCommitted { .. } => status(AppError::invalid("revision", error), None),
        TrackError::Unread(error) => Status::unavailable(error.to_string()),
        TrackError::Store(error) => status(error.into(), None),
    }
}
