use switchyard_proto::v1::{ListTasksRequest, ListTasksResponse, task_service_server::TaskService};
use tonic::{Request, Response, Status};

use super::convert;
use crate::task_status::TaskStatuses;

/// The background tasks of this process.
pub(super) struct Tasks(pub(super) TaskStatuses);

#[tonic::async_trait]
impl TaskService for Tasks {
    async fn list_tasks(&self, request: Request<ListTasksRequest>) -> Result<Response<ListTasksResponse>, Status> {
        let ListTasksRequest {} = request.into_inner();
        let tasks = self.0.list().into_iter().map(convert::task::message).collect();
        Ok(Response::new(ListTasksResponse { tasks }))
    }
}
