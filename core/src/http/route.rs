//! Which endpoint a request is for.

use super::{Request, Response};

/// Every path, what it is, and in a few words for whom: the page and the 404 list it.
pub const ENDPOINTS: &[(&str, Route, &str)] = &[
    ("/", Route::Page, "the page: calls from a browser"),
    ("/endpoints", Route::Endpoints, "this list"),
    ("/endpoints.css", Route::Style, "how it looks"),
    ("/ws", Route::Any, "WebSocket: every protocol, told apart by the first message"),
    ("/v1", Route::Own, "WebSocket: enishi.v1"),
    ("/register", Route::Register, "WebSocket: Tony Bai's answering peers"),
    ("/offer", Route::Offer, "WebSocket: Tony Bai's offering peers"),
    ("/socket.io/", Route::SocketIo, "Socket.IO 4 to 0.9: polling and WebSocket"),
    ("/ice", Route::Ice, "ICE servers, as JSON for new RTCPeerConnection"),
    ("/livez", Route::Live, "200 while the server turns"),
    ("/readyz", Route::Ready, "200 while new clients are welcome, 503 while it drains"),
    ("/stats", Route::Stats, "statistics, as JSON"),
    ("/metrics", Route::Metrics, "statistics, as Prometheus text"),
];

/// An endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `/`: a page for people.
    Page,
    /// `/endpoints`: this table and how to begin, for people.
    Endpoints,
    /// `/endpoints.css`: how it looks.
    Style,
    /// `/livez`: the loop turns.
    Live,
    /// `/readyz`: new clients are welcome.
    Ready,
    /// `/stats`: statistics as JSON.
    Stats,
    /// `/metrics`: statistics for Prometheus.
    Metrics,
    /// `/ice`: ICE servers for a browser.
    Ice,
    /// `/ws`: a WebSocket whose first message tells the dialect.
    Any,
    /// `/v1`: a WebSocket that speaks our own protocol.
    Own,
    /// `/register`: a WebSocket of Tony Bai's answering peers.
    Register,
    /// `/offer`: a WebSocket of Tony Bai's offering peers.
    Offer,
    /// `/socket.io/` and all below it: Socket.IO.
    SocketIo,
}

impl Route {
    /// Whether it is a WebSocket.
    pub fn is_socket(self) -> bool {
        matches!(self, Route::Any | Route::Own | Route::Register | Route::Offer)
    }

    /// The methods it takes, as `Allow` lists them.
    pub fn methods(self) -> &'static [&'static str] {
        match self {
            Route::SocketIo => &["GET", "HEAD", "POST", "OPTIONS"],
            _ if self.is_socket() => &["GET"],
            _ => &["GET", "HEAD"],
        }
    }
}

/// Finds the endpoint. The path is compared as it was sent: nothing is decoded, joined or stripped, so that there is
/// nothing to be tricked with.
///
/// # Errors
///
/// 404 for an unknown path, 405 for a method that the endpoint does not take.
pub fn route(request: &Request) -> Result<Route, Response> {
    let below = |path: &str| path.len() > 1 && path.ends_with('/') && request.path.starts_with(path);
    let found = ENDPOINTS.iter().find(|(path, _, _)| *path == request.path || below(path)).map(|(_, route, _)| *route);
    // The room mesh's clients connect to any path, most of them to `/`.
    if !found.is_some_and(|route| route.is_socket() || route == Route::SocketIo)
        && request.list("upgrade").any(|element| element.eq_ignore_ascii_case("websocket"))
    {
        return Ok(Route::Any);
    }
    let Some(route) = found else {
        let known = ENDPOINTS.iter().map(|(path, _, _)| *path).collect::<Vec<_>>().join(" ");
        return Err(Response::text(404, format!("not found; there are: {known}\n")).to(request));
    };
    if route.methods().contains(&request.method.as_str()) {
        return Ok(route);
    }
    let methods = route.methods().join(", ");
    let text = format!("method not allowed; {} takes {methods}\n", request.path);
    Err(Response::text(405, text).with("Allow", methods).to(request))
}

#[cfg(test)]
mod tests {
    use super::super::tests::complete;
    use super::*;

    fn ask(line: &str) -> Result<Route, Response> {
        route(&complete(format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).0)
    }

    #[test]
    fn every_endpoint_is_found_with_or_without_a_query() {
        for (path, route, _) in ENDPOINTS {
            assert_eq!(ask(&format!("GET {path}")), Ok(*route));
            assert_eq!(ask(&format!("GET {path}?room=a")), Ok(*route));
        }
    }

    #[test]
    fn an_unknown_path_is_told_the_known_ones() {
        for path in ["/nope", "/ws/", "//ws", "/%77s", "/WS", "/../../etc/passwd", "/%2e%2e/", "/./ws", "/ws;a", "//"] {
            let answer = ask(&format!("GET {path}")).unwrap_err();
            assert_eq!(answer.status, 404, "{path}");
            let text = String::from_utf8(answer.body.to_vec()).unwrap();
            assert!(text.contains(" /ws ") && text.lines().count() == 1, "{text}");
        }
    }

    #[test]
    fn a_websocket_may_come_by_any_path() {
        let ask = |path: &str| {
            let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\n\r\n");
            route(&complete(request.as_bytes()).0)
        };
        for path in ["/", "/stats", "/rooms/7", "/ws"] {
            assert_eq!(ask(path), Ok(Route::Any), "{path}");
        }
        for (path, route) in [("/v1", Route::Own), ("/register", Route::Register), ("/socket.io/1/", Route::SocketIo)] {
            assert_eq!(ask(path), Ok(route), "{path}");
        }
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        for (line, allow) in [
            ("POST /", "GET, HEAD"),
            ("get /", "GET, HEAD"),
            ("OPTIONS /stats", "GET, HEAD"),
            ("DELETE /ice", "GET, HEAD"),
            ("HEAD /ws", "GET"),
            ("PUT /v1", "GET"),
        ] {
            let answer = ask(line).unwrap_err();
            assert_eq!(answer.status, 405, "{line}");
            assert!(answer.headers.contains(&("Allow", allow.into())), "{line}: {answer:?}");
        }
        assert_eq!(ask("HEAD /livez"), Ok(Route::Live));
        assert!(ask("HEAD /nope").unwrap_err().head_only);
    }
}
