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

use otelcore_pipeline::Mono;
use sha2::{Digest, Sha256};

use super::htpasswd::Hash;

/// How many wrong credentials are remembered.
pub(super) const REMEMBERED: usize = 64;
/// The average time between two checks of wrong credentials: with bcrypt of cost 10 they take about a seventh of a
/// thread's time.
pub(super) const WRONG_EVERY: Duration = Duration::from_millis(500);
/// How many of them may be checked in one burst.
pub(super) const WRONG_BURST: u32 = 4;
/// For slow hashes, whose time depends on the length, a longer password is wrong without a check.
pub(super) const MAX_PASSWORD: usize = 1024;

type Seen = [u8; 32];

struct User {
    hash: Arc<Hash>,
    /// The credentials that were right.
    right: Option<Seen>,
}

/// All users, and the credentials that were checked.
#[derive(Default)]
pub(super) struct Users {
    users: BTreeMap<Vec<u8>, User>,
    key: [u64; 4],
    wrong: VecDeque<Seen>,
    /// The time from which the wrong credentials so far do not count towards the limit any more. Each one moves it by
    /// [`WRONG_EVERY`].
    owed: Mono,
    /// Checks of slow hashes so far, for tests.
    #[cfg(test)]
    pub(super) checks: u32,
}

/// Credentials whose check takes long.
pub(super) struct Credentials {
    pub(super) user: Vec<u8>,
    pub(super) password: Vec<u8>,
    /// Their digest under the key of this process.
    pub(super) digest: Seen,
}

/// What is known about credentials without a slow check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Looked {
    /// Whether they are right.
    Known(bool),
    /// Nothing, and too many wrong ones were checked before: they are refused unchecked.
    TooMany,
    /// Nothing; they must be checked.
    Unknown(Seen),
}

/// How a check begins.
pub(super) enum Begun {
    /// It is not needed any more; whether the credentials are right.
    Known(bool),
    /// See [`Looked::TooMany`].
    TooMany,
    /// The password must be verified with this hash, and the result passed to [`Users::end`].
    Verify(Arc<Hash>),
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
    pub(super) fn add(&mut self, user: &[u8], hash: Hash) {
        self.users.insert(user.to_owned(), User { hash: Arc::new(hash), right: None });
    }

    /// Looks credentials up. Checks them if the hash of the user is quick to check.
    pub(super) fn look(&self, now: Mono, user: &[u8], password: &[u8]) -> Looked {
        let Some(known) = self.users.get(user) else { return Looked::Known(false) };
        if !known.hash.is_slow() {
            return Looked::Known(known.hash.verify(password));
        }
        if password.len() > MAX_PASSWORD {
            return Looked::Known(false);
        }
        let digest = seen(self.key, user, password);
        self.remembered(now, known, digest).unwrap_or(Looked::Unknown(digest))
    }

    /// The result for a digest, if it can be given without a check.
    fn remembered(&self, now: Mono, known: &User, digest: Seen) -> Option<Looked> {
        if known.right == Some(digest) {
            Some(Looked::Known(true))
        } else if self.wrong.contains(&digest) {
            Some(Looked::Known(false))
        } else if self.owed.since(now) > WRONG_EVERY * (WRONG_BURST - 1) {
            Some(Looked::TooMany)
        } else {
            None
        }
    }

    /// Begins a check, unless the results since [`Users::look`] make it unnecessary.
    pub(super) fn begin(&mut self, now: Mono, credentials: &Credentials) -> Begun {
        let Some(known) = self.users.get(&credentials.user) else { return Begun::Known(false) };
        match self.remembered(now, known, credentials.digest) {
            Some(Looked::Known(right)) => Begun::Known(right),
            Some(Looked::TooMany) => Begun::TooMany,
            Some(Looked::Unknown(_)) | None => {
                #[cfg(test)]
                {
                    self.checks += 1;
                }
                Begun::Verify(known.hash.clone())
            }
        }
    }

    /// A check has ended.
    pub(super) fn end(&mut self, now: Mono, credentials: &Credentials, right: bool) {
        let digest = credentials.digest;
        if right {
            if let Some(known) = self.users.get_mut(&credentials.user) {
                known.right = Some(digest);
            }
            return;
        }
        self.owed = self.owed.max(now) + WRONG_EVERY;
        if !self.wrong.contains(&digest) {
            self.wrong.truncate(REMEMBERED - 1);
            self.wrong.push_front(digest);
        }
    }
}

/// The digest of credentials under this process's key. Digests need no constant-time comparison: a client can't choose
/// them.
fn seen(key: [u64; 4], user: &[u8], password: &[u8]) -> Seen {
    let keyed = key.iter().fold(Sha256::new(), |sha, word| sha.chain_update(word.to_be_bytes()));
    // A user name has no colon, so that no other pair gives the same text.
    keyed.chain_update(user).chain_update(b":").chain_update(password).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::basic_auth::htpasswd;

    /// `user` with the password `pässword 1`, by htpasswd of Apache.
    const LINE: &[u8] = b"user:$apr1$pH12/E6B$f89uTft.7WD.5kj/QrVRX.";
    const PASSWORD: &[u8] = "pässword 1".as_bytes();

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Checked {
        Right,
        Wrong,
        Unchecked,
    }

    fn checked(right: bool) -> Checked {
        if right { Checked::Right } else { Checked::Wrong }
    }

    impl Users {
        /// Credentials that need a check.
        fn unknown(&self, now: Mono, user: &[u8], password: &[u8]) -> Result<Credentials, Checked> {
            match self.look(now, user, password) {
                Looked::Known(right) => Err(checked(right)),
                Looked::TooMany => Err(Checked::Unchecked),
                Looked::Unknown(digest) => {
                    Ok(Credentials { user: user.to_owned(), password: password.to_owned(), digest })
                }
            }
        }

        /// A check whose computation takes no time.
        fn check(&mut self, now: Mono, user: &[u8], password: &[u8]) -> Checked {
            let credentials = match self.unknown(now, user, password) {
                Ok(credentials) => credentials,
                Err(known) => return known,
            };
            match self.begin(now, &credentials) {
                Begun::Known(right) => checked(right),
                Begun::TooMany => Checked::Unchecked,
                Begun::Verify(hash) => {
                    let right = hash.verify(password);
                    self.end(now, &credentials, right);
                    checked(right)
                }
            }
        }
    }

    fn users() -> Users {
        let mut users = Users::new([1, 2, 3, 4]);
        let (user, hash) = htpasswd::line(LINE).unwrap().unwrap();
        users.add(user, hash);
        users
    }

    #[test]
    fn right_and_wrong_credentials_are_each_checked_once() {
        let mut users = users();
        for _ in 0..100 {
            assert_eq!(users.check(Mono(0), b"user", PASSWORD), Checked::Right);
            assert_eq!(users.check(Mono(0), b"user", b"other"), Checked::Wrong);
            assert_eq!(users.check(Mono(0), b"nobody", b"other"), Checked::Wrong);
        }
        assert_eq!((users.checks, users.wrong.len()), (2, 1));
        assert_eq!(users.check(Mono(0), b"user", &[b'x'; MAX_PASSWORD + 1]), Checked::Wrong);
        assert_eq!(users.checks, 2, "what is too long is not checked");
    }

    #[test]
    fn right_credentials_do_not_count_against_others() {
        let mut users = users();
        for i in 0..100_u32 {
            let name = format!("user{i}");
            let (_, hash) = htpasswd::line(LINE).unwrap().unwrap();
            users.add(name.as_bytes(), hash);
            assert_eq!(users.check(Mono(0), name.as_bytes(), PASSWORD), Checked::Right);
        }
        assert_eq!(users.checks, 100);
    }

    #[test]
    fn guesses_are_checked_at_a_fixed_rate_and_few_are_remembered() {
        let mut users = users();
        let mut guess = 0_u32;
        let mut guesses = |users: &mut Users, now, count| {
            let before = users.checks;
            for _ in 0..count {
                guess += 1;
                assert_ne!(users.check(now, b"user", &guess.to_be_bytes()), Checked::Right);
            }
            users.checks - before
        };
        assert_eq!(guesses(&mut users, Mono(0), 1000), WRONG_BURST);
        assert_eq!(guesses(&mut users, Mono(0) + (WRONG_EVERY - Duration::from_nanos(1)), 1000), 0);
        assert_eq!(guesses(&mut users, Mono(0) + WRONG_EVERY, 1000), 1);
        // After a time without wrong credentials the burst is allowed again, and no more.
        assert_eq!(guesses(&mut users, Mono(0) + WRONG_EVERY * 1000, 1000), WRONG_BURST);
        for i in 2000..2500 {
            guesses(&mut users, Mono(0) + WRONG_EVERY * i, 2);
        }
        assert_eq!(users.wrong.len(), REMEMBERED);
    }

    #[test]
    fn a_new_line_for_a_user_forgets_what_was_right() {
        let mut users = users();
        assert_eq!(users.check(Mono(0), b"user", PASSWORD), Checked::Right);
        let (user, hash) = htpasswd::line(b"user:$1$xy$sCW6WZJsSz7hVuvH0BCaf.").unwrap().unwrap();
        users.add(user, hash);
        assert_eq!(users.check(Mono(0), b"user", PASSWORD), Checked::Wrong);
        assert_eq!(users.check(Mono(0), b"user", b"pw"), Checked::Right);
    }

    #[test]
    fn checks_that_wait_are_decided_by_those_before() {
        let mut users = users();
        let waiting = |users: &Users, password: &[u8]| users.unknown(Mono(0), b"user", password).unwrap();
        let right = [(); 2].map(|()| waiting(&users, PASSWORD));
        let wrong: Vec<_> = (0..10_u8).map(|i| waiting(&users, &[i / 2])).collect();
        assert!(matches!(users.begin(Mono(0), &right[0]), Begun::Verify(_)));
        users.end(Mono(0), &right[0], true);
        assert!(matches!(users.begin(Mono(0), &right[1]), Begun::Known(true)));
        let mut verified = 0;
        for (i, check) in wrong.iter().enumerate() {
            match users.begin(Mono(0), check) {
                Begun::Verify(hash) => {
                    verified += 1;
                    users.end(Mono(0), check, hash.verify(&check.password));
                }
                Begun::Known(right) => assert!(!right && i % 2 == 1, "{i}"),
                Begun::TooMany => assert!(i >= 8, "{i}"),
            }
        }
        assert_eq!((verified, users.checks), (WRONG_BURST, WRONG_BURST + 1));
        assert_eq!(users.check(Mono(0), b"user", PASSWORD), Checked::Right);
    }
}
