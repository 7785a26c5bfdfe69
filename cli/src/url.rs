//! The signaling server's URL, as far as the command line has to understand it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A `ws://host:port/path` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WsUrl(String);

impl WsUrl {
    /// The whole URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the server is on this machine and only reachable from it.
    pub fn is_loopback(&self) -> bool {
        let host = host_of(authority_of(&self.0));
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for WsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for WsUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("wss://") {
            return Err("wss:// is not supported yet; use ws://, or put a TLS proxy in between".into());
        }
        if !text.starts_with("ws://") {
            return Err("a signaling URL begins with ws://, such as ws://127.0.0.1:3000/ws".into());
        }
        if !text.is_ascii() || text.contains(|c: char| c.is_ascii_control() || c == ' ' || c == '#') {
            return Err("a URL has no spaces, no '#' and only ASCII (write other host names as xn--…)".into());
        }
        let authority = authority_of(text);
        if authority.contains('@') {
            return Err("no user or password in the URL; give a token with --token-file".into());
        }
        let host = host_of(authority);
        if host.is_empty() || (authority.starts_with('[') && host.parse::<std::net::Ipv6Addr>().is_err()) {
            return Err(
                "the host is missing or wrong; write it as in ws://127.0.0.1:3000/ws or ws://[::1]:3000/ws".into()
            );
        }
        let after = authority.strip_prefix('[').map_or(&authority[host.len()..], |_| &authority[host.len() + 2..]);
        if !after.is_empty()
            && after.strip_prefix(':').and_then(|port| port.parse().ok()).is_none_or(|port: u16| port == 0)
        {
            return Err("the port is a number from 1 to 65535, as in ws://127.0.0.1:3000/ws".into());
        }
        // Without a path, the one that every dialect is served on.
        let end = "ws://".len() + authority.len();
        let path = if matches!(&text[end..], "" | "/") { "/ws" } else { &text[end..] };
        Ok(WsUrl(format!("{}{path}", &text[..end])))
    }
}

fn authority_of(url: &str) -> &str {
    let rest = url.strip_prefix("ws://").unwrap_or(url);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(host, _)| host),
        None => authority.split(':').next().unwrap_or(authority),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_can_be_dialled() {
        for (text, whole, loopback) in [
            ("ws://127.0.0.1:3000/ws", "ws://127.0.0.1:3000/ws", true),
            ("ws://localhost", "ws://localhost/ws", true),
            ("ws://[::1]:3000/", "ws://[::1]:3000/ws", true),
            ("ws://example.org:80/v1?x=1", "ws://example.org:80/v1?x=1", false),
        ] {
            let url: WsUrl = text.parse().unwrap();
            assert_eq!((url.as_str(), url.is_loopback()), (whole, loopback), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong_with_the_rest() {
        for (text, hint) in [
            ("wss://a/ws", "not supported yet"),
            ("http://a/ws", "begins with ws://"),
            ("127.0.0.1:3000", "begins with ws://"),
            ("", "begins with ws://"),
            ("ws://", "host is missing"),
            ("ws://:3000/ws", "host is missing"),
            ("ws://[::zz]/ws", "host is missing"),
            ("ws://[::1/ws", "host is missing"),
            ("ws://[::1]3000/ws", "port is a number"),
            ("ws://a:0/ws", "port is a number"),
            ("ws://a:99999/ws", "port is a number"),
            ("ws://u:p@a/ws", "--token-file"),
            ("ws://a b/ws", "no spaces"),
            ("ws://縁.example/ws", "xn--"),
        ] {
            let error = text.parse::<WsUrl>().unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
