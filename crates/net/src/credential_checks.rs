//! Checks of credentials that take long, and the requests that wait for them.
//!
//! One for each component that has servers: checks go to a helper thread one after another, in the order in which they
//! came, and requests with the same credentials share one. The number of waiting checks is bounded. Never sees a
//! request: the owner passes a value for each request, and gets the value back with the result.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use otelcore_pipeline::{CheckStep, CredentialCheck, Cx, JobResult, Unauthenticated};

/// The largest number of different credentials that wait for their check or are being checked. Each takes about 1 KiB.
const MAX_CHECKS: usize = 256;

/// The result of a check.
pub type CheckResult = Result<(), Unauthenticated>;

/// The checks of a component. A value of `W` identifies a request.
pub struct CredentialChecks<W> {
    /// The local key under which a job ends.
    job_key: u64,
    /// The first one is in progress while there is a `job`.
    checks: VecDeque<QueuedCheck<W>>,
    job: Option<JobResult<bool>>,
    /// Results that the owner has not taken.
    results: VecDeque<(W, Rc<CheckResult>)>,
}

struct QueuedCheck<W> {
    check: Box<dyn CredentialCheck>,
    credentials: [u8; 32],
    requests: Rc<RefCell<WaitingRequests<W>>>,
}

/// The requests of one check.
struct WaitingRequests<W> {
    next_number: u64,
    waiting: BTreeMap<u64, W>,
    result: Option<Rc<CheckResult>>,
}

/// The wait of a request for its check. When this is dropped, the request waits no more.
pub struct PendingCheck<W> {
    number: u64,
    requests: Rc<RefCell<WaitingRequests<W>>>,
}

/// The limit of different credentials that wait for a check is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyChecks;

impl std::fmt::Display for TooManyChecks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("too many credentials are being checked")
    }
}

impl<W> std::fmt::Debug for CredentialChecks<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialChecks").field("checks", &self.checks.len()).finish_non_exhaustive()
    }
}

impl<W> std::fmt::Debug for PendingCheck<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingCheck").field("result", &self.result()).finish_non_exhaustive()
    }
}

impl<W> CredentialChecks<W> {
    /// A value without checks. Jobs of checks end with [`otelcore_pipeline::Event::Ready`] under `job_key`.
    #[must_use]
    pub fn new(job_key: u64) -> Self {
        Self { job_key, checks: VecDeque::new(), job: None, results: VecDeque::new() }
    }

    /// Adds a request to those that wait for a check. [`CredentialChecks::poll_result`] may have the result at once.
    ///
    /// # Errors
    /// Too many checks are waiting; the request must be refused for now.
    pub fn enqueue(
        &mut self,
        cx: &mut Cx<'_>,
        check: Box<dyn CredentialCheck>,
        request: W,
    ) -> Result<PendingCheck<W>, TooManyChecks> {
        let credentials = check.credentials();
        let same = self.checks.iter().find(|check| check.credentials == credentials);
        let requests = match same {
            Some(same) => same.requests.clone(),
            None if self.checks.len() >= MAX_CHECKS => return Err(TooManyChecks),
            None => {
                let requests = WaitingRequests { next_number: 0, waiting: BTreeMap::new(), result: None };
                let requests = Rc::new(RefCell::new(requests));
                self.checks.push_back(QueuedCheck { check, credentials, requests: requests.clone() });
                requests
            }
        };
        let number = requests.borrow_mut().add(request);
        self.begin_next(cx);
        Ok(PendingCheck { number, requests })
    }

    /// The job of the first check has ended.
    pub fn handle_job_ended(&mut self, cx: &mut Cx<'_>) {
        let Some(job) = self.job.take() else { return };
        if let Some(first) = self.checks.pop_front() {
            let result = first.check.end(cx, job.take().unwrap_or(false));
            self.finish(&first, result);
        }
        self.begin_next(cx);
    }

    /// A request whose check has ended, and the result.
    pub fn poll_result(&mut self) -> Option<(W, Rc<CheckResult>)> {
        self.results.pop_front()
    }

    /// Whether [`CredentialChecks::poll_result`] returns a result.
    #[must_use]
    pub fn has_results(&self) -> bool {
        !self.results.is_empty()
    }

    /// Begins the next check, if none is under way.
    fn begin_next(&mut self, cx: &mut Cx<'_>) {
        while self.job.is_none()
            && let Some(first) = self.checks.front()
        {
            // No request waits for it any more.
            if first.requests.borrow().waiting.is_empty() {
                self.checks.pop_front();
                continue;
            }
            match first.check.begin(cx) {
                CheckStep::Compute(compute) => self.job = Some(cx.run_job(self.job_key, compute)),
                CheckStep::Ended(result) => {
                    if let Some(first) = self.checks.pop_front() {
                        self.finish(&first, result);
                    }
                }
            }
        }
    }

    fn finish(&mut self, check: &QueuedCheck<W>, result: CheckResult) {
        let mut requests = check.requests.borrow_mut();
        let result = Rc::new(result);
        requests.result = Some(result.clone());
        self.results
            .extend(std::mem::take(&mut requests.waiting).into_values().map(|request| (request, result.clone())));
    }
}

impl<W> WaitingRequests<W> {
    fn add(&mut self, request: W) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.waiting.insert(number, request);
        number
    }
}

impl<W> PendingCheck<W> {
    /// The result, once the check has ended.
    #[must_use]
    pub fn result(&self) -> Option<Rc<CheckResult>> {
        self.requests.borrow().result.clone()
    }
}

impl<W> Drop for PendingCheck<W> {
    fn drop(&mut self) {
        self.requests.borrow_mut().waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    use otelcore_testkit::TestWorld;

    /// Even credentials are valid. After `max_computations` computations all others are refused unchecked.
    struct EvenCheck {
        credentials: [u8; 32],
        computations: Rc<Cell<u32>>,
        max_computations: u32,
    }

    impl CredentialCheck for EvenCheck {
        fn credentials(&self) -> [u8; 32] {
            self.credentials
        }

        fn begin(&self, _: &mut Cx<'_>) -> CheckStep {
            if self.computations.get() == self.max_computations {
                return CheckStep::Ended(Err(Unauthenticated("unchecked".to_owned())));
            }
            self.computations.set(self.computations.get() + 1);
            let is_valid = self.credentials[0].is_multiple_of(2);
            CheckStep::Compute(Box::new(move || is_valid))
        }

        fn end(&self, _: &mut Cx<'_>, right: bool) -> CheckResult {
            if right { Ok(()) } else { Err(Unauthenticated("wrong".to_owned())) }
        }
    }

    struct Fixture {
        world: TestWorld,
        checks: CredentialChecks<u32>,
        computations: Rc<Cell<u32>>,
        max_computations: u32,
    }

    impl Fixture {
        fn new(max_computations: u32) -> Self {
            Self {
                world: TestWorld::new(),
                checks: CredentialChecks::new(0),
                computations: Rc::default(),
                max_computations,
            }
        }

        fn enqueue(&mut self, credentials: u8, request: u32) -> Result<PendingCheck<u32>, TooManyChecks> {
            let check = EvenCheck {
                credentials: [credentials; 32],
                computations: self.computations.clone(),
                max_computations: self.max_computations,
            };
            self.checks.enqueue(&mut self.world.cx(), Box::new(check), request)
        }

        /// Runs the one job there is.
        fn run_job(&mut self) -> Vec<(u32, CheckResult)> {
            assert_eq!(self.world.job_count(), 1, "one at a time");
            self.world.run_job();
            self.checks.handle_job_ended(&mut self.world.cx());
            self.results()
        }

        fn results(&mut self) -> Vec<(u32, CheckResult)> {
            std::iter::from_fn(|| self.checks.poll_result()).map(|(n, result)| (n, (*result).clone())).collect()
        }
    }

    fn refused(text: &str) -> CheckResult {
        Err(Unauthenticated(text.to_owned()))
    }

    #[test]
    fn requests_with_the_same_credentials_share_a_check() {
        let mut fixture = Fixture::new(9);
        let pending =
            [(2, 10), (3, 11), (2, 12), (3, 13), (2, 14)].map(|(c, request)| fixture.enqueue(c, request).unwrap());
        assert!(pending[0].result().is_none() && fixture.results().is_empty());
        assert_eq!(fixture.run_job(), [(10, Ok(())), (12, Ok(())), (14, Ok(()))]);
        assert_eq!(pending[2].result().as_deref(), Some(&Ok(())));
        assert_eq!(pending[1].result(), None);
        assert_eq!(fixture.run_job(), [(11, refused("wrong")), (13, refused("wrong"))]);
        assert_eq!((fixture.computations.get(), fixture.world.job_count()), (2, 0));
    }

    #[test]
    fn dropped_request_gets_no_result_and_its_check_does_not_begin() {
        let mut fixture = Fixture::new(9);
        let (first, second, third) =
            (fixture.enqueue(2, 1).unwrap(), fixture.enqueue(4, 2).unwrap(), fixture.enqueue(6, 3).unwrap());
        drop((first, second));
        assert_eq!(fixture.run_job(), []);
        assert_eq!(fixture.run_job(), [(3, Ok(()))]);
        assert_eq!(fixture.computations.get(), 2);
        assert_eq!(third.result().as_deref(), Some(&Ok(())));
    }

    #[test]
    fn checks_without_a_computation_end_with_the_one_before_them() {
        let mut fixture = Fixture::new(1);
        let _pending: Vec<_> = (1..5).map(|n| fixture.enqueue(n, n.into()).unwrap()).collect();
        let unchecked = |n| (n, refused("unchecked"));
        assert_eq!(fixture.run_job(), [(1, refused("wrong")), unchecked(2), unchecked(3), unchecked(4)]);
        let late = fixture.enqueue(9, 9).unwrap();
        assert!(late.result().is_some());
        assert_eq!(fixture.results(), [unchecked(9)]);
    }

    #[test]
    fn check_whose_computation_panics_is_refused() {
        let mut fixture = Fixture::new(9);
        let _pending = fixture.enqueue(2, 1).unwrap();
        // The job ends without a result.
        fixture.world.drop_job();
        fixture.checks.handle_job_ended(&mut fixture.world.cx());
        assert_eq!(fixture.results(), [(1, refused("wrong"))]);
    }

    #[test]
    fn different_credentials_above_the_limit_are_refused() {
        let mut fixture = Fixture::new(9);
        let pending: Vec<_> = (0..=255).filter_map(|n| fixture.enqueue(n, n.into()).ok()).collect();
        assert_eq!(pending.len(), MAX_CHECKS);
        let _same = fixture.enqueue(7, 300).unwrap();
        let mut credentials = [0; 32];
        credentials[1] = 1;
        let other = EvenCheck { credentials, computations: fixture.computations.clone(), max_computations: 9 };
        let more = fixture.checks.enqueue(&mut fixture.world.cx(), Box::new(other), 400);
        assert_eq!(more.err(), Some(TooManyChecks));
        drop(pending);
    }
}
