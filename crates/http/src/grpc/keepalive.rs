//! Keepalive and connection ages, with the semantics of grpc-go. It only computes times and returns the action that is
//! due; the caller performs it.
//!
//! Durations are nanoseconds; `None` means never.

use crate::earliest;

const SECOND: u64 = 1_000_000_000;
/// Shortest interval of pings from a client that has no call and no permission to ping without calls (grpc-go
/// `defaultPingTimeout`).
const DORMANT_PING: u64 = 2 * 3600 * SECOND;
/// grpc-go `maxPingStrikes`.
const MAX_STRIKES: u8 = 2;

/// `keepalive` of a gRPC server: `server_parameters` and `enforcement_policy`.
#[derive(Clone, Debug)]
pub struct KeepaliveServer {
    /// Drain a connection that had no call for this long.
    pub max_idle: Option<u64>,
    /// Drain a connection this old, ±10 %.
    pub max_age: Option<u64>,
    /// Close it this long after the drain, even if calls are in progress.
    pub max_age_grace: Option<u64>,
    /// Ping when nothing was received for this long. Default 2 h.
    pub time: Option<u64>,
    /// Close when a ping is not answered for this long. Default 20 s.
    pub timeout: u64,
    /// A client that pings more often than this gets `too_many_pings`. Default 5 min.
    pub min_time: u64,
    /// Whether clients may ping while they have no call.
    pub permit_without_stream: bool,
}

impl Default for KeepaliveServer {
    fn default() -> Self {
        Self {
            max_idle: None,
            max_age: None,
            max_age_grace: None,
            time: Some(2 * 3600 * SECOND),
            timeout: 20 * SECOND,
            min_time: 300 * SECOND,
            permit_without_stream: false,
        }
    }
}

/// `keepalive` of a gRPC client.
#[derive(Clone, Debug)]
pub struct KeepaliveClient {
    /// Ping when nothing was received for this long. Default 10 s.
    pub time: u64,
    /// Close when a ping is not answered for this long. Default 10 s.
    pub timeout: u64,
    /// Ping also while there is no call.
    pub permit_without_stream: bool,
}

impl Default for KeepaliveClient {
    fn default() -> Self {
        Self { time: 10 * SECOND, timeout: 10 * SECOND, permit_without_stream: false }
    }
}

/// The action that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    Ping,
    /// The peer did not answer a ping.
    Dead,
    /// Drain, with the reason.
    Drain(&'static str),
    /// The grace period after a drain has ended.
    Expired,
}

/// Pings when nothing was received for some time: the part that servers and clients share.
#[derive(Debug)]
struct Pinger {
    time: Option<u64>,
    timeout: u64,
    seen_bytes: u64,
    last_read: u64,
    pinged: Option<u64>,
}

impl Pinger {
    fn new(time: Option<u64>, timeout: u64, now: u64) -> Self {
        Self { time, timeout, seen_bytes: 0, last_read: now, pinged: None }
    }

    fn read(&mut self, now: u64, bytes: u64) {
        if bytes != self.seen_bytes {
            self.seen_bytes = bytes;
            self.last_read = now;
            self.pinged = None;
        }
    }

    fn next(&self) -> Option<u64> {
        let time = self.time?;
        Some(match self.pinged {
            Some(at) => at.saturating_add(self.timeout),
            None => self.last_read.saturating_add(time),
        })
    }

    fn due(&mut self, now: u64) -> Due {
        if self.next().is_none_or(|at| now < at) {
            return Due::Nothing;
        }
        if self.pinged.is_some() {
            return Due::Dead;
        }
        self.pinged = Some(now);
        Due::Ping
    }
}

#[derive(Debug)]
pub(crate) struct ServerKeep {
    pinger: Pinger,
    idle_since: Option<u64>,
    max_idle: Option<u64>,
    age_at: Option<u64>,
    grace: Option<u64>,
    expires: Option<u64>,
    min_time: u64,
    permit_without_stream: bool,
    strikes: u8,
    last_ping: Option<u64>,
    forgive: bool,
    draining: bool,
}

impl ServerKeep {
    pub(crate) fn new(cfg: &KeepaliveServer, now: u64, seed: u64) -> Self {
        // ±10 %, so that connections opened at the same time are not closed at the same time.
        let jittered = |age: u64| (age - age / 10).saturating_add(seed.checked_rem(age / 5).unwrap_or(0));
        Self {
            pinger: Pinger::new(cfg.time, cfg.timeout, now),
            idle_since: Some(now),
            max_idle: cfg.max_idle,
            age_at: cfg.max_age.map(|age| now.saturating_add(jittered(age))),
            grace: cfg.max_age_grace,
            expires: None,
            min_time: cfg.min_time,
            permit_without_stream: cfg.permit_without_stream,
            strikes: 0,
            last_ping: None,
            forgive: false,
            draining: false,
        }
    }

    /// Called after each turn. `bytes`: read since the connection began. `busy`: whether there are calls.
    pub(crate) fn observe(&mut self, now: u64, bytes: u64, busy: bool) {
        self.pinger.read(now, bytes);
        match (busy, self.idle_since) {
            (true, _) => self.idle_since = None,
            (false, None) => self.idle_since = Some(now),
            (false, Some(_)) => {}
        }
    }

    /// Called when headers or data were sent: the next ping is allowed and strikes are reset.
    pub(crate) fn sent(&mut self) {
        self.forgive = true;
    }

    /// Called with the number of pings received in this turn. True when that is too many.
    pub(crate) fn pinged(&mut self, now: u64, count: u32, busy: bool) -> bool {
        for _ in 0..count {
            let last = self.last_ping.replace(now);
            if std::mem::take(&mut self.forgive) {
                self.strikes = 0;
                continue;
            }
            let min = if busy || self.permit_without_stream { self.min_time } else { DORMANT_PING };
            if last.is_some_and(|last| last.saturating_add(min) > now) {
                self.strikes += 1;
                if self.strikes > MAX_STRIKES {
                    return true;
                }
            }
        }
        false
    }

    /// Called when draining began, for any reason.
    pub(crate) fn draining(&mut self) {
        self.draining = true;
    }

    pub(crate) fn poll_timeout(&self) -> Option<u64> {
        let mut at = earliest(self.pinger.next(), self.expires);
        if !self.draining {
            at = earliest(at, self.age_at);
            if let (Some(since), Some(max)) = (self.idle_since, self.max_idle) {
                at = earliest(at, Some(since.saturating_add(max)));
            }
        }
        at
    }

    pub(crate) fn due(&mut self, now: u64) -> Due {
        if self.expires.is_some_and(|at| now >= at) {
            return Due::Expired;
        }
        if !self.draining {
            if self.age_at.is_some_and(|at| now >= at) {
                self.expires = self.grace.map(|g| now.saturating_add(g));
                return Due::Drain("max_age");
            }
            if let (Some(since), Some(max)) = (self.idle_since, self.max_idle)
                && now >= since.saturating_add(max)
            {
                return Due::Drain("max_idle");
            }
        }
        self.pinger.due(now)
    }
}

#[derive(Debug)]
pub(crate) struct ClientKeep {
    pinger: Option<Pinger>,
    permit_without_stream: bool,
    busy: bool,
}

impl ClientKeep {
    pub(crate) fn new(cfg: Option<&KeepaliveClient>, now: u64) -> Self {
        Self {
            pinger: cfg.map(|c| Pinger::new(Some(c.time), c.timeout, now)),
            permit_without_stream: cfg.is_some_and(|c| c.permit_without_stream),
            busy: false,
        }
    }

    pub(crate) fn observe(&mut self, now: u64, bytes: u64, busy: bool) {
        let Some(pinger) = &mut self.pinger else { return };
        pinger.read(now, bytes);
        // The first call after a time without calls counts as activity: the ping interval starts with it.
        if busy && !self.busy && !self.permit_without_stream && pinger.pinged.is_none() {
            pinger.last_read = pinger.last_read.max(now);
        }
        self.busy = busy;
    }

    fn awake(&self) -> Option<&Pinger> {
        self.pinger.as_ref().filter(|p| self.busy || self.permit_without_stream || p.pinged.is_some())
    }

    pub(crate) fn poll_timeout(&self) -> Option<u64> {
        self.awake()?.next()
    }

    pub(crate) fn due(&mut self, now: u64) -> Due {
        if self.awake().is_none() {
            return Due::Nothing;
        }
        self.pinger.as_mut().map_or(Due::Nothing, |p| p.due(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_spread_by_ten_percent_either_way() {
        let cfg = KeepaliveServer { max_age: Some(1000), time: None, ..KeepaliveServer::default() };
        let ages: Vec<u64> =
            (0..1000).map(|seed| ServerKeep::new(&cfg, 0, seed * 7919).poll_timeout().unwrap()).collect();
        assert!(ages.iter().all(|a| (900..1100).contains(a)));
        assert!(ages.iter().any(|a| *a < 920) && ages.iter().any(|a| *a > 1080));
    }

    #[test]
    fn the_third_strike_is_out_and_sending_forgives() {
        let mut keep = ServerKeep::new(&KeepaliveServer::default(), 0, 0);
        assert!(!keep.pinged(1, 1, true), "the first ping is free");
        assert!(!keep.pinged(2, 2, true), "two strikes");
        keep.sent();
        assert!(!keep.pinged(3, 3, true), "forgiven, then two strikes again");
        assert!(keep.pinged(4, 1, true));
    }

    #[test]
    fn pings_at_the_allowed_pace_are_never_struck() {
        let cfg = KeepaliveServer { min_time: 10 * SECOND, ..KeepaliveServer::default() };
        let mut keep = ServerKeep::new(&cfg, 0, 0);
        assert!((0..100).all(|i| !keep.pinged(i * 10 * SECOND, 1, true)));
        let mut idle = ServerKeep::new(&cfg, 0, 0);
        assert!((0..100).any(|i| idle.pinged(i * 10 * SECOND, 1, false)), "without a call the pace is two hours");
    }

    #[test]
    fn silence_is_pinged_and_silence_after_the_ping_is_death() {
        let mut keep = ClientKeep::new(Some(&KeepaliveClient::default()), 0);
        assert_eq!(keep.poll_timeout(), None, "dormant");
        keep.observe(5, 100, true);
        assert_eq!(keep.poll_timeout(), Some(5 + 10 * SECOND));
        assert_eq!(keep.due(5 + 10 * SECOND), Due::Ping);
        keep.observe(11 * SECOND, 117, true);
        assert_eq!(keep.due(20 * SECOND), Due::Nothing, "an answer came");
        assert_eq!(keep.due(21 * SECOND), Due::Ping);
        assert_eq!(keep.due(31 * SECOND), Due::Dead);
    }
}
