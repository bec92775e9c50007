//! Whom `redlock serve` lets in.

use std::fs;
use std::process::Command;

use redlock_tests::{Program, Servers};

use crate::serve;

fn refused(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redlock"));
    let ended = Program::start(command.args(["serve", "--nodes", "memory://a"]).args(arguments)).wait();
    assert_eq!(ended.status.code(), Some(125), "{ended:?}");
    assert_eq!(ended.errors.trim_end().lines().count(), 1, "one line: {}", ended.errors);
    ended.errors
}

#[test]
fn on_this_machine_it_answers_to_its_own_names_alone_and_changes_nothing() {
    let servers = Servers::start(1);
    let (_program, place) = serve(&servers, &["--host", "Locks.example.com"]);
    for host in ["127.0.0.1", "localhost:1", "[::1]:80", "locks.example.com", "LOCKS.EXAMPLE.COM:443"] {
        assert_eq!(place.ask("GET", "/api/locks", &[("Host", host)], "").status, 200, "{host}");
    }
    for path in ["/", "/api/locks", "/events", "/metrics", "/lock?name=a", "/style.css"] {
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "example.com"] {
            let answer = place.ask("GET", path, &[("Host", host)], "");
            assert_eq!(answer.status, 421, "{host}{path}");
            assert!(answer.body.contains("--host"), "it says what to do: {}", answer.body);
        }
    }
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        for path in ["/", "/api/locks", "/api/lock?name=a", "/metrics"] {
            assert_eq!(place.ask(method, path, &[], "").status, 405, "{method} {path}");
        }
    }
    assert_eq!(place.get("/nothing").status, 404);
    for path in ["/", "/api/locks", "/nothing", "/metrics"] {
        let answer = place.get(path);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let page = place.get("/lock?name=%3Cscript%3Eevil%3C/script%3E").body;
    assert!(!page.contains("evil"), "names are written by the script, as text");
    for part in [place.get("/").body, place.get("/app.js").body, place.get("/style.css").body] {
        assert!(!part.contains("http://www.") || part.contains("www.w3.org/2000/svg"), "nothing comes from elsewhere");
        assert!(!part.contains("https://") && !part.contains("innerHTML") && !part.contains("url("));
    }
}

#[test]
fn elsewhere_it_needs_a_token() {
    let error = refused(&["--listen", "0.0.0.0:0"]);
    assert!(error.contains("--token-file") && error.contains("proxy"), "{error}");
    let error = refused(&["--listen", "[::]:0"]);
    assert!(error.contains("--token-file"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let path = file.to_str().unwrap();
    let error = refused(&["--token-file", path]);
    assert!(error.contains("cannot be read"), "{error}");
    fs::write(&file, "short\n").unwrap();
    let error = refused(&["--token-file", path]);
    assert!(error.contains("16") && error.contains("urandom"), "{error}");

    let token = "correct horse battery";
    fs::write(&file, format!("{token}\n")).unwrap();
    let servers = Servers::start(1);
    let (_program, place) = serve(&servers, &["--token-file", path]);
    for path in ["/api/locks", "/events", "/metrics", "/app.js", "/nothing"] {
        let answer = place.get(path);
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")), "{path}");
    }
    let to_login = place.get("/");
    assert_eq!((to_login.status, to_login.header("location")), (303, Some("/login")));
    assert!(place.get("/login").body.contains("<form method=\"post\""));
    assert_eq!(place.get("/style.css").status, 200);

    let bearer = format!("Bearer {token}");
    assert_eq!(place.ask("GET", "/metrics", &[("Authorization", &bearer)], "").status, 200);
    assert_eq!(place.ask("GET", "/metrics", &[("Authorization", "Bearer correct horse batterz")], "").status, 401);

    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let wrong = place.ask("POST", "/login", &[form], "token=incorrect+horse+battery");
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, None));
    assert!(wrong.body.contains("role=\"alert\""), "{}", wrong.body);
    let right = place.ask("POST", "/login", &[form], "token=correct+horse+battery");
    assert_eq!((right.status, right.header("location")), (303, Some("/")));
    let cookie = right.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains("horse"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    for path in ["/", "/api/locks", "/metrics"] {
        assert_eq!(place.ask("GET", path, &[("Cookie", cookie)], "").status, 200, "{path}");
    }
    let out = place.ask("POST", "/logout", &[("Cookie", cookie)], "");
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
}

#[test]
fn a_place_that_is_taken_and_a_signal_end_it() {
    let servers = Servers::start(1);
    let (program, place) = serve(&servers, &[]);
    let error = refused(&["--listen", &format!("127.0.0.1:{}", place.port)]);
    assert!(error.contains("cannot listen") && error.contains("--listen"), "{error}");
    let mut told = place.listen("/events");
    told.next();
    program.terminate();
    assert_eq!(program.wait().status.code(), Some(0), "also while somebody listens");
}
