//! Who may ask: bearer tokens (RFC 6750).

use super::{Request, Response};
use crate::ids::equal_in_constant_time;

/// Lets a request through if it carries the token, or if none is wanted.
///
/// # Errors
/// 401, which says how to carry it.
pub fn check(request: &Request, token: Option<&str>) -> Result<(), Response> {
    let Some(wanted) = token else { return Ok(()) };
    let given = request.header("authorization").and_then(|value| {
        let (scheme, given) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(given.trim())
    });
    if given.is_some_and(|given| equal_in_constant_time(given, wanted)) {
        return Ok(());
    }
    let why = "the token is missing or wrong; send it as in: Authorization: Bearer <token>\n";
    Err(Response::text(401, why).with("WWW-Authenticate", "Bearer"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::complete;

    fn status(token: Option<&str>, header: &str) -> u16 {
        let (request, _) = complete(format!("GET /ice HTTP/1.1\r\nHost: a\r\n{header}\r\n").as_bytes());
        check(&request, token).map_or_else(|refusal| refusal.status, |()| 200)
    }

    #[test]
    fn only_the_token_opens() {
        assert_eq!(status(None, ""), 200);
        for (header, expected) in [
            ("Authorization: Bearer north-star\r\n", 200),
            ("authorization: bearer  north-star \r\n", 200),
            ("", 401),
            ("Authorization: Bearer north-stars\r\n", 401),
            ("Authorization: Bearer north-staR\r\n", 401),
            ("Authorization: Bearer\r\n", 401),
            ("Authorization: Basic north-star\r\n", 401),
            ("Authorization: north-star\r\n", 401),
        ] {
            assert_eq!(status(Some("north-star"), header), expected, "{header}");
        }
    }
}
