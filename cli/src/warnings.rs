//! Warnings of the control plane, which come with answers: printed on the standard error, whatever the command prints.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use switchyard_proto::{WARNING_METADATA, WARNINGS_MAX, decode_warning};
use tonic::{
    body::Body,
    codegen::{Service, http},
};

use crate::output::{clean, note};

/// A channel whose answers' warnings are printed.
#[derive(Clone, Debug)]
pub(crate) struct Noted<S>(pub(crate) S);

impl<S, B> Service<http::Request<Body>> for Noted<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            for warning in of(answer.headers()) {
                note(&format!("warning: {}", clean(&warning)));
            }
            Ok(answer)
        })
    }
}

fn of(metadata: &http::HeaderMap) -> impl Iterator<Item = String> {
    metadata.get_all(WARNING_METADATA).iter().take(WARNINGS_MAX).map(|value| decode_warning(value.as_bytes()))
}
