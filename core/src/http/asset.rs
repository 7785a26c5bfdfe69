//! Files that the embedding program gives to be served: the page for people.
//!
//! A server without any shows the plain page of [`super::page`] in their place.

use bytes::Bytes;
use sha1::{Digest, Sha1};

use super::{Request, Response};

/// Policy for a page of ours: it may run its own modules, load its own styles, talk to its own server and play what it
/// received or recorded; nothing from elsewhere, nothing inline.
const CSP_PAGE: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
                        media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                        frame-ancestors 'none'";

/// A file, and under which path it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    /// The path as it is requested: begins with `/`.
    pub path: String,
    /// Such as `text/css; charset=utf-8`.
    pub content_type: String,
    /// The bytes.
    pub body: Bytes,
    /// Names these bytes (RFC 9110, 8.8.3), quotes included.
    etag: String,
}

impl Asset {
    /// A file. Its entity tag is the SHA-1 of the bytes: it has to tell versions apart, not to withstand anybody.
    pub fn new(path: impl Into<String>, content_type: impl Into<String>, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let digest: String = Sha1::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
        Asset { path: path.into(), content_type: content_type.into(), body, etag: format!("\"{digest}\"") }
    }

    /// The answer to a request for it: the file, or 304 if the client has it. Clients may keep it but have to ask each
    /// time, so that a new version of the program never meets half of an old page.
    fn answer(&self, request: &Request) -> Response {
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            let text = format!("method not allowed; {} takes GET, HEAD\n", self.path);
            return Response::text(405, text).with("Allow", "GET, HEAD");
        }
        let (status, body) = if self.is_known(request) { (304, Bytes::new()) } else { (200, self.body.clone()) };
        Response::new(status, "", body)
            .with("Content-Type", self.content_type.clone())
            .with("Cache-Control", "no-cache")
            .with("ETag", self.etag.clone())
            .with("Content-Security-Policy", CSP_PAGE)
    }

    /// Whether `If-None-Match` names it; compared weakly (RFC 9110, 13.1.2).
    fn is_known(&self, request: &Request) -> bool {
        request.list("if-none-match").any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.etag)
    }
}

/// The answer to a request for one of these files; `None` if it is for something else, as is every WebSocket.
pub fn answer(assets: &[Asset], request: &Request) -> Option<Response> {
    let asset = assets.iter().find(|asset| asset.path == request.path)?;
    let is_socket = request.list("upgrade").any(|element| element.eq_ignore_ascii_case("websocket"));
    (!is_socket).then(|| asset.answer(request))
}

#[cfg(test)]
mod tests {
    use super::super::tests::complete;
    use super::*;

    fn assets() -> Vec<Asset> {
        vec![
            Asset::new("/", "text/html; charset=utf-8", "<!doctype html>"),
            Asset::new("/a.js", "text/javascript; charset=utf-8", "let a;"),
        ]
    }

    fn ask(head: &str) -> Option<Response> {
        answer(&assets(), &complete(format!("{head}\r\n\r\n").as_bytes()).0)
    }

    fn header(response: &Response, name: &str) -> String {
        response.headers.iter().find(|(header, _)| *header == name).unwrap().1.clone().into_owned()
    }

    #[test]
    fn a_file_comes_with_its_type_and_tag_and_a_strict_policy() {
        let page = ask("GET /?lang=ja HTTP/1.1\r\nHost: h").unwrap();
        assert_eq!((page.status, &page.body[..]), (200, &b"<!doctype html>"[..]));
        assert_eq!(header(&page, "Content-Type"), "text/html; charset=utf-8");
        assert_eq!(header(&page, "Cache-Control"), "no-cache");
        assert_eq!(header(&page, "X-Content-Type-Options"), "nosniff");
        let policy = header(&page, "Content-Security-Policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
        assert_ne!(header(&page, "ETag"), header(&ask("GET /a.js HTTP/1.1\r\nHost: h").unwrap(), "ETag"));
    }

    #[test]
    fn what_a_client_has_is_not_sent_again() {
        let tag = header(&ask("GET /a.js HTTP/1.1\r\nHost: h").unwrap(), "ETag");
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".into()] {
            let answer = ask(&format!("GET /a.js HTTP/1.1\r\nHost: h\r\nIf-None-Match: {known}")).unwrap();
            assert_eq!((answer.status, answer.body.len()), (304, 0), "{known}");
            assert_eq!(header(&answer, "ETag"), tag);
        }
        for other in ["\"x\"", tag.trim_matches('"'), ""] {
            let answer = ask(&format!("GET /a.js HTTP/1.1\r\nHost: h\r\nIf-None-Match: {other}")).unwrap();
            assert_eq!(answer.status, 200, "{other}");
        }
    }

    #[test]
    fn only_reading_is_allowed_and_sockets_go_elsewhere() {
        let refused = ask("POST /a.js HTTP/1.1\r\nHost: h").unwrap();
        assert_eq!((refused.status, header(&refused, "Allow").as_str()), (405, "GET, HEAD"));
        assert_eq!(ask("GET /b.js HTTP/1.1\r\nHost: h"), None);
        assert_eq!(ask("GET /A.js HTTP/1.1\r\nHost: h"), None);
        assert_eq!(ask("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket"), None);
    }
}
