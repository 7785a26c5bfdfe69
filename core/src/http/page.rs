//! The answers that are documents: the page for people, ICE servers, statistics.

use std::fmt::Write;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::route::{ENDPOINTS, Route};
use super::{Request, Response};

/// Follows the colours of the reader's system, loads nothing.
const STYLE: &str = ":root{color-scheme:light dark;--ink:#1c1b22;--paper:#fbfaf7;--soft:#6a6675;--tie:#b3203b}
@media(prefers-color-scheme:dark){:root{--ink:#ece9f1;--paper:#17161c;--soft:#a29eb0;--tie:#ff8095}}
*{box-sizing:border-box}
body{margin:0 auto;padding:3rem 1.25rem;max-width:48rem;font:1rem/1.6 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
h1{margin:0;font-size:2rem}
h1 span{color:var(--tie)}
h2{margin:2.5rem 0 .5rem;font-size:1.1rem}
p{margin:.5rem 0}
code,pre{font-family:ui-monospace,monospace;font-size:.92em}
pre{white-space:pre-wrap;overflow-wrap:anywhere;padding:.8rem 1rem;border:1px solid color-mix(in srgb,var(--soft) 35%,transparent);border-radius:.5rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.2rem;margin:0}
dd{margin:0;color:var(--soft)}
a{color:var(--tie)}
@media(max-width:30rem){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.6rem}}
";

/// A server that helps peers to find a path, in the form of `RTCIceServer` (W3C WebRTC, 4.2.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IceServer {
    /// `stun:`, `stuns:`, `turn:` or `turns:` URLs.
    pub urls: Urls,
    /// Who asks; TURN needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password; TURN needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// One URL or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Urls {
    /// One.
    One(String),
    /// Several, for the same server.
    Many(Vec<String>),
}

/// Why a browser would not take an ICE server.
#[derive(Debug, Error)]
pub enum IceServerError {
    /// Not an object with `urls` and, if need be, `username` and `credential`.
    #[error("not of the form {{\"urls\": .., \"username\": .., \"credential\": ..}}: {0}")]
    Form(#[from] serde_json::Error),
    /// There is no URL.
    #[error("no url is given")]
    Empty,
    /// A URL of another kind.
    #[error("`{0}` does not begin with stun:, stuns:, turn: or turns:")]
    Scheme(String),
    /// TURN without who and a password.
    #[error("`{0}` needs a username and a credential")]
    Credential(String),
}

impl IceServer {
    /// Reads one from JSON, and refuses what `new RTCPeerConnection` would throw at.
    ///
    /// # Errors
    ///
    /// See [`IceServerError`].
    pub fn parse(json: &str) -> Result<Self, IceServerError> {
        let server: IceServer = serde_json::from_str(json)?;
        let urls = match &server.urls {
            Urls::One(url) => std::slice::from_ref(url),
            Urls::Many(urls) => urls,
        };
        if urls.is_empty() {
            return Err(IceServerError::Empty);
        }
        for url in urls {
            match url.split_once(':') {
                Some(("stun" | "stuns", host)) if !host.is_empty() => {}
                Some(("turn" | "turns", host)) if !host.is_empty() => {
                    if server.username.is_none() || server.credential.is_none() {
                        return Err(IceServerError::Credential(url.clone()));
                    }
                }
                _ => return Err(IceServerError::Scheme(url.clone())),
            }
        }
        Ok(server)
    }
}

/// The answer to `GET /ice`: an object for `new RTCPeerConnection`. Each server is JSON as [`IceServer::parse`] takes
/// it; others are left out, so that one of them does not spoil the rest.
pub fn ice(servers: &[String]) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Configuration {
        ice_servers: Vec<IceServer>,
    }
    let ice_servers = servers.iter().filter_map(|json| IceServer::parse(json).ok()).collect();
    json(&Configuration { ice_servers })
}

/// Any data as a JSON answer, such as that to `GET /stats`; 500 if it has no JSON form.
pub fn json<T: Serialize>(data: &T) -> Response {
    match serde_json::to_string(data) {
        Ok(text) => Response::json(200, text + "\n"),
        Err(error) => Response::text(500, format!("internal error: {error}\n")),
    }
}

/// The answer to `GET /endpoints.css`.
pub fn style() -> Response {
    Response::new(200, "text/css; charset=utf-8", STYLE).with("Cache-Control", "public, max-age=300")
}

/// The answer to `GET /endpoints`, and to `GET /` if there is no better page: what this is, how to begin, and the
/// endpoints. Names the address by which the reader came.
pub fn page(request: &Request, listeners: &[SocketAddr]) -> Response {
    let first_listener = listeners.first().map(SocketAddr::to_string);
    let host = request.header("host").map(str::to_owned).or(first_listener).unwrap_or_else(|| "127.0.0.1:3000".into());
    let host = escape(&host);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Enishi</title>\n<link rel=\"stylesheet\" href=\"/endpoints.css\">\n</head>\n<body>\n<main>\n\
         <h1>Enishi <span lang=\"ja\">縁</span></h1>\n\
         <p>A signaling server: it brings WebRTC peers together, which then talk to each other directly.</p>\n\
         <h2>Begin</h2>\n<p>In two terminals:</p>\n\
         <pre><code>enishi peer --signal ws://{host}/ws --role answer --id bob\n\
         enishi peer --signal ws://{host}/ws --role offer --id alice --target bob</code></pre>\n\
         <p>Then type <code>send chat hello</code> in the second one.</p>\n<h2>Endpoints</h2>\n<dl>\n"
    );
    for (path, route, what) in endpoints() {
        // Writing to a `String` cannot fail.
        let _ = if route.is_socket() {
            writeln!(html, "<dt><code>ws://{host}{path}</code></dt><dd>{what}</dd>")
        } else {
            writeln!(html, "<dt><a href=\"{path}\"><code>{path}</code></a></dt><dd>{what}</dd>")
        };
    }
    html.push_str("</dl>\n");
    if !listeners.is_empty() {
        let all = listeners.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
        let _ = writeln!(html, "<p>Listening on {all}.</p>");
    }
    html.push_str("</main>\n</body>\n</html>\n");
    Response::html(200, html)
}

/// What a reader of the page has not found yet.
fn endpoints() -> impl Iterator<Item = &'static (&'static str, Route, &'static str)> {
    ENDPOINTS.iter().filter(|(_, route, _)| !matches!(route, Route::Page | Route::Endpoints | Route::Style))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::tests::complete;
    use super::*;

    fn body(response: &Response) -> String {
        String::from_utf8(response.body.to_vec()).unwrap()
    }

    #[test]
    fn the_page_names_every_endpoint_and_loads_nothing_from_elsewhere() {
        let (request, _) = complete(b"GET / HTTP/1.1\r\nHost: signal.example:3000\r\n\r\n");
        let html = body(&page(&request, &["127.0.0.1:3000".parse().unwrap()]));
        for (path, _, _) in endpoints() {
            assert!(html.contains(&format!("{path}</code>")), "{path}");
        }
        assert!(html.contains("ws://signal.example:3000/ws"));
        assert!(html.contains("Listening on 127.0.0.1:3000."));
        for elsewhere in ["http://", "https://", "<script", "style=", "@import", "url("] {
            assert!(!html.contains(elsewhere) && !STYLE.contains(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn a_host_cannot_become_markup() {
        let (mut request, _) = complete(b"GET / HTTP/1.0\r\n\r\n");
        request.headers.push(("host".into(), "\"><script>".into()));
        assert!(!body(&page(&request, &[])).contains("<script"));
    }

    #[test]
    fn ice_servers_are_what_a_browser_takes() {
        let servers = [
            r#"{"urls": "stun:stun.example:3478"}"#,
            r#"{"urls": ["turn:turn.example", "turns:turn.example"], "username": "u", "credential": "p\"\\"}"#,
            r#"{"urls": "turn:turn.example"}"#,
            "}",
        ];
        let answer = ice(&servers.map(str::to_owned));
        assert_eq!(
            body(&answer),
            "{\"iceServers\":[{\"urls\":\"stun:stun.example:3478\"},\
             {\"urls\":[\"turn:turn.example\",\"turns:turn.example\"],\"username\":\"u\",\"credential\":\"p\\\"\\\\\"}]}\n"
        );
        assert_eq!(body(&ice(&[])), "{\"iceServers\":[]}\n");
    }

    #[test]
    fn a_bad_ice_server_is_told_why() {
        for (json, why) in [
            ("7", "not of the form"),
            (r#"{"url": "stun:a"}"#, "unknown field `url`"),
            (r#"{"urls": []}"#, "no url"),
            (r#"{"urls": "http://a"}"#, "does not begin with stun:"),
            (r#"{"urls": "stun:"}"#, "does not begin with stun:"),
            (r#"{"urls": ["stun:a", "turn:b"], "username": "u"}"#, "`turn:b` needs a username and a credential"),
            (r#"{"urls": "stun:a", "urls": "stun:b"}"#, "duplicate field"),
        ] {
            let error = IceServer::parse(json).unwrap_err().to_string();
            assert!(error.contains(why), "{json}: {error}");
        }
    }
}
