//! Who may do what over HTTP (annex-p2p §10.4): anybody, and users with passwords. Pure.
//!
//! Passwords are compared in a time that tells nothing about them, and are never printed.

use std::fmt;

use hyper::StatusCode;
use sha2::{Digest, Sha256};

use super::answer::Refusal;
use super::text::unbase64;
use crate::mode::{Mode, Need};

/// What clients may do.
#[derive(Debug, Default)]
pub struct Access {
    /// What anybody may do who does not say who it is; none: nothing.
    pub anybody: Option<Mode>,
    /// Anybody who may do something may not lock objects.
    pub no_locking: bool,
    /// Who may do more.
    pub users: Vec<User>,
}

/// Somebody with a password.
pub struct User {
    /// The name, a colon and the password.
    secret: [u8; 32],
    mode: Mode,
}

impl User {
    /// A user, and what it may do.
    pub fn new(name: &str, password: &str, mode: Mode) -> User {
        User { secret: digest(format!("{name}:{password}").as_bytes()), mode }
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "User({:?})", self.mode)
    }
}

impl Access {
    /// Whether a request with this `Authorization` header may do it. 401: a password could help; 403: it could not.
    pub fn check(&self, need: Need, authorization: Option<&[u8]>) -> Result<(), Refusal> {
        let locked_out = need == Need::Lock && self.no_locking && self.anybody != Some(Mode::ReadWrite);
        if self.anybody.is_some_and(|mode| mode.allows(need).is_ok()) && !locked_out {
            return Ok(());
        }
        let user = authorization.and_then(credentials).and_then(|credentials| self.user(&credentials));
        match user {
            Some(user) => user.mode.allows(need).map_err(|why| Refusal::new(StatusCode::FORBIDDEN, why)),
            None if self.users.is_empty() => {
                Err(Refusal::new(StatusCode::FORBIDDEN, "this is not allowed here"))
            }
            None => Err(Refusal::new(StatusCode::UNAUTHORIZED, "this needs a user's name and password")),
        }
    }

    /// Looks at all users, whoever it is.
    fn user(&self, credentials: &[u8]) -> Option<&User> {
        let secret = digest(credentials);
        let same = |user: &User| {
            user.secret.iter().zip(secret).fold(0, |bits, (ours, theirs)| bits | (ours ^ theirs)) == 0
        };
        self.users.iter().fold(None, |found, user| if same(user) { Some(user) } else { found })
    }
}

/// The name, a colon and the password of a `Basic` header.
fn credentials(header: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = header.split_at_checked(6)?;
    scheme.eq_ignore_ascii_case(b"basic ").then(|| unbase64(rest.trim_ascii()))?
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::super::text::base64;
    use super::*;

    const NEEDS: [Need; 4] = [Need::Read, Need::Write, Need::Remove, Need::Lock];

    fn statuses(access: &Access, header: Option<&str>) -> [u16; 4] {
        let status = |need| {
            access.check(need, header.map(str::as_bytes)).map_or_else(|no| no.status.as_u16(), |()| 200)
        };
        NEEDS.map(status)
    }

    /// §10.4.
    #[test]
    fn anybody_may_do_what_the_table_says() {
        let access = |anybody, no_locking| Access { anybody, no_locking, users: Vec::new() };
        assert_eq!(statuses(&access(None, false), None), [403; 4]);
        assert_eq!(statuses(&access(Some(Mode::ReadWrite), true), None), [200; 4]);
        assert_eq!(statuses(&access(Some(Mode::AppendOnly), false), None), [200, 200, 403, 200]);
        assert_eq!(statuses(&access(Some(Mode::ReadOnly), false), None), [200, 403, 403, 200]);
        assert_eq!(statuses(&access(Some(Mode::ReadOnly), true), None), [200, 403, 403, 403]);
    }

    #[test]
    fn a_user_may_do_more_with_the_right_password() {
        let users = vec![
            User::new("ann", "a:b", Mode::ReadWrite),
            User::new("bob", "", Mode::AppendOnly),
            User::new("ann", "other", Mode::ReadOnly),
        ];
        let access = Access { anybody: Some(Mode::ReadOnly), no_locking: true, users };
        let basic = |credentials: &str| format!("bAsic {}", base64(credentials.as_bytes()));
        assert_eq!(statuses(&access, Some(&basic("ann:a:b"))), [200; 4]);
        assert_eq!(statuses(&access, Some(&basic("bob:"))), [200, 200, 403, 200]);
        assert_eq!(statuses(&access, Some(&basic("ann:other"))), [200, 403, 403, 200]);
        for wrong in ["ann:a", "ann:a:bc", "", ":", "bob"] {
            assert_eq!(statuses(&access, Some(&basic(wrong))), [200, 401, 401, 401], "{wrong}");
        }
        // Any byte of a secret counts.
        for number in 0..1000 {
            assert_eq!(statuses(&access, Some(&basic(&format!("ann:{number}"))))[1], 401);
        }
        for wrong in ["Basic", "Basic !", "Bearer YTpi", ""] {
            assert_eq!(statuses(&access, Some(wrong)), [200, 401, 401, 401], "{wrong}");
        }
        assert!(!format!("{access:?}").contains("a:b"));
    }
}
