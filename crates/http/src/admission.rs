//! The admission of requests by a server connection, the same for HTTP/1.1, HTTP/2 and gRPC.
//!
//! A connection asks before it spends memory on a request: with its head, for gRPC with the length of its message, and
//! with each growth of the buffer of its body. Never examines a body.

/// What is known about a request before its body: [`crate::h1::RequestHead`], or [`crate::grpc::server::CallHead`] for
/// gRPC.
pub trait Head {
    /// How a request is refused: with an HTTP response, or with a gRPC status.
    type Refusal;

    /// The refusal of a body above `limit` bytes. `length` is the declared length, if there is one.
    fn too_large(&self, length: Option<u64>, limit: u64) -> Self::Refusal;
}

/// Admits or refuses requests. What is refused is discarded as far as the protocol requires it; the connection of a
/// refused request stays open where that is possible.
pub trait Admission<H: Head> {
    /// Owned by a request from its admission until the application drops it, or until it is refused or cancelled:
    /// typically a charge on a memory budget.
    type Permit;

    /// gRPC only: returns the number of the method with this path, which is available later as `CallHead::method`.
    /// Called before anything else of the head is examined. Without an implementation every path is method 0.
    ///
    /// # Errors
    /// The refusal of a path that is not served.
    fn route(&mut self, path: &str) -> Result<u32, H::Refusal> {
        let _ = path;
        Ok(0)
    }

    /// Called when the head was received, before the body is read. A gRPC head has all metadata here, whether or not
    /// the configuration keeps it.
    ///
    /// # Errors
    /// The refusal.
    fn admit_head(&mut self, head: &H) -> Result<Self::Permit, H::Refusal>;

    /// gRPC only: called when the prefix of a message was received; `len` is the size on the wire. A peer may claim any
    /// length, so nothing should be charged for it yet.
    ///
    /// # Errors
    /// The refusal.
    fn admit_message(&mut self, permit: &mut Self::Permit, head: &H, len: u32) -> Result<(), H::Refusal> {
        let _ = (permit, head, len);
        Ok(())
    }

    /// Called before the body takes `to` bytes of memory: while it arrives, and again when it is decompressed here.
    ///
    /// # Errors
    /// The refusal.
    fn grow(&mut self, permit: &mut Self::Permit, to: u64) -> Result<(), H::Refusal>;

    /// The refusal of a body above `limit` bytes; see [`Head::too_large`].
    fn too_large(&mut self, head: &H, length: Option<u64>, limit: u64) -> H::Refusal {
        head.too_large(length, limit)
    }
}

/// Admits every request. The limits of the connection still hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct AdmitAll;

impl<H: Head> Admission<H> for AdmitAll {
    type Permit = ();

    fn admit_head(&mut self, _: &H) -> Result<(), H::Refusal> {
        Ok(())
    }

    fn grow(&mut self, (): &mut (), _: u64) -> Result<(), H::Refusal> {
        Ok(())
    }
}
