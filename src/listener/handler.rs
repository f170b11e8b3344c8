//! What a connection's requests are answered by.

use std::error::Error;
use std::future::Future;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

use crate::gateway::Gateway;
use crate::inbound::Inbound;
use crate::peer::Peer;

/// Answers the requests of a connection.
pub trait Handler: Send + Sync + 'static {
    /// The body of its answers.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;

    /// Answers one.
    fn handle(
        &self,
        peer: &Peer,
        request: Request<Inbound>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

impl Handler for Gateway {
    type Body = crate::telemetry::Observed<crate::forward::Body>;

    async fn handle(&self, peer: &Peer, request: Request<Inbound>) -> Response<Self::Body> {
        Self::handle(self, peer, request).await
    }
}
