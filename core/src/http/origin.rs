//! Which web pages may use the server (RFC 6454; RFC 6455, 10.2).
//!
//! A browser lets any page open a WebSocket anywhere, also to `127.0.0.1`, and only says in `Origin` who asks. So the
//! server has to decide, and it does so also when it listens on loopback alone. Two questions are asked:
//!
//! - [`allowed`]: is the page one of those that may connect?
//! - [`host_allowed`]: did the browser mean this server at all? With DNS rebinding a page of `evil.test` lets that
//!   name resolve to `127.0.0.1`; then `Origin` and `Host` agree and only the strange `Host` gives it away.
//!
//! Neither protects against a program that is no browser: that can send any header.

use std::net::{IpAddr, Ipv6Addr};

use super::{Request, Response};

/// A scheme, host and port, in normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: Host,
    /// `None` if neither given nor known for the scheme.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    /// In lower case.
    Name(String),
}

/// Whether a request that comes from a loopback or other address may be answered: both questions in one.
///
/// # Errors
///
/// 403 if the page may not connect, 421 if the request was meant for somebody else.
pub fn check(request: &Request, remote: IpAddr, allow_origins: &[String]) -> Result<(), Response> {
    if !host_allowed(request, remote, allow_origins) {
        let text = "misdirected request: this server does not go by that Host; \
                    if it should, start it with --allow-origin http://HOST\n";
        return Err(Response { close: true, ..Response::text(421, text) });
    }
    if !allowed(request, allow_origins) && !is_host_again(request) {
        let why = "pages of this origin may not connect; to let them, start the server with --allow-origin ORIGIN";
        return Err(Response { close: true, ..Response::forbidden(why) });
    }
    Ok(())
}

/// Whether the page that makes this request may.
///
/// - No `Origin`: no browser sent it, allowed.
/// - `*` in the list: all are.
/// - An origin of the list, compared in normal form (case of the host, default port).
/// - The host and port that `Host` names: the server's own page.
/// - Any port of `localhost`, `127.0.0.0/8` or `[::1]`, if `Host` is one of these too: development on one machine.
///
/// `null`, which sandboxed and local pages send, is only allowed by `*`.
pub fn allowed(request: &Request, allow_origins: &[String]) -> bool {
    let mut origins = request.headers.iter().filter(|(name, _)| name == "origin").map(|(_, value)| value.as_str());
    let Some(text) = origins.next() else { return true };
    if is_open(allow_origins) {
        return true;
    }
    let (Some(origin), None) = (Origin::parse(text), origins.next()) else { return false };
    if listed(allow_origins).any(|listed| listed == origin) {
        return true;
    }
    let Some((host, port)) = request.header("host").and_then(split_host) else { return false };
    let Some(default_port) = default_port(&origin.scheme) else { return false };
    let same_host = origin.host == host && origin.port == Some(port.unwrap_or(default_port));
    same_host || (origin.host.is_loopback() && host.is_loopback())
}

/// Whether the `Host` of this request is one that the server can go by, as far as it can know.
///
/// Asked of loopback clients only: a remote client reached the server through some public name, and which that is the
/// server cannot know. A loopback client has to use an address, `localhost`, or the host of an allowed origin. That
/// includes a reverse proxy on the same machine that passes `Host` on: its public name belongs on the allow-list,
/// where it has to be for its pages anyway.
pub fn host_allowed(request: &Request, remote: IpAddr, allow_origins: &[String]) -> bool {
    if !remote.to_canonical().is_loopback() || is_open(allow_origins) {
        return true;
    }
    let Some(text) = request.header("host") else { return true };
    match split_host(text) {
        Some((Host::Address(_), _)) => true,
        Some((host, _)) => host.is_loopback() || listed(allow_origins).any(|origin| origin.host == host),
        None => false,
    }
}

/// Whether `Origin` repeats `Host`, without a scheme, in a request of Socket.IO 0.9: its client on Node writes that. No
/// browser does, so no page comes in by it.
fn is_host_again(request: &Request) -> bool {
    let mut origins = request.headers.iter().filter(|(name, _)| name == "origin").map(|(_, value)| value.as_str());
    let origin = origins.next().filter(|origin| !origin.is_empty() && !origin.contains("://"));
    request.path.starts_with("/socket.io/1/")
        && origin.is_some()
        && origin == request.header("host")
        && origins.next().is_none()
}

/// Lets a page of another origin read the answer, if that page is allowed (CORS). Without this call only pages of the
/// server's own origin can.
#[must_use]
pub fn share(response: Response, request: &Request, allow_origins: &[String]) -> Response {
    let response = response.with("Vary", "Origin");
    match request.header("origin") {
        Some(origin) if allowed(request, allow_origins) => response
            .with("Access-Control-Allow-Origin", origin.to_owned())
            .with("Cross-Origin-Resource-Policy", "cross-origin"),
        _ => response,
    }
}

impl Origin {
    /// Reads `scheme://host[:port]`; `None` for everything else, so also for a URL with a path.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let mut letters = scheme.bytes();
        let good_scheme = letters.next().is_some_and(|byte| byte.is_ascii_alphabetic())
            && letters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !good_scheme {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = split_host(authority)?;
        let port = port.or_else(|| default_port(&scheme));
        Some(Origin { scheme, host, port })
    }
}

impl Host {
    fn is_loopback(&self) -> bool {
        match self {
            Host::Address(address) => address.is_loopback(),
            Host::Name(name) => name == "localhost",
        }
    }
}

fn is_open(allow_origins: &[String]) -> bool {
    allow_origins.iter().any(|origin| origin == "*")
}

fn listed(allow_origins: &[String]) -> impl Iterator<Item = Origin> {
    allow_origins.iter().filter_map(|origin| Origin::parse(origin))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// Reads `host[:port]` (RFC 3986, 3.2), without user information.
fn split_host(text: &str) -> Option<(Host, Option<u16>)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, rest) = bracketed.split_once(']')?;
            (Host::Address(IpAddr::V6(address.parse::<Ipv6Addr>().ok()?).to_canonical()), rest)
        }
        None => {
            let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            (host_name(name)?, rest)
        }
    };
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Some((host, None)),
        // `u16::from_str` takes a plus sign.
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some((host, Some(port.parse().ok()?))),
        _ => None,
    }
}

fn host_name(name: &str) -> Option<Host> {
    if let Ok(address) = name.parse() {
        return Some(Host::Address(IpAddr::V4(address)));
    }
    let good = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    good.then(|| Host::Name(name.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::complete;
    use super::*;

    fn request(host: &str, origin: Option<&str>) -> Request {
        let origin = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
        complete(format!("GET /ws HTTP/1.1\r\nHost: {host}\r\n{origin}\r\n").as_bytes()).0
    }

    fn list(origins: &[&str]) -> Vec<String> {
        origins.iter().map(|&origin| origin.to_owned()).collect()
    }

    #[test]
    fn who_is_no_browser_or_comes_from_the_same_host_is_allowed() {
        for (host, origin) in [
            ("h:3000", None),
            ("h:3000", Some("http://h:3000")),
            ("H:3000", Some("http://h:3000")),
            ("h", Some("http://h")),
            ("h", Some("https://h")),
            ("h:80", Some("http://h")),
            ("h", Some("https://h:443")),
            ("[2001:db8::1]:3000", Some("http://[2001:DB8::1]:3000")),
            ("localhost:3000", Some("http://localhost:8080")),
            ("127.0.0.1:3000", Some("http://localhost:8080")),
            ("[::1]:3000", Some("https://127.0.0.1")),
        ] {
            assert!(allowed(&request(host, origin), &[]), "{origin:?} at {host}");
        }
    }

    #[test]
    fn other_pages_are_not() {
        for (host, origin) in [
            ("h:3000", "http://h:3001"),
            ("h:3000", "http://h"),
            ("h:3000", "null"),
            ("h:3000", ""),
            ("h:3000", "http://"),
            ("h:3000", "h:3000"),
            ("h:3000", "http://h:3000/"),
            ("h:3000", "http://h:3000, http://h:3000"),
            ("h:3000", "http://h:3000.evil.com"),
            ("h:3000", "http://u@h:3000"),
            ("h:3000", "http://h:+3000"),
            ("h:3000", "http://h:99999"),
            ("h:3000", "file://h:3000"),
            ("h", "ftp://h"),
            ("localhost:3000", "http://localhost.evil.com:3000"),
            ("localhost:3000", "http://evil.test"),
            ("example.com", "http://localhost:3000"),
            ("example.com", "http://127.0.0.1"),
            ("example.com", "http://[::1]"),
        ] {
            assert!(!allowed(&request(host, Some(origin)), &[]), "{origin:?} at {host}");
        }
        let mut twice = request("h", Some("http://h"));
        twice.headers.push(("origin".into(), "http://h".into()));
        assert!(!allowed(&twice, &[]));
    }

    #[test]
    fn a_client_of_0_9_repeats_the_host() {
        let far: IpAddr = "192.0.2.1".parse().unwrap();
        let mut request = request("h:3000", Some("h:3000"));
        assert_eq!(check(&request, far, &[]).unwrap_err().status, 403);
        request.path = "/socket.io/1/websocket/x".into();
        assert_eq!(check(&request, far, &[]), Ok(()));
        for origin in ["h:3001", "null", "", "http://h:3001"] {
            request.headers[1].1 = origin.into();
            assert_eq!(check(&request, far, &[]).unwrap_err().status, 403, "{origin}");
        }
    }

    #[test]
    fn the_list_is_compared_whole_and_in_normal_form() {
        let origins = list(&["https://Good.Example", "http://dev.example:80", "tauri://app"]);
        for (origin, expected) in [
            ("https://good.example", true),
            ("HTTPS://GOOD.example:443", true),
            ("http://dev.example", true),
            ("tauri://app", true),
            ("http://good.example", false),
            ("https://good.example:444", false),
            ("https://good.example.evil.com", false),
            ("https://evilgood.example", false),
            ("https://sub.good.example", false),
            ("https://good.example.", false),
            ("null", false),
        ] {
            assert_eq!(allowed(&request("h:3000", Some(origin)), &origins), expected, "{origin}");
        }
        assert!(allowed(&request("h:3000", Some("null")), &list(&["*"])));
    }

    #[test]
    fn a_rebound_name_is_found_out_on_loopback() {
        let local: IpAddr = "127.0.0.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
        let far: IpAddr = "192.0.2.1".parse().unwrap();
        let rebound = request("evil.test:3000", Some("http://evil.test:3000"));
        assert_eq!(check(&rebound, local, &[]).unwrap_err().status, 421);
        assert_eq!(check(&rebound, mapped, &[]).unwrap_err().status, 421);
        assert_eq!(check(&rebound, far, &[]), Ok(()));
        assert_eq!(check(&rebound, local, &list(&["http://evil.test:3000"])), Ok(()));
        assert_eq!(check(&rebound, local, &list(&["*"])), Ok(()));
        for host in ["localhost:3000", "LOCALHOST", "127.0.0.1:3000", "[::1]:3000", "192.0.2.7"] {
            assert_eq!(check(&request(host, None), local, &[]), Ok(()), "{host}");
        }
        assert_eq!(check(&request("localhost", Some("http://evil.test")), local, &[]).unwrap_err().status, 403);
    }

    #[test]
    fn only_allowed_pages_can_read_a_shared_answer() {
        let origins = list(&["https://good.example"]);
        let granted = |origin| {
            let answer = share(Response::json(200, "{}"), &request("h:3000", origin), &origins);
            answer.headers.into_iter().find(|(name, _)| *name == "Access-Control-Allow-Origin").map(|(_, value)| value)
        };
        assert_eq!(granted(Some("https://good.example")).as_deref(), Some("https://good.example"));
        assert_eq!(granted(Some("https://evil.example")), None);
        assert_eq!(granted(None), None);
    }
}
