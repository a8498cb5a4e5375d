//! The users of a server, and limits for the cost of checking them.
//!
//! Good hashes are slow to check by design. Helper threads check them; these are few and have other work too.
//! Therefore:
//! - For each user a digest of the credentials that were right is kept, so that a client's credentials are checked
//!   once. The digests are keyed with random numbers of this process and are useless elsewhere. There is at most one
//!   for each user.
//! - The last wrong credentials are kept the same way, so that those of a client that retries with a wrong password are
//!   checked once too.
//! - The rate of checks of new wrong credentials is limited. Above the limit they are refused unchecked, and so are
//!   right ones that were not seen before: a client that guesses passwords can keep new clients out while it continues,
//!   but not clients whose credentials are known.
//!
//! A wrong result counts towards the limit when its check has ended. Each component has one check at a time, so the
//! limit may be exceeded by as many checks as components use the extension. Hashes that are quick to check are not
//! limited. Never starts a thread.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use otelcore_pipeline::MonotonicTime;
use sha2::{Digest, Sha256};

use super::htpasswd::PasswordHash;

/// How many wrong credentials are remembered.
pub(super) const MAX_WRONG_DIGESTS: usize = 64;
/// The average time between two checks of wrong credentials: with bcrypt of cost 10 they take about a seventh of a
/// thread's time.
pub(super) const WRONG_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How many of them may be checked in one burst.
pub(super) const WRONG_CHECK_BURST: u32 = 4;
/// For slow hashes, whose time depends on the length, a longer password is wrong without a check.
pub(super) const MAX_PASSWORD: usize = 1024;

type CredentialDigest = [u8; 32];

struct User {
    hash: Arc<PasswordHash>,
    /// The credentials that were right.
    valid_digest: Option<CredentialDigest>,
}

/// All users, and the credentials that were checked.
#[derive(Default)]
pub(super) struct Users {
    users: BTreeMap<Vec<u8>, User>,
    key: [u64; 4],
    wrong_digests: VecDeque<CredentialDigest>,
    /// The time from which the wrong credentials so far do not count towards the limit any more. Each one moves it by
    /// [`WRONG_CHECK_INTERVAL`].
    limit_clear_at: MonotonicTime,
    /// Checks of slow hashes so far, for tests.
    #[cfg(test)]
    pub(super) checks: u32,
}

/// Credentials whose check takes long.
pub(super) struct Credentials {
    pub(super) user: Vec<u8>,
    pub(super) password: Vec<u8>,
    /// Their digest under the key of this process.
    pub(super) digest: CredentialDigest,
}

/// What is known about credentials without a slow check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LookupResult {
    /// Whether they are right.
    Known(bool),
    /// Nothing, and too many wrong ones were checked before: they are refused unchecked.
    TooMany,
    /// Nothing; they must be checked.
    Unknown(CredentialDigest),
}

/// How a check begins.
pub(super) enum CheckStart {
    /// It is not needed any more; whether the credentials are right.
    Known(bool),
    /// See [`LookupResult::TooMany`].
    TooMany,
    /// The password must be verified with this hash, and the result passed to [`Users::end_check`].
    Verify(Arc<PasswordHash>),
}

impl Users {
    /// No users; `key` is random.
    pub(super) fn new(key: [u64; 4]) -> Self {
        Self { key, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Adds a user, or replaces one of an earlier line.
    pub(super) fn add(&mut self, user: &[u8], hash: PasswordHash) {
        self.users.insert(user.to_owned(), User { hash: Arc::new(hash), valid_digest: None });
    }

    /// Looks credentials up. Checks them if the hash of the user is quick to check.
    pub(super) fn look_up(&self, now: MonotonicTime, user: &[u8], password: &[u8]) -> LookupResult {
        let Some(entry) = self.users.get(user) else { return LookupResult::Known(false) };
        if !entry.hash.is_slow() {
            return LookupResult::Known(entry.hash.verify(password));
        }
        if password.len() > MAX_PASSWORD {
            return LookupResult::Known(false);
        }
        let digest = credential_digest(self.key, user, password);
        self.known_result(now, entry, digest).unwrap_or(LookupResult::Unknown(digest))
    }

    /// The result for a digest, if it can be given without a check.
    fn known_result(&self, now: MonotonicTime, user: &User, digest: CredentialDigest) -> Option<LookupResult> {
        if user.valid_digest == Some(digest) {
            Some(LookupResult::Known(true))
        } else if self.wrong_digests.contains(&digest) {
            Some(LookupResult::Known(false))
        } else if self.limit_clear_at.since(now) > WRONG_CHECK_INTERVAL * (WRONG_CHECK_BURST - 1) {
            Some(LookupResult::TooMany)
        } else {
            None
        }
    }

    /// Begins a check, unless the results since [`Users::look_up`] make it unnecessary.
    pub(super) fn begin_check(&mut self, now: MonotonicTime, credentials: &Credentials) -> CheckStart {
        let Some(user) = self.users.get(&credentials.user) else { return CheckStart::Known(false) };
        match self.known_result(now, user, credentials.digest) {
            Some(LookupResult::Known(is_valid)) => CheckStart::Known(is_valid),
            Some(LookupResult::TooMany) => CheckStart::TooMany,
            Some(LookupResult::Unknown(_)) | None => {
                #[cfg(test)]
                {
                    self.checks += 1;
                }
                CheckStart::Verify(user.hash.clone())
            }
        }
    }

    /// A check has ended.
    pub(super) fn end_check(&mut self, now: MonotonicTime, credentials: &Credentials, is_valid: bool) {
        let digest = credentials.digest;
        if is_valid {
            if let Some(user) = self.users.get_mut(&credentials.user) {
                user.valid_digest = Some(digest);
            }
            return;
        }
        self.limit_clear_at = self.limit_clear_at.max(now) + WRONG_CHECK_INTERVAL;
        if !self.wrong_digests.contains(&digest) {
            self.wrong_digests.truncate(MAX_WRONG_DIGESTS - 1);
            self.wrong_digests.push_front(digest);
        }
    }
}

/// The digest of credentials under this process's key. Digests need no constant-time comparison: a client can't choose
/// them.
fn credential_digest(key: [u64; 4], user: &[u8], password: &[u8]) -> CredentialDigest {
    let hasher = key.iter().fold(Sha256::new(), |sha, word| sha.chain_update(word.to_be_bytes()));
    // A user name has no colon, so that no other pair gives the same text.
    hasher.chain_update(user).chain_update(b":").chain_update(password).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::basic_auth::htpasswd;

    /// `user` with the password `pässword 1`, by htpasswd of Apache.
    const LINE: &[u8] = b"user:$apr1$pH12/E6B$f89uTft.7WD.5kj/QrVRX.";
    const PASSWORD: &[u8] = "pässword 1".as_bytes();

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum CheckResult {
        Valid,
        Wrong,
        Unchecked,
    }

    fn check_result(is_valid: bool) -> CheckResult {
        if is_valid { CheckResult::Valid } else { CheckResult::Wrong }
    }

    impl Users {
        /// Credentials that need a check.
        fn look_up_unknown(
            &self,
            now: MonotonicTime,
            user: &[u8],
            password: &[u8],
        ) -> Result<Credentials, CheckResult> {
            match self.look_up(now, user, password) {
                LookupResult::Known(is_valid) => Err(check_result(is_valid)),
                LookupResult::TooMany => Err(CheckResult::Unchecked),
                LookupResult::Unknown(digest) => {
                    Ok(Credentials { user: user.to_owned(), password: password.to_owned(), digest })
                }
            }
        }

        /// A check whose computation takes no time.
        fn check_now(&mut self, now: MonotonicTime, user: &[u8], password: &[u8]) -> CheckResult {
            let credentials = match self.look_up_unknown(now, user, password) {
                Ok(credentials) => credentials,
                Err(known) => return known,
            };
            match self.begin_check(now, &credentials) {
                CheckStart::Known(is_valid) => check_result(is_valid),
                CheckStart::TooMany => CheckResult::Unchecked,
                CheckStart::Verify(hash) => {
                    let is_valid = hash.verify(password);
                    self.end_check(now, &credentials, is_valid);
                    check_result(is_valid)
                }
            }
        }
    }

    fn users_with_one() -> Users {
        let mut users = Users::new([1, 2, 3, 4]);
        let (user, hash) = htpasswd::parse_line(LINE).unwrap().unwrap();
        users.add(user, hash);
        users
    }

    #[test]
    fn valid_and_wrong_credentials_are_each_checked_once() {
        let mut users = users_with_one();
        for _ in 0..100 {
            assert_eq!(users.check_now(MonotonicTime(0), b"user", PASSWORD), CheckResult::Valid);
            assert_eq!(users.check_now(MonotonicTime(0), b"user", b"other"), CheckResult::Wrong);
            assert_eq!(users.check_now(MonotonicTime(0), b"nobody", b"other"), CheckResult::Wrong);
        }
        assert_eq!((users.checks, users.wrong_digests.len()), (2, 1));
        assert_eq!(users.check_now(MonotonicTime(0), b"user", &[b'x'; MAX_PASSWORD + 1]), CheckResult::Wrong);
        assert_eq!(users.checks, 2, "what is too long is not checked");
    }

    #[test]
    fn valid_credentials_do_not_count_towards_the_limit() {
        let mut users = users_with_one();
        for i in 0..100_u32 {
            let name = format!("user{i}");
            let (_, hash) = htpasswd::parse_line(LINE).unwrap().unwrap();
            users.add(name.as_bytes(), hash);
            assert_eq!(users.check_now(MonotonicTime(0), name.as_bytes(), PASSWORD), CheckResult::Valid);
        }
        assert_eq!(users.checks, 100);
    }

    #[test]
    fn wrong_credentials_are_checked_at_a_limited_rate_and_a_limited_number_is_kept() {
        let mut users = users_with_one();
        let mut guess = 0_u32;
        let mut count_checks = |users: &mut Users, now, count| {
            let before = users.checks;
            for _ in 0..count {
                guess += 1;
                assert_ne!(users.check_now(now, b"user", &guess.to_be_bytes()), CheckResult::Valid);
            }
            users.checks - before
        };
        assert_eq!(count_checks(&mut users, MonotonicTime(0), 1000), WRONG_CHECK_BURST);
        assert_eq!(
            count_checks(&mut users, MonotonicTime(0) + (WRONG_CHECK_INTERVAL - Duration::from_nanos(1)), 1000),
            0
        );
        assert_eq!(count_checks(&mut users, MonotonicTime(0) + WRONG_CHECK_INTERVAL, 1000), 1);
        // After a time without wrong credentials the burst is allowed again, and no more.
        assert_eq!(count_checks(&mut users, MonotonicTime(0) + WRONG_CHECK_INTERVAL * 1000, 1000), WRONG_CHECK_BURST);
        for i in 2000..2500 {
            count_checks(&mut users, MonotonicTime(0) + WRONG_CHECK_INTERVAL * i, 2);
        }
        assert_eq!(users.wrong_digests.len(), MAX_WRONG_DIGESTS);
    }

    #[test]
    fn new_line_for_a_user_replaces_the_valid_credentials() {
        let mut users = users_with_one();
        assert_eq!(users.check_now(MonotonicTime(0), b"user", PASSWORD), CheckResult::Valid);
        let (user, hash) = htpasswd::parse_line(b"user:$1$xy$sCW6WZJsSz7hVuvH0BCaf.").unwrap().unwrap();
        users.add(user, hash);
        assert_eq!(users.check_now(MonotonicTime(0), b"user", PASSWORD), CheckResult::Wrong);
        assert_eq!(users.check_now(MonotonicTime(0), b"user", b"pw"), CheckResult::Valid);
    }

    #[test]
    fn waiting_checks_use_the_results_of_the_checks_before_them() {
        let mut users = users_with_one();
        let waiting =
            |users: &Users, password: &[u8]| users.look_up_unknown(MonotonicTime(0), b"user", password).unwrap();
        let valid = [(); 2].map(|()| waiting(&users, PASSWORD));
        let wrong: Vec<_> = (0..10_u8).map(|i| waiting(&users, &[i / 2])).collect();
        assert!(matches!(users.begin_check(MonotonicTime(0), &valid[0]), CheckStart::Verify(_)));
        users.end_check(MonotonicTime(0), &valid[0], true);
        assert!(matches!(users.begin_check(MonotonicTime(0), &valid[1]), CheckStart::Known(true)));
        let mut verified = 0;
        for (i, check) in wrong.iter().enumerate() {
            match users.begin_check(MonotonicTime(0), check) {
                CheckStart::Verify(hash) => {
                    verified += 1;
                    users.end_check(MonotonicTime(0), check, hash.verify(&check.password));
                }
                CheckStart::Known(is_valid) => assert!(!is_valid && i % 2 == 1, "{i}"),
                CheckStart::TooMany => assert!(i >= 8, "{i}"),
            }
        }
        assert_eq!((verified, users.checks), (WRONG_CHECK_BURST, WRONG_CHECK_BURST + 1));
        assert_eq!(users.check_now(MonotonicTime(0), b"user", PASSWORD), CheckResult::Valid);
    }
}
