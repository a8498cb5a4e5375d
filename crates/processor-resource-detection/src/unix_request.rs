//! One GET request to a server at a socket in the file system: the daemon of Docker.
//!
//! The HTTP client of `net` connects by name or address only. A connection is used for one request.

use std::path::PathBuf;
use std::rc::Rc;

use otelcore_http::h1::client::{H1ClientConn, H1ClientConnConfig, OutgoingRequest};
use otelcore_pipeline::{Cx, MonotonicTime, PeerAddr, Stream};

use crate::answers::{Answer, Reply, Response};

/// The longest body of a response.
const MAX_BODY: u64 = 1 << 20;

pub(crate) struct UnixRequest {
    conn: H1ClientConn<Box<dyn Stream>>,
    /// The local key of the socket.
    key: u64,
}

impl UnixRequest {
    /// Connects and sends the request.
    ///
    /// # Errors
    /// The error of the system, or a target that can't be sent.
    pub(crate) fn start(
        cx: &mut Cx<'_>,
        key: u64,
        path: &str,
        target: &str,
        deadline: MonotonicTime,
    ) -> Result<Self, String> {
        let stream = cx.connect(key, &PeerAddr::Unix(PathBuf::from(path)));
        let stream = stream.map_err(|e| format!("dial unix {path}: {e}"))?;
        let config = H1ClientConnConfig { max_body: MAX_BODY, ..H1ClientConnConfig::default() };
        let mut conn = H1ClientConn::new(stream, Rc::new(config), cx.now().0);
        let headers = [("Host", "docker"), ("Accept", "application/json"), ("Connection", "close")];
        let request = OutgoingRequest { method: "GET", target, headers, body: [], deadline: Some(deadline.0) };
        conn.start(cx.now().0, request).map_err(|e| e.to_string())?;
        let mut request = Self { conn, key };
        request.poll_socket(cx);
        Ok(request)
    }

    fn poll_socket(&mut self, cx: &mut Cx<'_>) {
        if self.conn.poll(cx.now().0).poll_again {
            cx.request_ready(self.key);
        }
    }

    /// Reads and writes; the answer, once it is there.
    pub(crate) fn poll(&mut self, cx: &mut Cx<'_>) -> Option<Answer> {
        self.poll_socket(cx);
        let response = self.conn.poll_response()?;
        Some(match response {
            Ok(response) => Ok(Reply::Http(Response {
                status: response.status,
                body: response.body,
                metadata_flavor: String::new(),
            })),
            Err(error) => Err(error.to_string()),
        })
    }
}
