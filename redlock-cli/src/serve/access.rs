//! Who gets in: whoever is on this machine and asks for it by its name, or whoever has the token.

use std::fs;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::extract::{Form, Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, HeaderName, LOCATION, REFERRER_POLICY,
    SET_COOKIE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use uuid::Uuid;

use super::{Options, Served, failure, pages};
use crate::exit::Failure;
use crate::token_file::tell_if_others_may_read;

/// A token that could be guessed is none.
const SHORTEST_TOKEN: usize = 16;

/// How long a wrong token keeps whoever tries it.
const WRONG_TOKEN_COSTS: Duration = Duration::from_millis(500);

/// Nothing comes from elsewhere, and nothing is written into the page.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'",
);

/// Who gets in.
#[derive(Debug)]
pub(crate) struct Access {
    /// What everybody needs; `None`: nobody else can reach this place.
    token: Option<String>,
    /// What the cookie of those says who showed the token: a secret of this process, so that none outlives it.
    session: String,
    /// Cookies are those of a host, whatever the port.
    cookie: String,
    /// The names of this place, beside addresses and `localhost`.
    hosts: Vec<String>,
}

impl Access {
    pub(super) fn new(options: &Options) -> Result<Self, Failure> {
        let token = match &options.token_file {
            Some(file) => {
                let path = file.display();
                let unreadable = |error| failure(format!("the token in {path} cannot be read: {error}"));
                let (mut opened, mut text) = (fs::File::open(file).map_err(unreadable)?, String::new());
                opened.read_to_string(&mut text).map_err(unreadable)?;
                let token = text.trim().to_owned();
                if token.len() < SHORTEST_TOKEN {
                    return Err(failure(format!(
                        "the token in {path} has fewer than {SHORTEST_TOKEN} characters and could be guessed; make one with: \
                         head -c 24 /dev/urandom | base64 > {path}"
                    )));
                }
                tell_if_others_may_read(file, &opened);
                Some(token)
            }
            None if options.listen.ip().is_loopback() => None,
            None => {
                return Err(failure(format!(
                    "others can reach {}, and the page shows the names and owners of all locks: add --token-file FILE, or listen on \
                     127.0.0.1 and let a proxy in front sign people in (with its host as --host; see docs/serve.md)",
                    options.listen
                )));
            }
        };
        let session = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let hosts = options.host.iter().map(|host| host.to_ascii_lowercase()).collect();
        Ok(Self { token, session, cookie: String::new(), hosts })
    }

    /// Who gets in at this address.
    pub(super) fn at(self, address: SocketAddr) -> Self {
        Self { cookie: format!("redlock-{}", address.port()), ..self }
    }

    /// Whether whoever asks for this host means this place. A page of somebody else's whose name was turned to this address after it
    /// was loaded (DNS rebinding) asks for its own name.
    fn is_meant(&self, authority: &str) -> bool {
        let host = host_of(authority).to_ascii_lowercase();
        host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
            || host == "localhost"
            || host.ends_with(".localhost")
            || self.hosts.contains(&host)
    }

    fn is_signed_in(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let bearer = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        if bearer.is_some_and(|bearer| is_same(bearer.trim_ascii(), token.as_bytes())) {
            return true;
        }
        let cookies = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let mut cookies =
            cookies.flat_map(|cookies| cookies.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
        cookies.any(|(name, value)| name == self.cookie && is_same(value.as_bytes(), self.session.as_bytes()))
    }
}

/// What stands behind the name of the scheme, which may be written in any case.
// Source: RFC 9110, section 11.1, https://www.rfc-editor.org/rfc/rfc9110#section-11.1
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// Without the port.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.chars().all(|digit| digit.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// In a time that does not tell how much of it is the same.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |differences, (one, other)| differences | (one ^ other));
    one.len() == other.len() && differences == 0
}

/// Lets nobody else in, and tells browsers to trust nothing that is not of this place.
pub(super) async fn guard(State(Served { access, .. }): State<Served>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let mut response = if let Some(refused) = refused_host(&access, request.headers(), request.uri()) {
        refused
    } else if access.is_signed_in(request.headers()) || matches!(path, "/login" | "/style.css" | "/theme.js") {
        next.run(request).await
    } else if matches!(path, "/" | "/lock") {
        (StatusCode::SEE_OTHER, [(LOCATION, "/login")]).into_response()
    } else {
        let cure = "the token is needed: send it as Authorization: Bearer TOKEN, or sign in at /login\n";
        (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], cure).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Where a token is needed, the token is what tells friends apart: a page of another name has no cookie of this one.
fn refused_host(access: &Access, headers: &HeaderMap, uri: &Uri) -> Option<Response> {
    if access.token.is_some() {
        return None;
    }
    let named = uri.authority().map(Authority::as_str);
    let host = named.or_else(|| headers.get(HOST)?.to_str().ok());
    if host.is_some_and(|host| access.is_meant(host)) {
        return None;
    }
    let cure = "this is not the host of this page; if a proxy in front of it is, start redlock serve with --host and that name\n";
    Some((StatusCode::MISDIRECTED_REQUEST, cure).into_response())
}

#[derive(Deserialize)]
pub(super) struct SignIn {
    token: String,
}

pub(super) async fn sign_in(State(Served { access, .. }): State<Served>, Form(form): Form<SignIn>) -> Response {
    let is_right = access.token.as_ref().is_none_or(|token| is_same(form.token.trim().as_bytes(), token.as_bytes()));
    if !is_right {
        tokio::time::sleep(WRONG_TOKEN_COSTS).await;
        return (StatusCode::UNAUTHORIZED, pages::wrong_token()).into_response();
    }
    let cookie = format!("{}={}; Path=/; HttpOnly; SameSite=Strict", access.cookie, access.session);
    (StatusCode::SEE_OTHER, [(SET_COOKIE, cookie), (LOCATION, "/".to_owned())]).into_response()
}

pub(super) async fn sign_out(State(Served { access, .. }): State<Served>) -> Response {
    let cookie = format!("{}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0", access.cookie);
    (StatusCode::SEE_OTHER, [(SET_COOKIE, cookie), (LOCATION, "/login".to_owned())]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(token: Option<&str>, hosts: &[&str]) -> Access {
        Access {
            token: token.map(str::to_owned),
            session: "session".to_owned(),
            cookie: "redlock-1".to_owned(),
            hosts: hosts.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_page_of_another_name_does_not_get_in() {
        let access = access(None, &["locks.example.com"]);
        for host in
            ["127.0.0.1:9632", "localhost:9632", "LOCALHOST", "[::1]:9632", "a.localhost", "locks.example.com:443"]
        {
            assert!(access.is_meant(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:9632",
            "127.0.0.1.evil.example",
            "",
            "example.com",
            "evillocalhost",
        ] {
            assert!(!access.is_meant(host), "{host}");
        }
    }

    #[test]
    fn the_token_or_the_cookie_gets_in() {
        let access = access(Some("0123456789abcdef"), &[]);
        let with = |name: HeaderName, value: &str| {
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())]);
            access.is_signed_in(&headers)
        };
        assert!(with(AUTHORIZATION, "Bearer 0123456789abcdef"));
        assert!(with(AUTHORIZATION, "bearer  0123456789abcdef"));
        assert!(with(COOKIE, "other=1; redlock-1=session"));
        for (name, value) in [
            (AUTHORIZATION, "Bearer 0123456789abcdeg"),
            (AUTHORIZATION, "Bearer "),
            (AUTHORIZATION, "0123456789abcdef"),
            (COOKIE, "redlock-2=session"),
            (COOKIE, "redlock-1=sessio"),
        ] {
            assert!(!with(name.clone(), value), "{name}: {value}");
        }
        let token = "schlüssel-schlüssel";
        let value = HeaderValue::from_bytes(format!("Bearer {token}").as_bytes()).unwrap();
        let access = Access { token: Some(token.to_owned()), ..access };
        assert!(access.is_signed_in(&HeaderMap::from_iter([(AUTHORIZATION, value)])), "a token of any letters");
    }
}
