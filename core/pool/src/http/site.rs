//! Where a repository is that is reached over HTTP: `annex+http://HOST[:PORT]/git-annex/UUID` (annex-p2p §10.1).

use std::fmt;
use std::str::FromStr;

use super::text::decode;
use crate::uuid::Uuid;

/// The port of a URL that names none.
const PORT: u16 = 9417;

/// A repository behind a host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// The host, by name or address; an IPv6 address without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The repository.
    pub server: Uuid,
}

/// Why a URL cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// TLS is not spoken here.
    #[error("https is not supported: put a proxy that speaks TLS before it")]
    Tls,
    /// A password in a URL is seen by everybody.
    #[error("the URL has a user in it")]
    User,
    /// Anything else.
    #[error("it is not of the form annex+http://HOST[:PORT]/git-annex/UUID")]
    Form,
}

impl FromStr for Site {
    type Err = BadUrl;

    fn from_str(url: &str) -> Result<Site, BadUrl> {
        let url = url.strip_prefix("annex+").unwrap_or(url);
        if url.starts_with("https://") {
            return Err(BadUrl::Tls);
        }
        let (authority, path) =
            url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).ok_or(BadUrl::Form)?;
        if authority.contains('@') {
            return Err(BadUrl::User);
        }
        let (host, port) = match authority.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(Some((host, rest))) => (host, rest.strip_prefix(':').or(rest.is_empty().then_some(""))),
            Some(None) => return Err(BadUrl::Form),
            None => {
                authority.split_once(':').map_or((authority, Some("")), |(host, port)| (host, Some(port)))
            }
        };
        let port = match port.ok_or(BadUrl::Form)? {
            "" => PORT,
            digits => digits.parse().map_err(|_| BadUrl::Form)?,
        };
        let server = path.strip_prefix("git-annex/").map(|rest| rest.trim_end_matches('/')).and_then(decode);
        let server = server.and_then(|uuid| Uuid::new(&String::from_utf8(uuid).ok()?)).ok_or(BadUrl::Form)?;
        if host.is_empty()
            || server.as_str().contains('/')
            || !host.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(BadUrl::Form);
        }
        Ok(Site { host: host.to_owned(), port, server })
    }
}

impl Site {
    /// The host and port as a `Host` header has them.
    pub fn authority(&self) -> String {
        let Site { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "annex+http://{}/git-annex/{}", self.authority(), self.server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_host_port_and_repository() {
        let site = |url: &str| url.parse::<Site>().map(|site| site.to_string());
        assert_eq!(site("annex+http://h/git-annex/U").unwrap(), "annex+http://h:9417/git-annex/U");
        assert_eq!(site("http://h:80/git-annex/U/").unwrap(), "annex+http://h:80/git-annex/U");
        assert_eq!(site("annex+http://[::1]:80/git-annex/U").unwrap(), "annex+http://[::1]:80/git-annex/U");
        assert_eq!(site("annex+http://[::1]/git-annex/U").unwrap(), "annex+http://[::1]:9417/git-annex/U");
        assert_eq!(site("annex+https://h/git-annex/U"), Err(BadUrl::Tls));
        assert_eq!(site("annex+http://u:p@h/git-annex/U"), Err(BadUrl::User));
        for bad in [
            "",
            "h",
            "ftp://h/git-annex/U",
            "http://h/U",
            "http://h/git-annex/",
            "http:///git-annex/U",
            "http://h:x/git-annex/U",
            "http://[::1/git-annex/U",
            "http://[::1]x/git-annex/U",
            "http://h/git-annex/U/more",
            "http://h h/git-annex/U",
        ] {
            assert_eq!(site(bad), Err(BadUrl::Form), "{bad}");
        }
    }
}
