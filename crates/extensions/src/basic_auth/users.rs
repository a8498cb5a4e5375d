//! The users of a server, and what it costs to check them.
//!
//! Good hashes are slow to check by intent, and the collector has one loop that must not stand still for each request:
//! - Of each user a digest of the credentials that were right is kept, so that a client pays once. The digests are keyed
//!   with random numbers of this process and are worth nothing elsewhere. There is one for each user at most.
//! - The last wrong credentials are kept the same way, so that a client with a wrong password, which asks again and
//!   again, pays once too.
//! - Wrong credentials that are not known yet are checked only so often. Above that they are refused unchecked, and so
//!   are right ones that were not seen before: whoever tries passwords may keep new clients out while it lasts, but not
//!   those that are in, and never holds up the data.
//!
//! Hashes that are quick to check need none of this.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use otelcore_pipeline::Mono;
use sha2::{Digest, Sha256};

use super::htpasswd::Hash;

/// How many wrong credentials are remembered.
pub(super) const REMEMBERED: usize = 64;
/// How often wrong credentials are checked in the long run: with bcrypt of cost 10 about a seventh of the loop's time.
pub(super) const WRONG_EVERY: Duration = Duration::from_millis(500);
/// How many of them may come at once.
pub(super) const WRONG_BURST: u32 = 4;
/// A longer password is wrong where its length decides how long a check takes.
pub(super) const MAX_PASSWORD: usize = 1024;

type Seen = [u8; 32];

struct User {
    hash: Hash,
    /// The credentials that were right.
    right: Option<Seen>,
}

/// Every user, and what was seen of them.
#[derive(Default)]
pub(super) struct Users {
    users: BTreeMap<Vec<u8>, User>,
    key: [u64; 4],
    wrong: VecDeque<Seen>,
    /// When what was checked in vain is made up for.
    owed: Mono,
    /// Checks of slow hashes so far, for tests.
    #[cfg(test)]
    pub(super) checks: u32,
}

/// What came of credentials.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Checked {
    /// They are right.
    Right,
    /// They are wrong.
    Wrong,
    /// Too many wrong ones came before.
    Unchecked,
}

impl Users {
    /// No users; `key` is random.
    pub(super) fn new(key: [u64; 4]) -> Self {
        Self { key, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Adds a user, or writes over an earlier line.
    pub(super) fn add(&mut self, user: &[u8], hash: Hash) {
        self.users.insert(user.to_owned(), User { hash, right: None });
    }

    /// Checks credentials.
    pub(super) fn check(&mut self, now: Mono, user: &[u8], password: &[u8]) -> Checked {
        let key = self.key;
        let Some(known) = self.users.get_mut(user) else { return Checked::Wrong };
        if !known.hash.is_slow() {
            return if known.hash.verify(password) { Checked::Right } else { Checked::Wrong };
        }
        if password.len() > MAX_PASSWORD {
            return Checked::Wrong;
        }
        let seen = seen(key, user, password);
        if known.right == Some(seen) {
            return Checked::Right;
        }
        if self.wrong.contains(&seen) {
            return Checked::Wrong;
        }
        if self.owed.since(now) > WRONG_EVERY * (WRONG_BURST - 1) {
            return Checked::Unchecked;
        }
        #[cfg(test)]
        {
            self.checks += 1;
        }
        if known.hash.verify(password) {
            known.right = Some(seen);
            return Checked::Right;
        }
        self.owed = self.owed.max(now) + WRONG_EVERY;
        self.wrong.truncate(REMEMBERED - 1);
        self.wrong.push_front(seen);
        Checked::Wrong
    }
}

/// The digest of credentials under this process's key. Comparing digests need not be slow: nobody can choose them.
fn seen(key: [u64; 4], user: &[u8], password: &[u8]) -> Seen {
    let keyed = key.iter().fold(Sha256::new(), |sha, word| sha.chain_update(word.to_be_bytes()));
    // A user has no colon, so that no other pair makes the same text.
    keyed.chain_update(user).chain_update(b":").chain_update(password).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::basic_auth::htpasswd;

    /// `user` with the password `pässword 1`, by htpasswd of Apache.
    const LINE: &[u8] = b"user:$apr1$pH12/E6B$f89uTft.7WD.5kj/QrVRX.";
    const PASSWORD: &[u8] = "pässword 1".as_bytes();

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
        // A quiet time earns the burst again, and no more.
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
}
