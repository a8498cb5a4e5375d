//! Keepalive and connection ages, with the semantics of grpc-go. It only computes times and returns the action that is
//! due; the caller performs it.
//!
//! Durations are nanoseconds; `None` means never.

use crate::connection::earliest;

const SECOND: u64 = 1_000_000_000;
/// Shortest interval of pings from a client that has no call and no permission to ping without calls (grpc-go
/// `defaultPingTimeout`).
const DORMANT_PING_INTERVAL: u64 = 2 * 3600 * SECOND;
/// grpc-go `maxPingStrikes`.
const MAX_PING_STRIKES: u8 = 2;

/// `keepalive` of a gRPC server: `server_parameters` and `enforcement_policy`.
#[derive(Clone, Debug)]
pub struct KeepaliveServerConfig {
    /// Drain a connection that had no call for this long.
    pub max_idle: Option<u64>,
    /// Drain a connection this old, ±10 %.
    pub max_age: Option<u64>,
    /// Close it this long after the drain, even if calls are in progress.
    pub max_age_grace: Option<u64>,
    /// Ping when nothing was received for this long. Default 2 h.
    pub time: Option<u64>,
    /// Close when a ping is not acknowledged for this long. Default 20 s.
    pub timeout: u64,
    /// A client that pings more often than this gets `too_many_pings`. Default 5 min.
    pub min_time: u64,
    /// Whether clients may ping while they have no call.
    pub permit_without_stream: bool,
}

impl Default for KeepaliveServerConfig {
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
pub struct KeepaliveClientConfig {
    /// Ping when nothing was received for this long. Default 10 s.
    pub time: u64,
    /// Close when a ping is not acknowledged for this long. Default 10 s.
    pub timeout: u64,
    /// Ping also while there is no call.
    pub permit_without_stream: bool,
}

impl Default for KeepaliveClientConfig {
    fn default() -> Self {
        Self { time: 10 * SECOND, timeout: 10 * SECOND, permit_without_stream: false }
    }
}

/// The action that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepaliveAction {
    None,
    Ping,
    /// The peer did not acknowledge a ping.
    PingTimeout,
    /// Drain, with the reason.
    Drain(&'static str),
    /// The grace period after a drain has ended.
    GraceExpired,
}

/// Pings when nothing was received for some time: the part that servers and clients share.
#[derive(Debug)]
struct Pinger {
    time: Option<u64>,
    timeout: u64,
    bytes_read: u64,
    last_read_at: u64,
    ping_sent_at: Option<u64>,
}

impl Pinger {
    fn new(time: Option<u64>, timeout: u64, now: u64) -> Self {
        Self { time, timeout, bytes_read: 0, last_read_at: now, ping_sent_at: None }
    }

    fn record_read(&mut self, now: u64, bytes: u64) {
        if bytes != self.bytes_read {
            self.bytes_read = bytes;
            self.last_read_at = now;
            self.ping_sent_at = None;
        }
    }

    fn next_timeout(&self) -> Option<u64> {
        let time = self.time?;
        Some(match self.ping_sent_at {
            Some(at) => at.saturating_add(self.timeout),
            None => self.last_read_at.saturating_add(time),
        })
    }

    fn poll_action(&mut self, now: u64) -> KeepaliveAction {
        if self.next_timeout().is_none_or(|at| now < at) {
            return KeepaliveAction::None;
        }
        if self.ping_sent_at.is_some() {
            return KeepaliveAction::PingTimeout;
        }
        self.ping_sent_at = Some(now);
        KeepaliveAction::Ping
    }
}

#[derive(Debug)]
pub(crate) struct ServerKeepalive {
    pinger: Pinger,
    idle_since: Option<u64>,
    max_idle: Option<u64>,
    max_age_at: Option<u64>,
    max_age_grace: Option<u64>,
    grace_ends_at: Option<u64>,
    min_time: u64,
    permit_without_stream: bool,
    ping_strikes: u8,
    last_ping_at: Option<u64>,
    reset_ping_strikes: bool,
    draining: bool,
}

impl ServerKeepalive {
    pub(crate) fn new(cfg: &KeepaliveServerConfig, now: u64, seed: u64) -> Self {
        // ±10 %, so that connections opened at the same time are not closed at the same time.
        let with_jitter = |age: u64| (age - age / 10).saturating_add(seed.checked_rem(age / 5).unwrap_or(0));
        Self {
            pinger: Pinger::new(cfg.time, cfg.timeout, now),
            idle_since: Some(now),
            max_idle: cfg.max_idle,
            max_age_at: cfg.max_age.map(|age| now.saturating_add(with_jitter(age))),
            max_age_grace: cfg.max_age_grace,
            grace_ends_at: None,
            min_time: cfg.min_time,
            permit_without_stream: cfg.permit_without_stream,
            ping_strikes: 0,
            last_ping_at: None,
            reset_ping_strikes: false,
            draining: false,
        }
    }

    /// Called after each poll. `bytes_read`: since the connection began. `has_calls`: whether there are calls.
    pub(crate) fn record_activity(&mut self, now: u64, bytes_read: u64, has_calls: bool) {
        self.pinger.record_read(now, bytes_read);
        match (has_calls, self.idle_since) {
            (true, _) => self.idle_since = None,
            (false, None) => self.idle_since = Some(now),
            (false, Some(_)) => {}
        }
    }

    /// Called when headers or data were sent: the next ping is allowed and strikes are reset.
    pub(crate) fn record_sent(&mut self) {
        self.reset_ping_strikes = true;
    }

    /// Called with the number of pings received in this poll. True when that is too many.
    pub(crate) fn record_pings(&mut self, now: u64, count: u32, has_calls: bool) -> bool {
        for _ in 0..count {
            let last = self.last_ping_at.replace(now);
            if std::mem::take(&mut self.reset_ping_strikes) {
                self.ping_strikes = 0;
                continue;
            }
            let min = if has_calls || self.permit_without_stream { self.min_time } else { DORMANT_PING_INTERVAL };
            if last.is_some_and(|last| last.saturating_add(min) > now) {
                self.ping_strikes += 1;
                if self.ping_strikes > MAX_PING_STRIKES {
                    return true;
                }
            }
        }
        false
    }

    /// Called when draining began, for any reason.
    pub(crate) fn set_draining(&mut self) {
        self.draining = true;
    }

    pub(crate) fn poll_timeout(&self) -> Option<u64> {
        let mut at = earliest(self.pinger.next_timeout(), self.grace_ends_at);
        if !self.draining {
            at = earliest(at, self.max_age_at);
            if let (Some(since), Some(max)) = (self.idle_since, self.max_idle) {
                at = earliest(at, Some(since.saturating_add(max)));
            }
        }
        at
    }

    pub(crate) fn poll_action(&mut self, now: u64) -> KeepaliveAction {
        if self.grace_ends_at.is_some_and(|at| now >= at) {
            return KeepaliveAction::GraceExpired;
        }
        if !self.draining {
            if self.max_age_at.is_some_and(|at| now >= at) {
                self.grace_ends_at = self.max_age_grace.map(|g| now.saturating_add(g));
                return KeepaliveAction::Drain("max_age");
            }
            if let (Some(since), Some(max)) = (self.idle_since, self.max_idle)
                && now >= since.saturating_add(max)
            {
                return KeepaliveAction::Drain("max_idle");
            }
        }
        self.pinger.poll_action(now)
    }
}

#[derive(Debug)]
pub(crate) struct ClientKeepalive {
    pinger: Option<Pinger>,
    permit_without_stream: bool,
    has_calls: bool,
}

impl ClientKeepalive {
    pub(crate) fn new(cfg: Option<&KeepaliveClientConfig>, now: u64) -> Self {
        Self {
            pinger: cfg.map(|c| Pinger::new(Some(c.time), c.timeout, now)),
            permit_without_stream: cfg.is_some_and(|c| c.permit_without_stream),
            has_calls: false,
        }
    }

    pub(crate) fn record_activity(&mut self, now: u64, bytes_read: u64, has_calls: bool) {
        let Some(pinger) = &mut self.pinger else { return };
        pinger.record_read(now, bytes_read);
        // The first call after a time without calls counts as activity: the ping interval starts with it.
        if has_calls && !self.has_calls && !self.permit_without_stream && pinger.ping_sent_at.is_none() {
            pinger.last_read_at = pinger.last_read_at.max(now);
        }
        self.has_calls = has_calls;
    }

    fn active_pinger(&self) -> Option<&Pinger> {
        self.pinger.as_ref().filter(|p| self.has_calls || self.permit_without_stream || p.ping_sent_at.is_some())
    }

    pub(crate) fn poll_timeout(&self) -> Option<u64> {
        self.active_pinger()?.next_timeout()
    }

    pub(crate) fn poll_action(&mut self, now: u64) -> KeepaliveAction {
        if self.active_pinger().is_none() {
            return KeepaliveAction::None;
        }
        self.pinger.as_mut().map_or(KeepaliveAction::None, |p| p.poll_action(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_age_is_spread_by_ten_percent() {
        let cfg = KeepaliveServerConfig { max_age: Some(1000), time: None, ..KeepaliveServerConfig::default() };
        let ages: Vec<u64> =
            (0..1000).map(|seed| ServerKeepalive::new(&cfg, 0, seed * 7919).poll_timeout().unwrap()).collect();
        assert!(ages.iter().all(|a| (900..1100).contains(a)));
        assert!(ages.iter().any(|a| *a < 920) && ages.iter().any(|a| *a > 1080));
    }

    #[test]
    fn third_ping_strike_is_refused_and_sent_data_resets_strikes() {
        let mut keepalive = ServerKeepalive::new(&KeepaliveServerConfig::default(), 0, 0);
        assert!(!keepalive.record_pings(1, 1, true), "the first ping is free");
        assert!(!keepalive.record_pings(2, 2, true), "two strikes");
        keepalive.record_sent();
        assert!(!keepalive.record_pings(3, 3, true), "forgiven, then two strikes again");
        assert!(keepalive.record_pings(4, 1, true));
    }

    #[test]
    fn pings_at_the_allowed_interval_are_accepted() {
        let cfg = KeepaliveServerConfig { min_time: 10 * SECOND, ..KeepaliveServerConfig::default() };
        let mut keepalive = ServerKeepalive::new(&cfg, 0, 0);
        assert!((0..100).all(|i| !keepalive.record_pings(i * 10 * SECOND, 1, true)));
        let mut idle = ServerKeepalive::new(&cfg, 0, 0);
        assert!((0..100).any(|i| idle.record_pings(i * 10 * SECOND, 1, false)), "without a call the pace is two hours");
    }

    #[test]
    fn idle_connection_is_pinged_and_unanswered_ping_times_out() {
        let mut keepalive = ClientKeepalive::new(Some(&KeepaliveClientConfig::default()), 0);
        assert_eq!(keepalive.poll_timeout(), None, "dormant");
        keepalive.record_activity(5, 100, true);
        assert_eq!(keepalive.poll_timeout(), Some(5 + 10 * SECOND));
        assert_eq!(keepalive.poll_action(5 + 10 * SECOND), KeepaliveAction::Ping);
        keepalive.record_activity(11 * SECOND, 117, true);
        assert_eq!(keepalive.poll_action(20 * SECOND), KeepaliveAction::None, "an answer came");
        assert_eq!(keepalive.poll_action(21 * SECOND), KeepaliveAction::Ping);
        assert_eq!(keepalive.poll_action(31 * SECOND), KeepaliveAction::PingTimeout);
    }
}
