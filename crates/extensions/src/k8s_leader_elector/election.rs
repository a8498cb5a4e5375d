//! The election: who holds the lease, and what is asked next. The rules are those of client-go.
//!
//! ```text
//!  follower: read the lease -> (another holds it, and it is valid) -> later again
//!                           -> (nobody does, or it is too old)     -> write it with this holder -> leader
//!  leader:   write it with the new time -> (refused) -> read it -> write it
//!            no success within the deadline, or another holder -> follower
//! ```
//! A lease is valid for its duration after its last change was *seen* here: clocks of other machines are not compared. A pure
//! machine under the time that it is given.

use std::time::Duration;

use otelcore_kubernetes_client::ApiResponse;
use otelcore_pipeline::{MonotonicTime, WallTime};

use super::lease::{Lease, LeaseSpec, micro_time};

/// The next request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum LeaseRequest {
    Get,
    Create(Vec<u8>),
    Update(Vec<u8>),
}

/// How a request goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    Request(LeaseRequest),
    /// The attempt has ended: the lease is held here, or by another.
    Ended,
    /// The attempt has failed.
    Failed(String),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Requested {
    Nothing,
    Get,
    Create,
    /// With what was seen last.
    FastUpdate,
    Update,
}

struct Seen {
    lease: Lease,
    spec: LeaseSpec,
    at: MonotonicTime,
}

pub(super) struct Election {
    namespace: String,
    name: String,
    identity: String,
    duration: Duration,
    renew_deadline: Duration,
    seen: Option<Seen>,
    requested: Requested,
    /// When the request was begun that is in progress.
    began: MonotonicTime,
    /// While it leads: when the last renewal that has succeeded was begun.
    renewed: Option<MonotonicTime>,
}

impl Election {
    pub(super) fn new(
        (namespace, name): (&str, &str),
        identity: String,
        duration: Duration,
        renew_deadline: Duration,
    ) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity,
            duration,
            renew_deadline,
            seen: None,
            requested: Requested::Nothing,
            began: MonotonicTime(0),
            renewed: None,
        }
    }

    pub(super) fn is_leader(&self) -> bool {
        self.renewed.is_some()
    }

    /// When it leads no longer without a renewal.
    pub(super) fn deadline(&self) -> Option<MonotonicTime> {
        self.renewed.map(|renewed| renewed + self.renew_deadline)
    }

    /// Begins an attempt to take or to renew the lease.
    pub(super) fn begin(&mut self, now: MonotonicTime, wall: WallTime) -> LeaseRequest {
        self.began = now;
        let is_own = |seen: &&Seen| seen.spec.holder == self.identity && now < seen.at + seen.spec.duration;
        match self.seen.as_ref().filter(is_own).filter(|_| self.is_leader()) {
            Some(seen) => {
                let update = self.renewed_lease(&seen.lease, &seen.spec, wall);
                self.requested = Requested::FastUpdate;
                LeaseRequest::Update(update)
            }
            None => {
                self.requested = Requested::Get;
                LeaseRequest::Get
            }
        }
    }

    /// The response to the request.
    pub(super) fn handle_response(
        &mut self,
        now: MonotonicTime,
        wall: WallTime,
        response: Result<ApiResponse, String>,
    ) -> Progress {
        let requested = std::mem::replace(&mut self.requested, Requested::Nothing);
        let response = match response {
            Ok(response) => response,
            Err(error) => return Progress::Failed(error),
        };
        let is_success = matches!(response.status, 200 | 201);
        match requested {
            Requested::Nothing => Progress::Ended,
            Requested::Get if response.status == 404 => {
                let mut lease = Lease::new(&self.namespace, &self.name);
                lease.set_spec(&self.new_spec(0, wall));
                self.requested = Requested::Create;
                Progress::Request(LeaseRequest::Create(lease.to_json()))
            }
            // Somebody else has written it meanwhile.
            Requested::FastUpdate if !is_success => {
                self.requested = Requested::Get;
                Progress::Request(LeaseRequest::Get)
            }
            _ if !is_success => Progress::Failed(response.refusal()),
            Requested::Get => match Lease::parse(&response.body) {
                Ok(lease) => self.handle_lease(now, wall, lease),
                Err(error) => Progress::Failed(error),
            },
            Requested::Create | Requested::FastUpdate | Requested::Update => match Lease::parse(&response.body) {
                Ok(lease) => {
                    self.see(now, lease);
                    self.renewed = Some(self.began);
                    Progress::Ended
                }
                Err(error) => Progress::Failed(error),
            },
        }
    }

    fn handle_lease(&mut self, now: MonotonicTime, wall: WallTime, lease: Lease) -> Progress {
        self.see(now, lease);
        let Some(seen) = &self.seen else { return Progress::Ended };
        let is_own = seen.spec.holder == self.identity;
        if !is_own {
            self.renewed = None;
        }
        let is_valid = !seen.spec.holder.is_empty() && now < seen.at + seen.spec.duration;
        if is_valid && !is_own {
            return Progress::Ended;
        }
        let update = if is_own {
            self.renewed_lease(&seen.lease, &seen.spec, wall)
        } else {
            let mut lease = seen.lease.clone();
            lease.set_spec(&self.new_spec(seen.spec.transitions.saturating_add(1), wall));
            lease.to_json()
        };
        self.requested = Requested::Update;
        Progress::Request(LeaseRequest::Update(update))
    }

    /// The lease as the server has it now. One that has not changed is as old as before.
    fn see(&mut self, now: MonotonicTime, lease: Lease) {
        let spec = lease.spec();
        let at = match &self.seen {
            Some(seen) if seen.spec == spec => seen.at,
            _ => now,
        };
        self.seen = Some(Seen { lease, spec, at });
    }

    fn new_spec(&self, transitions: i64, wall: WallTime) -> LeaseSpec {
        let time = micro_time(wall.0);
        LeaseSpec {
            holder: self.identity.clone(),
            duration: self.duration,
            acquired: time.clone(),
            renewed: time,
            transitions,
        }
    }

    fn renewed_lease(&self, lease: &Lease, spec: &LeaseSpec, wall: WallTime) -> Vec<u8> {
        let mut lease = lease.clone();
        let spec = LeaseSpec { acquired: spec.acquired.clone(), ..self.new_spec(spec.transitions, wall) };
        lease.set_spec(&spec);
        lease.to_json()
    }

    /// The deadline is over, or nothing more is to be sent: it leads no longer.
    pub(super) fn lose(&mut self) {
        self.renewed = None;
        self.requested = Requested::Nothing;
    }

    /// Gives the lease back, so that another can take it at once. `None` if it is not held here.
    pub(super) fn release(&mut self, wall: WallTime) -> Option<LeaseRequest> {
        let seen = self.seen.take().filter(|seen| seen.spec.holder == self.identity);
        let was_leader = self.is_leader();
        self.lose();
        let Seen { mut lease, spec, .. } = seen.filter(|_| was_leader)?;
        let time = micro_time(wall.0);
        lease.set_spec(&LeaseSpec {
            holder: String::new(),
            duration: Duration::from_secs(1),
            acquired: time.clone(),
            renewed: time,
            transitions: spec.transitions,
        });
        Some(LeaseRequest::Update(lease.to_json()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const SEC: u64 = 1_000_000_000;

    /// The lease of a server, and the time.
    struct Server {
        lease: Option<Value>,
        version: u64,
        now: u64,
    }

    fn election(identity: &str) -> Election {
        Election::new(("ns", "l"), identity.to_owned(), Duration::from_secs(15), Duration::from_secs(10))
    }

    impl Server {
        fn new() -> Self {
            Self { lease: None, version: 0, now: 100 * SEC }
        }

        fn times(&self) -> (MonotonicTime, WallTime) {
            (MonotonicTime(self.now), WallTime(self.now))
        }

        fn respond(&mut self, request: &LeaseRequest) -> ApiResponse {
            let response = |status: u16, body: &Value| ApiResponse { status, body: body.to_string().into_bytes() };
            let sent: Option<Value> = match request {
                LeaseRequest::Get => None,
                LeaseRequest::Create(json) | LeaseRequest::Update(json) => serde_json::from_slice(json).ok(),
            };
            let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
            match (request, &self.lease, sent) {
                (LeaseRequest::Get, Some(lease), _) => return response(200, lease),
                (LeaseRequest::Create(_), None, Some(new)) => self.lease = Some(new),
                (LeaseRequest::Update(_), Some(lease), Some(new)) if version(lease) == version(&new) => {
                    self.lease = Some(new);
                }
                (LeaseRequest::Get, None, _) => return response(404, &Value::Null),
                _ => return response(409, &Value::Null),
            }
            self.version += 1;
            let lease = self.lease.as_mut().unwrap();
            lease["metadata"]["resourceVersion"] = self.version.to_string().into();
            response(200, lease)
        }

        /// One attempt, to its end.
        fn attempt(&mut self, election: &mut Election) -> Result<(), String> {
            let (now, wall) = self.times();
            let mut request = election.begin(now, wall);
            loop {
                let response = self.respond(&request);
                match election.handle_response(now, wall, Ok(response)) {
                    Progress::Request(next) => request = next,
                    Progress::Ended => return Ok(()),
                    Progress::Failed(error) => return Err(error),
                }
            }
        }

        fn spec(&self, member: &str) -> Value {
            self.lease.as_ref().unwrap()["spec"][member].clone()
        }
    }

    #[test]
    fn first_one_leads_and_another_takes_over_when_the_lease_has_not_changed_for_its_duration() {
        let (mut server, mut a, mut b) = (Server::new(), election("a"), election("b"));
        server.attempt(&mut a).unwrap();
        server.attempt(&mut b).unwrap();
        assert_eq!((a.is_leader(), b.is_leader()), (true, false));
        assert_eq!(server.spec("acquireTime"), "1970-01-01T00:01:40.000000Z");
        // It is renewed, so that its age begins anew.
        server.now += 10 * SEC;
        server.attempt(&mut a).unwrap();
        assert_eq!((server.version, server.spec("renewTime")), (2, "1970-01-01T00:01:50.000000Z".into()));
        server.attempt(&mut b).unwrap();
        server.now += 14 * SEC;
        server.attempt(&mut b).unwrap();
        assert!(!b.is_leader());
        server.now += SEC;
        server.attempt(&mut b).unwrap();
        assert!(b.is_leader());
        assert_eq!((server.spec("holderIdentity"), server.spec("leaseTransitions")), ("b".into(), 1.into()));
        // The old one finds out at its next attempt.
        server.attempt(&mut a).unwrap();
        assert!(!a.is_leader() && a.deadline().is_none());
    }

    #[test]
    fn renewal_that_is_refused_reads_the_lease_and_writes_again() {
        let (mut server, mut a) = (Server::new(), election("a"));
        server.attempt(&mut a).unwrap();
        // Somebody has added a label.
        let lease = server.lease.as_mut().unwrap();
        lease["metadata"]["resourceVersion"] = "900".into();
        lease["metadata"]["labels"] = serde_json::json!({"x": "y"});
        server.now += 2 * SEC;
        server.attempt(&mut a).unwrap();
        assert!(a.is_leader());
        assert_eq!(server.lease.as_ref().unwrap()["metadata"]["labels"]["x"], "y");
        assert_eq!(server.spec("leaseTransitions"), 0);
    }

    #[test]
    fn deadline_counts_from_the_begin_of_the_last_renewal() {
        let (mut server, mut a) = (Server::new(), election("a"));
        let (now, wall) = server.times();
        let request = a.begin(now, wall);
        let response = server.respond(&request);
        let later = now + Duration::from_secs(3);
        let Progress::Request(create) = a.handle_response(later, wall, Ok(response)) else { unreachable!() };
        let response = server.respond(&create);
        assert_eq!(a.handle_response(later, wall, Ok(response)), Progress::Ended);
        assert_eq!(a.deadline(), Some(now + Duration::from_secs(10)));
        a.begin(later, wall);
        assert_eq!(a.handle_response(later, wall, Err("reset".to_owned())), Progress::Failed("reset".to_owned()));
        assert_eq!(a.deadline(), Some(now + Duration::from_secs(10)));
        a.lose();
        assert_eq!((a.deadline(), a.is_leader()), (None, false));
    }

    #[test]
    fn lease_that_is_released_is_taken_at_once() {
        let (mut server, mut a, mut b) = (Server::new(), election("a"), election("b"));
        server.attempt(&mut a).unwrap();
        server.attempt(&mut b).unwrap();
        assert_eq!(b.release(server.times().1), None);
        let release = a.release(server.times().1).unwrap();
        assert_eq!(server.respond(&release).status, 200);
        assert_eq!(server.spec("holderIdentity"), "");
        server.attempt(&mut b).unwrap();
        assert!(b.is_leader() && !a.is_leader());
    }

    #[test]
    fn refusals_and_damaged_answers_fail_the_attempt() {
        let mut a = election("a");
        let (now, wall) = Server::new().times();
        let answer = |status: u16, body: &str| Ok(ApiResponse { status, body: body.as_bytes().to_vec() });
        a.begin(now, wall);
        let failed = a.handle_response(now, wall, answer(403, r#"{"message":"no"}"#));
        assert_eq!(failed, Progress::Failed("status 403: no".to_owned()));
        a.begin(now, wall);
        assert!(matches!(a.handle_response(now, wall, answer(200, "x")), Progress::Failed(_)));
        assert!(!a.is_leader());
    }
}
