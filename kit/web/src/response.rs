//! The body of a response, which reports when the service has produced all of it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Frame, SizeHint};

use crate::connections::Connection;

pub(crate) struct TrackedBody<B> {
    body: Pin<Box<B>>,
    connection: Arc<Connection>,
}

impl<B: Body> TrackedBody<B> {
    /// The response begins.
    pub(crate) fn new(body: B, connection: &Arc<Connection>) -> Self {
        connection.sending(body.size_hint().lower());
        Self { body: Box::pin(body), connection: Arc::clone(connection) }
    }
}

impl<B: Body> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.body.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for TrackedBody<B> {
    fn drop(&mut self) {
        self.connection.produced();
    }
}
