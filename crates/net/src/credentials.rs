//! Checks of credentials that take long, and the requests that wait for them.
//!
//! One for each component that has servers: checks go to a helper thread one after another, in the order in which they
//! came, and requests with the same credentials share one. The number of waiting checks is bounded. Never sees a
//! request: the owner passes a value for each request, and gets the value back with the result.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use otelcore_pipeline::{CheckStep, CredentialCheck, Cx, JobResult};

/// The largest number of different credentials that wait for their check or are being checked. Each takes about 1 KiB.
const MAX_CHECKS: usize = 256;

/// The result of a check: the error is the text for the client.
pub type CheckResult = Result<(), String>;

/// The checks of a component. A value of `W` identifies a request.
pub struct CredentialChecks<W> {
    /// The local key under which a job ends.
    key: u64,
    /// The first one is in progress while there is a `job`.
    checks: VecDeque<Check<W>>,
    job: Option<JobResult<bool>>,
    /// Results that the owner has not taken.
    ended: VecDeque<(W, Rc<CheckResult>)>,
}

struct Check<W> {
    check: Box<dyn CredentialCheck>,
    credentials: [u8; 32],
    requests: Rc<RefCell<Requests<W>>>,
}

/// The requests of one check.
struct Requests<W> {
    next: u64,
    waiting: BTreeMap<u64, W>,
    result: Option<Rc<CheckResult>>,
}

/// The wait of a request for its check. When this is dropped, the request waits no more.
pub struct PendingCheck<W> {
    number: u64,
    requests: Rc<RefCell<Requests<W>>>,
}

/// Too many different credentials wait.
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
    /// A value without checks. Jobs of checks end with [`otelcore_pipeline::Event::Ready`] under `key`.
    #[must_use]
    pub fn new(key: u64) -> Self {
        Self { key, checks: VecDeque::new(), job: None, ended: VecDeque::new() }
    }

    /// Has a request wait for a check. The result may be there at once: [`CredentialChecks::poll_ended`].
    ///
    /// # Errors
    /// Too many checks are waiting; the request must be refused for now.
    pub fn wait(
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
                let requests = Requests { next: 0, waiting: BTreeMap::new(), result: None };
                let requests = Rc::new(RefCell::new(requests));
                self.checks.push_back(Check { check, credentials, requests: requests.clone() });
                requests
            }
        };
        let number = requests.borrow_mut().add(request);
        self.begin(cx);
        Ok(PendingCheck { number, requests })
    }

    /// The job of the first check has ended.
    pub fn handle_job_ended(&mut self, cx: &mut Cx<'_>) {
        let Some(job) = self.job.take() else { return };
        if let Some(first) = self.checks.pop_front() {
            let result = first.check.end(cx, job.take().unwrap_or(false));
            self.end(&first, result);
        }
        self.begin(cx);
    }

    /// A request whose check has ended, and the result.
    pub fn poll_ended(&mut self) -> Option<(W, Rc<CheckResult>)> {
        self.ended.pop_front()
    }

    /// Whether [`CredentialChecks::poll_ended`] has something.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Begins the next check, if none is under way.
    fn begin(&mut self, cx: &mut Cx<'_>) {
        while self.job.is_none()
            && let Some(first) = self.checks.front()
        {
            // No request waits for it any more.
            if first.requests.borrow().waiting.is_empty() {
                self.checks.pop_front();
                continue;
            }
            match first.check.begin(cx) {
                CheckStep::Compute(compute) => self.job = Some(cx.run_job(self.key, compute)),
                CheckStep::Ended(result) => {
                    if let Some(first) = self.checks.pop_front() {
                        self.end(&first, result);
                    }
                }
            }
        }
    }

    fn end(&mut self, check: &Check<W>, result: CheckResult) {
        let mut requests = check.requests.borrow_mut();
        let result = Rc::new(result);
        requests.result = Some(result.clone());
        self.ended.extend(std::mem::take(&mut requests.waiting).into_values().map(|request| (request, result.clone())));
    }
}

impl<W> Requests<W> {
    fn add(&mut self, request: W) -> u64 {
        let number = self.next;
        self.next += 1;
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
    use std::io;

    use otelcore_pipeline::{
        Endpoint, Job, Key, Listener, MemorySample, Mono, PeerAddr, ProcessSample, Stream, TimerId, Wall, World,
    };

    /// Keeps jobs until the test runs them.
    #[derive(Default)]
    struct Jobs(Vec<Job>);

    impl World for Jobs {
        fn now(&self) -> Mono {
            Mono(0)
        }
        fn wall(&self) -> Wall {
            Wall(0)
        }
        fn rand(&mut self) -> u64 {
            0
        }
        fn memory(&mut self) -> MemorySample {
            MemorySample::default()
        }
        fn process(&mut self) -> ProcessSample {
            ProcessSample::default()
        }
        fn listen(&mut self, _: Key, _: &Endpoint) -> io::Result<Box<dyn Listener>> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn connect(&mut self, _: Key, _: &PeerAddr) -> io::Result<Box<dyn Stream>> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn resolve(&mut self, _: Key, _: &str, _: u16) {}
        fn arm(&mut self, _: Key, _: Mono) -> TimerId {
            TimerId(0)
        }
        fn cancel(&mut self, _: TimerId) {}
        fn again(&mut self, _: Key) {}
        fn output(&mut self, _: &str) -> io::Result<Box<dyn io::Write>> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn run_job(&mut self, _: Key, job: Job) {
            self.0.push(job);
        }
    }

    /// Even credentials are right. From a number of checks on all others are refused unchecked.
    struct Even {
        credentials: [u8; 32],
        checks: Rc<Cell<u32>>,
        most: u32,
    }

    impl CredentialCheck for Even {
        fn credentials(&self) -> [u8; 32] {
            self.credentials
        }

        fn begin(&self, _: &mut Cx<'_>) -> CheckStep {
            if self.checks.get() == self.most {
                return CheckStep::Ended(Err("unchecked".to_owned()));
            }
            self.checks.set(self.checks.get() + 1);
            let right = self.credentials[0].is_multiple_of(2);
            CheckStep::Compute(Box::new(move || right))
        }

        fn end(&self, _: &mut Cx<'_>, right: bool) -> CheckResult {
            if right { Ok(()) } else { Err("wrong".to_owned()) }
        }
    }

    struct Checking {
        world: Jobs,
        checks: CredentialChecks<u32>,
        begun: Rc<Cell<u32>>,
        most: u32,
    }

    impl Checking {
        fn new(most: u32) -> Self {
            Self { world: Jobs::default(), checks: CredentialChecks::new(0), begun: Rc::default(), most }
        }

        fn wait(&mut self, credentials: u8, request: u32) -> Result<PendingCheck<u32>, TooManyChecks> {
            let check = Even { credentials: [credentials; 32], checks: self.begun.clone(), most: self.most };
            self.checks.wait(&mut Cx::new(&mut self.world, 0), Box::new(check), request)
        }

        /// Runs the one job there is.
        fn run(&mut self) -> Vec<(u32, CheckResult)> {
            let job = self.world.0.pop().unwrap();
            assert!(self.world.0.is_empty(), "one at a time");
            job();
            self.checks.handle_job_ended(&mut Cx::new(&mut self.world, 0));
            self.ended()
        }

        fn ended(&mut self) -> Vec<(u32, CheckResult)> {
            std::iter::from_fn(|| self.checks.poll_ended()).map(|(n, result)| (n, (*result).clone())).collect()
        }
    }

    fn wrong(text: &str) -> CheckResult {
        Err(text.to_owned())
    }

    #[test]
    fn requests_with_the_same_credentials_share_a_check() {
        let mut it = Checking::new(9);
        let places = [(2, 10), (3, 11), (2, 12), (3, 13), (2, 14)].map(|(c, request)| it.wait(c, request).unwrap());
        assert!(places[0].result().is_none() && it.ended().is_empty());
        assert_eq!(it.run(), [(10, Ok(())), (12, Ok(())), (14, Ok(()))]);
        assert_eq!(places[2].result().as_deref(), Some(&Ok(())));
        assert_eq!(places[1].result(), None);
        assert_eq!(it.run(), [(11, wrong("wrong")), (13, wrong("wrong"))]);
        assert_eq!((it.begun.get(), it.world.0.len()), (2, 0));
    }

    #[test]
    fn request_that_is_gone_hears_nothing_and_its_check_does_not_begin() {
        let mut it = Checking::new(9);
        let (first, second, third) = (it.wait(2, 1).unwrap(), it.wait(4, 2).unwrap(), it.wait(6, 3).unwrap());
        drop((first, second));
        assert_eq!(it.run(), []);
        assert_eq!(it.run(), [(3, Ok(()))]);
        assert_eq!(it.begun.get(), 2);
        assert_eq!(third.result().as_deref(), Some(&Ok(())));
    }

    #[test]
    fn checks_that_need_no_computation_end_with_the_one_before() {
        let mut it = Checking::new(1);
        let _places: Vec<_> = (1..5).map(|n| it.wait(n, n.into()).unwrap()).collect();
        let unchecked = |n| (n, wrong("unchecked"));
        assert_eq!(it.run(), [(1, wrong("wrong")), unchecked(2), unchecked(3), unchecked(4)]);
        let late = it.wait(9, 9).unwrap();
        assert!(late.result().is_some());
        assert_eq!(it.ended(), [unchecked(9)]);
    }

    #[test]
    fn computation_that_panics_refuses() {
        let mut it = Checking::new(9);
        let _place = it.wait(2, 1).unwrap();
        // The job ends without a result.
        drop(it.world.0.pop());
        it.checks.handle_job_ended(&mut Cx::new(&mut it.world, 0));
        assert_eq!(it.ended(), [(1, wrong("wrong"))]);
    }

    #[test]
    fn different_credentials_that_wait_are_bounded() {
        let mut it = Checking::new(9);
        let places: Vec<_> = (0..=255).filter_map(|n| it.wait(n, n.into()).ok()).collect();
        assert_eq!(places.len(), MAX_CHECKS);
        let _same = it.wait(7, 300).unwrap();
        let mut credentials = [0; 32];
        credentials[1] = 1;
        let other = Even { credentials, checks: it.begun.clone(), most: 9 };
        let more = it.checks.wait(&mut Cx::new(&mut it.world, 0), Box::new(other), 400);
        assert_eq!(more.err(), Some(TooManyChecks));
        drop(places);
    }
}
